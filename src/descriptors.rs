//! The file descriptors that this process may have open, and how they are divided: connections of the API, connections
//! to endpoints and name look-ups each have a share, so that none can take those of the others or of the database.
//! [`raise_limit`] runs on the main thread at the start; the rest is pure.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything else: the database, the log, the threads' own, 32 connections of the control socket and 32
/// of the metrics, and one that a backup or a check opens.
const OWN: usize = 128;
/// What a look-up by the C library has open at a time: a socket to a name server, and a file.
const PER_LOOK_UP: usize = 2;
/// More look-ups than this would wait for each other at the name server.
const LOOK_UPS_MAX: usize = 64;
/// The least of anything, for a limit that is too low for all.
const LEAST: usize = 4;
/// What is left to connections to endpoints and to look-ups before callers may have more than half.
const ENOUGH: usize = 4096;
/// More connections to endpoints than this would take too much memory.
const TO_ENDPOINTS_MAX: usize = 65_536;

/// The share of each user of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Connections of the API.
    pub api_connections: usize,
    /// Connections to endpoints, in use and kept.
    pub endpoint_connections: usize,
    /// Name look-ups at a time.
    pub look_ups: usize,
}

impl Shares {
    /// Divides so many descriptors. The API gets as many connections as it is configured to have, up to half of them, and
    /// more where enough is left.
    #[must_use]
    pub fn of(limit: usize, max_connections: usize) -> Self {
        let free = limit.saturating_sub(OWN);
        let api_connections = max_connections.min((free / 2).max(free.saturating_sub(ENOUGH)).max(LEAST));
        let outward = free.saturating_sub(api_connections);
        let look_ups = (outward / 8).clamp(LEAST, LOOK_UPS_MAX);
        let left = outward.saturating_sub(look_ups * PER_LOOK_UP);
        Self { api_connections, endpoint_connections: left.clamp(LEAST, TO_ENDPOINTS_MAX), look_ups }
    }

    /// Says what is too little for the configuration, if anything is.
    #[must_use]
    pub fn shortage(&self, limit: usize, max_connections: usize, threads: usize) -> Option<String> {
        let has_all = self.api_connections >= max_connections && self.endpoint_connections >= threads;
        (!has_all).then(|| {
            format!(
                "the limit of {limit} open files is too low: of the {max_connections} connections of server.max_connections, {} are served at a time, and {} connections to endpoints can be open",
                self.api_connections, self.endpoint_connections
            )
        })
    }
}

/// Raises the limit to the highest that this process may set, and returns it.
#[must_use]
pub fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        log::warn!("the limit of open files could not be raised");
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The limit of another process of this machine that this user may look at.
#[must_use]
pub fn limit_of(process: i32) -> Option<usize> {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        limit => limit.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_never_exceed_the_limit_together() {
        for limit in [160, 200, 256, 300, 512, 1000, 1024, 4096, 65_536, 1 << 20, 1 << 30] {
            for max_connections in [1, 50, 1000, 100_000] {
                let shares = Shares::of(limit, max_connections);
                let all = OWN + shares.api_connections + shares.endpoint_connections + shares.look_ups * PER_LOOK_UP;
                assert!(all <= limit, "{shares:?} of {limit}");
            }
        }
    }

    #[test]
    fn nothing_is_left_without_any() {
        for limit in [0, 1, 64, 128, 130] {
            let shares = Shares::of(limit, 1000);
            assert!(
                shares.api_connections >= LEAST && shares.endpoint_connections >= LEAST && shares.look_ups >= LEAST
            );
        }
    }

    #[test]
    fn a_limit_that_is_high_enough_is_no_shortage() {
        let shortage = |limit| Shares::of(limit, 1000).shortage(limit, 1000, 64);
        assert_eq!(shortage(65_536), None);
        let words = shortage(256).unwrap();
        assert!(words.contains("limit of 256 open files") && words.contains("of the 1000 connections"), "{words}");
    }

    #[test]
    fn the_limit_of_a_running_process_is_known() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(limit_of(own).is_some_and(|limit| limit > 0));
    }
}
