//! Connections to endpoints that are kept open for the next request to the same server, whichever subscription it is for.
//! Delivery threads put them in and take them out; the `connections` thread closes each second what has become of no
//! use. The lock is held for a few steps, and nothing is closed under it.
//!
//! A receiver that serves one connection at a time, or a few, serves no new one while one is kept. So it is known which new
//! ones wait for an answer: none is kept beside one that starves. A server that answered one soon after the kept ones were
//! closed is remembered for a while, in which none is kept.
//!
//! HTTP/1.1 cannot show that a second answer to one request comes after the next request was sent, which then takes it for
//! its own. But it is seen soon that there is one answer too many, and from then on no connection to that server is kept.

mod remembered;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ureq::http::Uri;
use ureq::http::uri::Authority;

use crate::delivery::send::kept::remembered::Remembered;
use crate::delivery::send::tcp::Unasked;

/// How long a connection is kept without a request, unless the receiver says that it closes it sooner.
const KEPT_FOR: Duration = Duration::from_secs(15);
/// A connection is given up so long before the receiver closes it, so that no request meets its end.
const CLOSED_BEFORE: Duration = Duration::from_secs(1);
/// A new connection that waits for so long, while others of the server were answered on, starves.
const STARVES_AFTER: Duration = Duration::from_millis(500);
/// How many answers come on others meanwhile: one may have been under way already.
const ANSWERS_MEANWHILE: u64 = 2;
/// A new connection that is answered so soon after the kept ones were closed has waited for that.
const SERVED_AFTER_CLOSING: Duration = Duration::from_millis(300);
/// How long a server that serves no new connection beside a kept one is remembered.
const WITHOUT_KEPT_FOR: Duration = Duration::from_mins(1);
/// How long a server that sent an answer that nobody asked for is remembered.
const DISTRUSTED_FOR: Duration = Duration::from_hours(1);
/// How many are looked at under one lock.
const LOOKED_AT: usize = 256;

/// A server as a URL names it, and as whom it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::delivery) struct ServerName {
    is_tls: bool,
    authority: Authority,
    /// The client certificate that was shown.
    certificate: Option<Arc<str>>,
}

impl ServerName {
    /// The server of a URL; `None` if it names none.
    pub(in crate::delivery) fn of(uri: &Uri, certificate: Option<&Arc<str>>) -> Option<Self> {
        let is_tls = uri.scheme_str() == Some("https");
        Some(Self { is_tls, authority: uri.authority()?.clone(), certificate: certificate.cloned() })
    }
}

/// A connection on which nothing is asked while it is kept.
pub(in crate::delivery) trait Idle: AsFd {
    /// What has come on it by now. If that is anything, it is of no use any more.
    fn unasked(&mut self) -> Unasked;
}

/// The kept connections.
#[derive(Debug)]
pub(in crate::delivery) struct KeptConnections<T> {
    /// Maximum number for one server.
    per_server: usize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    next: u64,
    generation: u64,
    /// The one that was put in first in front.
    by_age: BTreeMap<u64, Kept<T>>,
    by_server: HashMap<ServerName, OfServer>,
    /// Servers that serve no new connection beside a kept one.
    without_kept: Remembered<ServerName>,
    /// Servers that sent an answer that nobody asked for.
    distrusted: Remembered<ServerName>,
}

/// What there is of one server.
#[derive(Debug, Default)]
struct OfServer {
    /// The numbers of those that are kept, the newest last.
    kept: Vec<u64>,
    /// The new ones that wait for their first answer.
    waiting: Vec<Waiter>,
    /// How many answers came on its connections while some were here.
    answers: u64,
    /// When one was closed, or not kept, because a new one starved.
    closed_at: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    since: Instant,
    /// How many answers had come before.
    answers_before: u64,
}

/// Stands for a new connection until its first answer comes.
#[derive(Debug)]
pub(in crate::delivery) struct Waiting<T: AsFd> {
    all: Arc<KeptConnections<T>>,
    server: ServerName,
    number: u64,
}

impl<T: AsFd> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.all.lock().end_of_wait(&self.server, self.number, Instant::now());
    }
}

impl OfServer {
    /// Does a new connection wait while `answers` or more come on others?
    fn starves(&self, answers: u64, now: Instant) -> bool {
        self.waiting.iter().any(|waiter| {
            now.duration_since(waiter.since) >= STARVES_AFTER && self.answers - waiter.answers_before >= answers
        })
    }
}

#[derive(Debug)]
struct Kept<T> {
    server: ServerName,
    peer: SocketAddr,
    until: Instant,
    connection: T,
}

