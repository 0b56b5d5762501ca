//! Limits the connections of one source, so that it cannot take all of them. Shared by the HTTP workers; the lock is held
//! for a few steps.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the connections of each source.
#[derive(Debug)]
pub struct ConnectionLimit {
    /// Maximum number of connections of one source.
    limit: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// The right to one connection; dropping it returns the right.
#[derive(Debug)]
pub struct ConnectionPermit {
    /// `None` for loopback, which has no limit.
    source: Option<IpAddr>,
    limit: Arc<ConnectionLimit>,
}

/// The source that an address counts for: itself, or its /64, as one host of version 6 has a whole block of addresses.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl ConnectionLimit {
    /// Allows each source three quarters of all connections.
    pub fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Self { limit: max_connections - max_connections / 4, counts: Mutex::default() })
    }

    /// Returns a permit for one more connection, or `None` at the limit. Loopback has no limit: a reverse proxy on this
    /// machine connects for all of its callers.
    pub fn try_acquire(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let source = Some(address.to_canonical()).filter(|address| !address.is_loopback()).map(source_of);
        if let Some(source) = source {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(source).or_default();
            if *count >= self.limit {
                log::debug!("{source} has {} connections, which is the limit; a further one was closed", self.limit);
                return None;
            }
            *count += 1;
        }
        Some(ConnectionPermit { source, limit: Arc::clone(self) })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        let mut counts = self.limit.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(max_connections: usize, addresses: &[&str]) -> usize {
        let limit = ConnectionLimit::new(max_connections);
        let admitted = |number: usize| limit.try_acquire(addresses[number % addresses.len()].parse().unwrap());
        let permits: Vec<ConnectionPermit> = (0..1000).filter_map(admitted).collect();
        let count = permits.len();
        drop(permits);
        assert!(limit.counts.lock().unwrap().is_empty(), "all permits are returned");
        count
    }

    #[test]
    fn one_source_has_three_quarters_and_at_least_one() {
        for (max_connections, limit) in [(1, 1), (2, 2), (3, 3), (4, 3), (32, 24), (1000, 750)] {
            assert_eq!(permits(max_connections, &["192.0.2.1"]), limit);
        }
    }

    #[test]
    fn a_block_of_version_6_is_one_source_and_loopback_is_none() {
        assert_eq!(permits(8, &["2001:db8::1", "2001:db8::ffff:0:0:2"]), 6);
        assert_eq!(permits(8, &["2001:db8::1", "2001:db8:0:1::1"]), 12);
        assert_eq!(permits(8, &["192.0.2.1", "::ffff:192.0.2.1"]), 6);
        assert_eq!(permits(8, &["192.0.2.1", "192.0.2.2"]), 12);
        assert_eq!(permits(8, &["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.8.8"]), 1000);
    }
}
