//! Connections to endpoints that are kept open for the next request to the same server, whichever subscription it is for.
//! Delivery threads put them in and take them out; the `connections` thread closes each second what has become of no
//! use. The lock is held for a few steps, and nothing is closed under it.
//!
//! A receiver that serves one connection at a time, or a few, serves no new one while one is kept. So it is known which new
//! ones wait for an answer: none is kept beside one that starves.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ureq::http::Uri;
use ureq::http::uri::Authority;

/// How long a connection is kept without a request.
const KEPT_FOR: Duration = Duration::from_secs(15);
/// A new connection that waits for so long, while others of the server were answered on, starves.
const STARVES_AFTER: Duration = Duration::from_millis(500);
/// How many answers come on others meanwhile: one may have been under way already.
const ANSWERS_MEANWHILE: u64 = 2;
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
        let mut state = self.all.lock();
        if let Some(of_server) = state.by_server.get_mut(&self.server) {
            of_server.waiting.retain(|waiter| waiter.number != self.number);
        }
        state.forget_if_unused(&self.server);
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
    since: Instant,
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
        let state = State { next: 0, generation: 0, by_age: BTreeMap::new(), by_server: HashMap::new() };
        Self { per_server, state: Mutex::new(state) }
    }

    /// Maximum number for one server.
    pub(in crate::delivery) fn per_server(&self) -> usize {
        self.per_server
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out the newest that goes to one of these addresses. Those of the server that go elsewhere are closed: its
    /// name has moved.
    pub(in crate::delivery) fn take(&self, server: &ServerName, addresses: &[SocketAddr]) -> Option<(SocketAddr, T)> {
        let mut elsewhere = Vec::new();
        let mut state = self.lock();
        let taken = loop {
            let Some(number) = state.by_server.get(server).and_then(|of_server| of_server.kept.last()).copied() else {
                break None;
            };
            match state.remove(number) {
                Some(kept) if addresses.contains(&kept.peer) => break Some((kept.peer, kept.connection)),
                kept => elsewhere.push(kept),
            }
        };
        drop(state);
        drop(elsewhere);
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

    /// Keeps a connection that was made in this generation, after an answer, unless another one of the server starves.
    /// Gives up the server's oldest if it has too many.
    pub(in crate::delivery) fn put(&self, server: &ServerName, peer: SocketAddr, generation: u64, connection: T) {
        let kept = Kept { server: server.clone(), peer, since: Instant::now(), connection };
        let mut state = self.lock();
        let of_server = state.by_server.entry(server.clone()).or_default();
        of_server.answers += 1;
        if of_server.starves(ANSWERS_MEANWHILE, kept.since) || state.generation != generation {
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
        let numbers = state.by_server.get(server).map(|of_server| of_server.kept.clone()).unwrap_or_default();
        let closed: Vec<_> = numbers.into_iter().map(|number| state.remove(number)).collect();
        drop(state);
        drop(closed);
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

    /// Closes what the other side has closed, what was kept for long enough, and what is kept while a new connection to the
    /// same server starves.
    pub(in crate::delivery) fn close_useless(&self, now: Instant) {
        let mut next = Some(0);
        while let Some(first) = next {
            let mut state = self.lock();
            let looked_at: Vec<(&u64, &Kept<T>)> = state.by_age.range(first..).take(LOOKED_AT).collect();
            next = looked_at.last().map(|(number, _)| *number + 1);
            let starves = |kept: &Kept<T>| state.by_server.get(&kept.server).is_some_and(|of| of.starves(1, now));
            let useless = useless(&looked_at, starves, now);
            let closed: Vec<_> = useless.into_iter().map(|number| state.remove(number)).collect();
            drop(state);
            drop(closed);
        }
    }
}

fn useless<T: AsFd>(looked_at: &[(&u64, &Kept<T>)], starves: impl Fn(&Kept<T>) -> bool, now: Instant) -> Vec<u64> {
    let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut sockets: Vec<_> =
        looked_at.iter().map(|(_, kept)| PollFd::new(&kept.connection, PollFlags::RDHUP)).collect();
    // On an error nothing is known to have ended.
    let _ = poll(&mut sockets, Some(&Timespec::default()));
    let is_useless = |kept: &Kept<T>, socket: &PollFd<'_>| {
        socket.revents().intersects(ended) || now.duration_since(kept.since) >= KEPT_FOR || starves(kept)
    };
    let pairs = looked_at.iter().zip(&sockets);
    pairs.filter(|((_, kept), socket)| is_useless(kept, socket)).map(|((number, _), _)| **number).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn server(name: &str) -> ServerName {
        ServerName::of(&format!("http://{name}/hook").parse().unwrap(), None).unwrap()
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn the_newest_one_to_an_address_of_the_name_is_taken_and_others_are_closed() {
        let kept = KeptConnections::new(4);
        let [old, new]: [SocketAddr; 2] = ["192.0.2.1:443".parse().unwrap(), "192.0.2.2:443".parse().unwrap()];
        let (a, mut far_a) = pair();
        let (b, far_b) = pair();
        kept.put(&server("crm.example"), new, 0, b);
        kept.put(&server("crm.example"), old, 0, a);
        assert!(kept.take(&server("other.example"), &[old, new]).is_none());
        let (_, taken) = kept.take(&server("crm.example"), &[new]).unwrap();
        assert_eq!(taken.peer_addr().unwrap(), far_b.local_addr().unwrap());
        far_a.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(far_a.read(&mut [0]).unwrap(), 0, "the other one is closed");
        assert!(kept.take(&server("crm.example"), &[old, new]).is_none());
    }

    #[test]
    fn a_server_has_so_many_and_all_together_go_from_the_oldest_on() {
        let kept = KeptConnections::new(2);
        let peer = "192.0.2.1:443".parse().unwrap();
        for name in ["a.example", "a.example", "a.example", "b.example"] {
            kept.put(&server(name), peer, 0, pair().0);
        }
        assert!(kept.close_oldest() && kept.close_oldest());
        assert!(kept.take(&server("a.example"), &[peer]).is_none());
        assert!(kept.take(&server("b.example"), &[peer]).is_some());
        assert!(!kept.close_oldest());
    }

    #[test]
    fn a_connection_is_used_again_only_with_the_certificate_that_was_shown_on_it() {
        let kept = KeptConnections::new(4);
        let peer: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let with = |name: Option<&str>| {
            let uri = "https://crm.example/".parse().unwrap();
            ServerName::of(&uri, name.map(Arc::from).as_ref()).unwrap()
        };
        kept.put(&with(Some("north")), peer, 0, pair().0);
        assert!(kept.take(&with(None), &[peer]).is_none() && kept.take(&with(Some("south")), &[peer]).is_none());
        assert!(kept.take(&with(Some("north")), &[peer]).is_some());
    }

    #[test]
    fn none_is_kept_while_a_new_one_waits_and_others_are_answered_on() {
        let kept = Arc::new(KeptConnections::new(4));
        let (peer, name) = ("192.0.2.1:443".parse().unwrap(), server("a.example"));
        let mut others = Vec::new();
        let mut near = || {
            let (near, far) = pair();
            others.push(far);
            near
        };
        let is_kept = |seconds| {
            kept.close_useless(Instant::now() + Duration::from_secs(seconds));
            kept.take(&name, &[peer]).is_some()
        };
        let waiting = kept.wait(&name, Instant::now() + Duration::from_secs(10));
        assert!(!is_kept(11));
        kept.put(&name, peer, 0, near());
        assert!(is_kept(0), "it may be answered soon");
        kept.put(&name, peer, 0, near());
        kept.put(&server("b.example"), peer, 0, near());
        assert!(!is_kept(11));
        assert!(kept.take(&server("b.example"), &[peer]).is_some(), "another server serves it");
        drop(waiting);
        kept.put(&name, peer, 0, near());
        assert!(is_kept(11));
        assert!(kept.lock().by_server.is_empty());
    }

    #[test]
    fn what_was_made_before_all_were_closed_does_not_come_back() {
        let kept = KeptConnections::new(2);
        let peer = "192.0.2.1:443".parse().unwrap();
        let before = kept.generation();
        kept.close_all();
        kept.put(&server("a.example"), peer, before, pair().0);
        assert!(kept.take(&server("a.example"), &[peer]).is_none());
        kept.put(&server("a.example"), peer, kept.generation(), pair().0);
        assert!(kept.take(&server("a.example"), &[peer]).is_some());
    }

    #[test]
    fn what_the_other_side_closed_and_what_was_kept_long_enough_is_closed() {
        let kept = KeptConnections::new(1000);
        let peer = "192.0.2.1:443".parse().unwrap();
        let mut others = Vec::new();
        for number in 0..LOOKED_AT + 3 {
            let (near, far) = pair();
            kept.put(&server("a.example"), peer, 0, near);
            if number % 2 == 0 {
                others.push(far);
            }
        }
        let now = Instant::now();
        kept.close_useless(now);
        assert_eq!(kept.lock().by_age.len(), others.len());
        kept.close_useless(now + KEPT_FOR);
        assert!(kept.lock().by_age.is_empty() && kept.lock().by_server.is_empty());
    }
}