impl<T> State<T> {
    fn remove(&mut self, number: u64) -> Option<Kept<T>> {
        let kept = self.by_age.remove(&number)?;
        if let Some(of_server) = self.by_server.get_mut(&kept.server) {
            of_server.kept.retain(|other| *other != number);
        }
        self.forget_if_unused(&kept.server);
        Some(kept)
    }

    /// A new connection was answered or has failed: an answer soon after the kept ones were closed shows why it had to wait.
    fn end_of_wait(&mut self, server: &ServerName, number: u64, now: Instant) {
        if let Some(of_server) = self.by_server.get_mut(server) {
            let waited = of_server
                .waiting
                .iter()
                .any(|waiter| waiter.number == number && now.duration_since(waiter.since) >= STARVES_AFTER);
            of_server.waiting.retain(|waiter| waiter.number != number);
            if waited && of_server.closed_at.is_some_and(|at| now.duration_since(at) <= SERVED_AFTER_CLOSING) {
                self.without_kept.note(server, now);
            }
        }
        self.forget_if_unused(server);
    }

    /// Takes out all of a server.
    fn remove_all_of(&mut self, server: &ServerName) -> Vec<Option<Kept<T>>> {
        let numbers = self.by_server.get(server).map(|of_server| of_server.kept.clone()).unwrap_or_default();
        numbers.into_iter().map(|number| self.remove(number)).collect()
    }

    /// May none of the server be kept?
    fn is_without_kept(&self, server: &ServerName, now: Instant) -> bool {
        self.without_kept.has(server, now) || self.distrusted.has(server, now)
    }

    fn forget_if_unused(&mut self, server: &ServerName) {
        if self.by_server.get(server).is_some_and(|of_server| of_server.kept.is_empty() && of_server.waiting.is_empty())
        {
            self.by_server.remove(server);
        }
    }

    fn next_number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

impl<T: AsFd> KeptConnections<T> {
    pub(in crate::delivery) fn new(per_server: usize) -> Self {
        let state = State {
            next: 0,
            generation: 0,
            by_age: BTreeMap::new(),
            by_server: HashMap::new(),
            without_kept: Remembered::lasting(WITHOUT_KEPT_FOR),
            distrusted: Remembered::lasting(DISTRUSTED_FOR),
        };
        Self { per_server, state: Mutex::new(state) }
    }

