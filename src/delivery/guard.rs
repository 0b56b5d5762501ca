//! Looks up the endpoint's host and lets only allowed addresses through (I7). It is asked at every attempt, also when
//! a connection is at hand, and the addresses that it gives are the ones that get dialled: nothing is looked up again
//! between the check and the connection. Runs on delivery threads.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::look_up::{LookUpError, look_up};
use super::phases;
use crate::domain::address::AddressRule;
use crate::domain::outcome::Phase;

/// How long a look-up's answer is used again. The addresses are judged at every attempt all the same.
const REMEMBERED: Duration = Duration::from_secs(5);
/// How many names are remembered.
const REMEMBERED_NAMES: usize = 4096;
/// How many look-ups may be under way; each may hang for as long as the C library lets it.
const LOOKUPS: usize = 64;
/// As many addresses as the HTTP client takes.
const ADDRESSES: usize = 16;

/// Why the guard gave no address.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The rule does not allow it; the text names host and rule.
    #[error("{0}")]
    NotAllowed(String),
    /// The host has no address that could be told, and why.
    #[error("{0}: {1}")]
    LookUp(String, LookUpError),
    /// Too many look-ups were under way.
    #[error("too many look-ups are under way")]
    Busy,
    /// The name server did not answer in time.
    #[error("the look-up took too long")]
    TimedOut,
}

/// The resolver of every agent; cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    rule: Arc<AddressRule>,
    names: Arc<Names>,
}

#[derive(Debug, Default)]
struct Names {
    known: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
    under_way: AtomicUsize,
}

impl Guard {
    /// A guard that applies this rule.
    #[must_use]
    pub fn new(rule: AddressRule) -> Self {
        Self { rule: Arc::new(rule), names: Arc::default() }
    }

    fn addresses(&self, host: &str, limit: Duration) -> Result<Vec<IpAddr>, GuardError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            return self.judged(literal, vec![address]);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            // By RFC 6761 this never leaves the machine; whichever of the two loopbacks is allowed will do.
            let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let allowed: Vec<_> =
                loopbacks.into_iter().filter(|address| self.rule.judge(&name, &[*address]).is_ok()).collect();
            return if allowed.is_empty() { self.judged(&name, loopbacks.to_vec()) } else { Ok(allowed) };
        }
        let found = self.names.look_up(&name, limit)?;
        self.judged(&name, found)
    }

    fn judged(&self, host: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, GuardError> {
        match self.rule.judge(host, &addresses) {
            Ok(()) => Ok(addresses),
            Err(refusal) => Err(GuardError::NotAllowed(refusal.to_string())),
        }
    }
}

impl Names {
    fn look_up(self: &Arc<Self>, name: &str, limit: Duration) -> Result<Vec<IpAddr>, GuardError> {
        if let Some((at, addresses)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name)
            && at.elapsed() < REMEMBERED
        {
            return Ok(addresses.clone());
        }
        let deadline = Instant::now() + limit;
        self.wait_for_a_place(deadline)?;
        let (sender, answer) = mpsc::sync_channel(1);
        let asked = name.to_owned();
        let names = Arc::clone(self);
        // The C library's look-up cannot be given a time limit, so it gets a thread of its own.
        let thread = std::thread::Builder::new().name("look-up".to_owned()).spawn(move || {
            let found = look_up(&asked);
            names.under_way.fetch_sub(1, Ordering::Relaxed);
            drop(sender.send(found));
        });
        if thread.is_err() {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            return Err(GuardError::Busy);
        }
        let found = match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(found) => found.map_err(|error| GuardError::LookUp(name.to_owned(), error))?,
            Err(_) => return Err(GuardError::TimedOut),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_NAMES {
            known.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        }
        if known.len() < REMEMBERED_NAMES {
            known.insert(name.to_owned(), (Instant::now(), found.clone()));
        }
        Ok(found)
    }
}

impl Names {
    /// Takes one of the places for look-ups. What it waits is on account of others, and is noted as such.
    fn wait_for_a_place(&self, deadline: Instant) -> Result<(), GuardError> {
        let begun = Instant::now();
        while self.under_way.fetch_add(1, Ordering::Relaxed) >= LOOKUPS {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            if Instant::now() >= deadline {
                return Err(GuardError::Busy);
            }
            std::thread::sleep(Duration::from_millis(10));
            phases::set_wait(begun.elapsed());
        }
        Ok(())
    }
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        phases::enter(Phase::Resolve);
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let found = self.addresses(host, *timeout.after).map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut resolved = self.empty();
        for address in found.into_iter().take(ADDRESSES) {
            resolved.push(SocketAddr::new(address, port));
        }
        phases::enter(Phase::Connect);
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn a_forbidden_literal_is_refused_without_a_look_up() {
        let guard = Guard::new(AddressRule::default());
        for host in ["127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.1", "localhost", "LOCALHOST.", "a.localhost"] {
            assert!(matches!(guard.addresses(host, LIMIT), Err(GuardError::NotAllowed(_))), "{host}");
        }
    }

    #[test]
    fn localhost_is_whichever_loopback_is_allowed() {
        let guard = Guard::new(AddressRule::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()));
        assert_eq!(guard.addresses("localhost", LIMIT).unwrap(), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }
}
