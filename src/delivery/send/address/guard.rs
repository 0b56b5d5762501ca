//! Resolves the endpoint's host and passes only allowed addresses (I7). It runs at every attempt, even when a
//! connection is kept, and the addresses it returns are the ones that are dialled: nothing is resolved again between
//! check and connection. Runs on delivery threads.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::http::Uri;

use crate::delivery::send::address::look_up::{LookUpError, look_up};
use crate::delivery::send::limit::Limit;
use crate::domain::endpoint::address::AddressRule;

/// How long a look-up result is cached. Its addresses are checked at every attempt all the same.
const CACHE_TTL: Duration = Duration::from_secs(5);
/// For an attempt without a time limit.
const NO_LIMIT: Duration = Duration::from_hours(1);
/// Maximum number of cached names.
const CACHE_NAMES_MAX: usize = 4096;

/// Why the guard returned no address.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The rule does not allow it; the text names host and rule.
    #[error("{0}")]
    NotAllowed(String),
    /// The host has no address that could be told, and why.
    #[error("{0}: {1}")]
    LookUp(String, LookUpError),
    /// Too many look-ups are in progress.
    #[error("too many look-ups are in progress")]
    Busy,
    /// The look-up timed out.
    #[error("the look-up took too long")]
    TimedOut,
}

/// Says which addresses a delivery may go to; cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    rule: Arc<AddressRule>,
    names: Arc<LookupCache>,
}

#[derive(Debug)]
struct LookupCache {
    known: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
    under_way: AtomicUsize,
    /// Maximum number of concurrent look-ups; each may hang for as long as the C library allows.
    limit: usize,
}

impl Guard {
    /// A guard that applies this rule, with so many look-ups at a time.
    #[must_use]
    pub fn new(rule: AddressRule, look_ups: usize) -> Self {
        let names = LookupCache { known: Mutex::default(), under_way: AtomicUsize::new(0), limit: look_ups };
        Self { rule: Arc::new(rule), names: Arc::new(names) }
    }

    /// All addresses of the URL's host with its port, if all are allowed.
    pub(in crate::delivery) fn addresses(&self, uri: &Uri, limit: &mut Limit) -> Result<Vec<SocketAddr>, Error> {
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        limit.left()?;
        let found = self.allowed(uri.host().unwrap_or_default(), limit);
        let found = found.map_err(|error| Error::Other(Box::new(error)))?;
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// Fails if the URL's host is forbidden, as far as that is known without a look-up: the rest is for a proxy to look up.
    pub(in crate::delivery) fn check_known(&self, uri: &Uri) -> Result<(), Error> {
        let host = uri.host().unwrap_or_default();
        if !is_known(host) {
            return Ok(());
        }
        self.allowed(host, &mut Limit::within(NO_LIMIT)).map(drop).map_err(|error| Error::Other(Box::new(error)))
    }

    /// All addresses of a host that the operator has named, whatever they are.
    pub(in crate::delivery) fn any_addresses(
        &self,
        host: &str,
        port: u16,
        limit: &mut Limit,
    ) -> Result<Vec<SocketAddr>, Error> {
        let found = if let Ok(address) = host.parse::<IpAddr>() {
            vec![address]
        } else {
            limit.left()?;
            let found = self.names.look_up(host, limit);
            found.map_err(|error| Error::Other(Box::new(error)))?
        };
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    fn allowed(&self, host: &str, limit: &mut Limit) -> Result<Vec<IpAddr>, GuardError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            return self.check_addresses(literal, vec![address]);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if is_localhost(&name) {
            // By RFC 6761 this is always loopback; whichever of the two is allowed is used.
            let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let allowed: Vec<_> =
                loopbacks.into_iter().filter(|address| self.rule.check(&name, &[*address]).is_ok()).collect();
            return if allowed.is_empty() { self.check_addresses(&name, loopbacks.to_vec()) } else { Ok(allowed) };
        }
        let found = self.names.look_up(&name, limit)?;
        self.check_addresses(&name, found)
    }

    fn check_addresses(&self, host: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, GuardError> {
        match self.rule.check(host, &addresses) {
            Ok(()) => Ok(addresses),
            Err(refusal) => Err(GuardError::NotAllowed(refusal.to_string())),
        }
    }
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether the addresses of a host are known without a look-up.
fn is_known(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    literal.parse::<IpAddr>().is_ok() || is_localhost(&host.trim_end_matches('.').to_ascii_lowercase())
}

impl LookupCache {
    fn look_up(self: &Arc<Self>, name: &str, limit: &mut Limit) -> Result<Vec<IpAddr>, GuardError> {
        if let Some((at, addresses)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name)
            && at.elapsed() < CACHE_TTL
        {
            return Ok(addresses.clone());
        }
        let deadline = limit.deadline().unwrap_or_else(|| Instant::now() + NO_LIMIT);
        self.wait_for_lookup_permit(deadline, limit)?;
        let (sender, answer) = mpsc::sync_channel(1);
        let asked = name.to_owned();
        let names = Arc::clone(self);
        // The C library's look-up has no time limit, so it runs on a thread of its own.
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
        if known.len() >= CACHE_NAMES_MAX {
            known.retain(|_, (at, _)| at.elapsed() < CACHE_TTL);
        }
        if known.len() < CACHE_NAMES_MAX {
            known.insert(name.to_owned(), (Instant::now(), found.clone()));
        }
        Ok(found)
    }
}

impl LookupCache {
    /// Acquires a look-up permit. The waiting time is recorded as caused by others.
    fn wait_for_lookup_permit(&self, deadline: Instant, limit: &mut Limit) -> Result<(), GuardError> {
        let mut begun = Instant::now();
        while self.under_way.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            if begun >= deadline {
                return Err(GuardError::Busy);
            }
            std::thread::sleep(Duration::from_millis(10));
            let now = Instant::now();
            limit.add_wait(now - begun);
            begun = now;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Limit {
        Limit::within(Duration::from_secs(5))
    }

    #[test]
    fn a_forbidden_literal_is_refused_without_a_look_up() {
        let guard = Guard::new(AddressRule::default(), 1);
        for host in ["127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.1", "localhost", "LOCALHOST.", "a.localhost"] {
            assert!(matches!(guard.allowed(host, &mut limit()), Err(GuardError::NotAllowed(_))), "{host}");
        }
    }

    #[test]
    fn what_is_known_without_a_look_up_is_judged_and_names_are_left_to_the_proxy() {
        let guard = Guard::new(AddressRule::default(), 1);
        let check = |url: &str| guard.check_known(&url.parse().unwrap());
        for url in [
            "http://127.0.0.1/",
            "https://[::1]:8443/",
            "http://localhost/",
            "https://A.Localhost./",
            "http://10.0.0.1/",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
        for url in ["https://crm.example/", "http://192.0.3.1/", "https://localhost.example/"] {
            assert!(check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn localhost_is_whichever_loopback_is_allowed() {
        let guard = Guard::new(AddressRule::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()), 1);
        assert_eq!(guard.allowed("localhost", &mut limit()).unwrap(), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }
}