    /// Maximum number for one server.
    pub(in crate::delivery) fn per_server(&self) -> usize {
        self.per_server
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out the newest that goes to one of these addresses and was not kept for too long. Those of the server that go
    /// elsewhere are closed: its name has moved.
    pub(in crate::delivery) fn take(&self, server: &ServerName, addresses: &[SocketAddr]) -> Option<(SocketAddr, T)> {
        let (mut useless, now) = (Vec::new(), Instant::now());
        let mut state = self.lock();
        let taken = loop {
            let Some(number) = state.by_server.get(server).and_then(|of_server| of_server.kept.last()).copied() else {
                break None;
            };
            match state.remove(number) {
                Some(kept) if addresses.contains(&kept.peer) && now < kept.until => {
                    break Some((kept.peer, kept.connection));
                }
                kept => useless.push(kept),
            }
        };
        drop(state);
        drop(useless);
        taken
    }

    /// Notes that a new connection to the server waits for its first answer since then.
    pub(in crate::delivery) fn wait(self: &Arc<Self>, server: &ServerName, since: Instant) -> Waiting<T> {
        let mut state = self.lock();
        let number = state.next_number();
        let of_server = state.by_server.entry(server.clone()).or_default();
        of_server.waiting.push(Waiter { number, since, answers_before: of_server.answers });
        Waiting { all: Arc::clone(self), server: server.clone(), number }
    }

    /// Keeps a connection that was made in this generation, after an answer, unless another one of the server starves or
    /// did lately, or the server is distrusted. `closed_after` is after what time without a request the receiver closes it,
    /// if it says so. Gives up the server's oldest if it has too many.
    pub(in crate::delivery) fn put(
        &self,
        server: &ServerName,
        (peer, generation): (SocketAddr, u64),
        closed_after: Option<Duration>,
        connection: T,
    ) {
        let now = Instant::now();
        let kept_for = closed_after.map_or(KEPT_FOR, |after| after.saturating_sub(CLOSED_BEFORE).min(KEPT_FOR));
        let kept = Kept { server: server.clone(), peer, until: now + kept_for, connection };
        let mut state = self.lock();
        let is_remembered = state.is_without_kept(server, now);
        let of_server = state.by_server.entry(server.clone()).or_default();
        of_server.answers += 1;
        let starves = of_server.starves(ANSWERS_MEANWHILE, now);
        if starves {
            of_server.closed_at = Some(now);
        }
        if starves || is_remembered || kept_for.is_zero() || state.generation != generation {
            state.forget_if_unused(server);
            drop(state);
            // Closed without the lock.
            drop(kept);
            return;
        }
        let number = state.next_number();
        state.by_age.insert(number, kept);
        let numbers = &mut state.by_server.entry(server.clone()).or_default().kept;
        numbers.push(number);
        let oldest = (numbers.len() > self.per_server).then(|| numbers.first().copied()).flatten();
        let given_up = oldest.and_then(|number| state.remove(number));
        drop(state);
        drop(given_up);
    }

    /// Which connections may be put in.
    pub(in crate::delivery) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Closes all of a server.
    pub(in crate::delivery) fn close_all_of(&self, server: &ServerName) {
        let mut state = self.lock();
        let closed = state.remove_all_of(server);
        drop(state);
        drop(closed);
    }

    /// The server sent an answer that nobody asked for: none of its connections is kept for an hour.
    pub(in crate::delivery) fn distrust(&self, server: &ServerName) {
        let mut state = self.lock();
        let is_new = state.distrusted.note(server, Instant::now());
        let closed = state.remove_all_of(server);
        drop(state);
        drop(closed);
        if is_new {
            let ServerName { authority, .. } = server;
            log::warn!(
                "{authority} sent an answer that no request asked for, which the next request could take for its own: \
                 for an hour each request to it gets a connection of its own"
            );
        }
    }

    /// Closes all, and begins a generation, so that none that is in use comes back.
    pub(in crate::delivery) fn close_all(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.by_server.retain(|_, of_server| {
            of_server.kept.clear();
            !of_server.waiting.is_empty()
        });
        let closed = std::mem::take(&mut state.by_age);
        drop(state);
        drop(closed);
    }

    /// Closes the oldest; `false` if there is none.
    pub(in crate::delivery) fn close_oldest(&self) -> bool {
        let mut state = self.lock();
        let oldest = state.by_age.first_key_value().map(|(number, _)| *number);
        let closed = oldest.and_then(|number| state.remove(number));
        drop(state);
        closed.is_some()
    }
}

impl<T: Idle> KeptConnections<T> {
    /// Closes what the other side has closed or sent something on, what was kept for long enough, and what is kept while a
    /// new connection to the same server starves.
    pub(in crate::delivery) fn close_useless(&self, now: Instant) {
        let mut next = Some(0);
        while let Some(first) = next {
            let mut state = self.lock();
            let looked_at: Vec<(&u64, &Kept<T>)> = state.by_age.range(first..).take(LOOKED_AT).collect();
            next = looked_at.last().map(|(number, _)| *number + 1);
            let starves = |kept: &Kept<T>| state.by_server.get(&kept.server).is_some_and(|of| of.starves(1, now));
            let is_over = |kept: &Kept<T>| kept.until <= now || starves(kept);
            let ready = ready(&looked_at);
            let mut useless: Vec<u64> =
                looked_at.iter().filter(|(_, kept)| is_over(kept)).map(|(number, _)| **number).collect();
            let mut distrusted = Vec::new();
            for number in ready {
                let Some(kept) = state.by_age.get_mut(&number) else { continue };
                let unasked = kept.connection.unasked();
                if unasked == Unasked::Stray {
                    distrusted.push(kept.server.clone());
                }
                if unasked != Unasked::Nothing {
                    useless.push(number);
                }
            }
            let closed: Vec<_> = useless.into_iter().map(|number| state.remove(number)).collect();
            for kept in closed.iter().flatten() {
                // A waiter keeps the entry.
                if let Some(of_server) = state.by_server.get_mut(&kept.server).filter(|of| of.starves(1, now)) {
                    of_server.closed_at = Some(now);
                }
            }
            drop(state);
            drop(closed);
            for server in &distrusted {
                self.distrust(server);
            }
        }
    }
}

/// Those that the other side has ended or sent something on.
fn ready<T: AsFd>(looked_at: &[(&u64, &Kept<T>)]) -> Vec<u64> {
    let wanted = PollFlags::IN | PollFlags::RDHUP;
    let mut sockets: Vec<_> = looked_at.iter().map(|(_, kept)| PollFd::new(&kept.connection, wanted)).collect();
    // On an error nothing is known to have come.
    let _ = poll(&mut sockets, Some(&Timespec::default()));
    let pairs = looked_at.iter().zip(&sockets);
    pairs.filter(|(_, socket)| !socket.revents().is_empty()).map(|((number, _), _)| **number).collect()
}

#[cfg(test)]
mod tests;
