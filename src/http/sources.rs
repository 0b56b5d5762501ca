//! How many connections each source has. The HTTP workers share it; the lock is held for a few steps.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections, so that one source cannot take all of them.
#[derive(Debug)]
pub struct Sources {
    /// Connections at most for each source.
    limit: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place among those of its source.
#[derive(Debug)]
pub struct Place {
    /// None for whom nothing is counted.
    source: Option<IpAddr>,
    among: Arc<Sources>,
}

/// Whom an address counts as. One host of version 6 has a whole block of addresses.
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Sources {
    /// Leaves a quarter of all connections to others.
    pub fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Self { limit: max_connections - max_connections / 4, counts: Mutex::default() })
    }

    /// A place for one more connection, if there is one. Loopback has as many as there are: a reverse proxy on this
    /// machine connects for all of its callers.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = Some(address.to_canonical()).filter(|address| !address.is_loopback()).map(counted);
        if let Some(source) = source {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(source).or_default();
            if *count >= self.limit {
                log::debug!("{source} has {} connections, which is the limit; one more was closed", self.limit);
                return None;
            }
            *count += 1;
        }
        Some(Place { source, among: Arc::clone(self) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        let mut counts = self.among.counts.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn places(max_connections: usize, addresses: &[&str]) -> usize {
        let sources = Sources::new(max_connections);
        let admitted = |number: usize| sources.admit(addresses[number % addresses.len()].parse().unwrap());
        let places: Vec<Place> = (0..1000).filter_map(admitted).collect();
        let count = places.len();
        drop(places);
        assert!(sources.counts.lock().unwrap().is_empty(), "all places are given back");
        count
    }

    #[test]
    fn one_source_has_three_quarters_and_at_least_one() {
        for (max_connections, limit) in [(1, 1), (2, 2), (3, 3), (4, 3), (32, 24), (1000, 750)] {
            assert_eq!(places(max_connections, &["192.0.2.1"]), limit);
        }
    }

    #[test]
    fn a_block_of_version_6_is_one_source_and_loopback_is_none() {
        assert_eq!(places(8, &["2001:db8::1", "2001:db8::ffff:0:0:2"]), 6);
        assert_eq!(places(8, &["2001:db8::1", "2001:db8:0:1::1"]), 12);
        assert_eq!(places(8, &["192.0.2.1", "::ffff:192.0.2.1"]), 6);
        assert_eq!(places(8, &["192.0.2.1", "192.0.2.2"]), 12);
        assert_eq!(places(8, &["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.8.8"]), 1000);
    }
}
