//! Servers of which something is remembered for a while: a bounded number, beyond which the one that would be forgotten
//! first is forgotten at once. Lives behind the lock of the kept connections.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Maximum number of servers.
const REMEMBERED: usize = 1024;

/// The servers, and until when each is remembered.
#[derive(Debug)]
pub(super) struct Remembered<S> {
    lasting: Duration,
    until: HashMap<S, Instant>,
}

impl<S: Clone + Eq + Hash> Remembered<S> {
    /// None yet; each is remembered for so long.
    pub(super) fn lasting(lasting: Duration) -> Self {
        Self { lasting, until: HashMap::new() }
    }

    pub(super) fn has(&self, server: &S, now: Instant) -> bool {
        self.until.get(server).is_some_and(|until| now < *until)
    }

    /// Remembers a server from now on. Returns whether it was not remembered before.
    pub(super) fn note(&mut self, server: &S, now: Instant) -> bool {
        let is_new = !self.has(server, now);
        if is_new {
            self.until.retain(|_, until| now < *until);
            if self.until.len() >= REMEMBERED {
                let first = self.until.iter().min_by_key(|(_, until)| **until).map(|(server, _)| server.clone());
                first.and_then(|first| self.until.remove(&first));
            }
        }
        self.until.insert(server.clone(), now + self.lasting);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LASTING: Duration = Duration::from_secs(100);

    #[test]
    fn beyond_the_most_the_one_that_ends_first_is_forgotten() {
        let (mut remembered, begun) = (Remembered::lasting(LASTING), Instant::now());
        let at = |ms: usize| begun + Duration::from_millis(ms.try_into().unwrap());
        for number in 0..REMEMBERED {
            assert!(remembered.note(&number, at(number)));
        }
        assert!(!remembered.note(&0, at(REMEMBERED)), "it is known, and remembered for longer");
        assert!(remembered.note(&REMEMBERED, at(REMEMBERED)));
        assert_eq!(remembered.until.len(), REMEMBERED);
        let has = |number| remembered.has(&number, at(REMEMBERED));
        assert!(has(0) && !has(1) && has(2) && has(REMEMBERED));
    }

    proptest! {
        #[test]
        fn a_server_is_remembered_for_so_long_after_it_was_noted_last(
            steps in prop::collection::vec((0_usize..6, 0_u64..60), 1..60),
        ) {
            let (mut remembered, mut now) = (Remembered::lasting(LASTING), Instant::now());
            let mut noted = BTreeMap::new();
            for (number, seconds) in steps {
                now += Duration::from_secs(seconds);
                let is_known = |number: &usize| noted.get(number).is_some_and(|at| now < *at + LASTING);
                for other in 0..6 {
                    prop_assert_eq!(remembered.has(&other, now), is_known(&other));
                }
                let was_known = is_known(&number);
                prop_assert_eq!(remembered.note(&number, now), !was_known);
                noted.insert(number, now);
            }
        }
    }
}
