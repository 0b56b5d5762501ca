//! The addresses that did not answer lately, shared by all delivery threads, so that the next attempt begins with another
//! one. It only changes an order: every address is still tried. The lock is held for a few steps.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After this an address is as good as any other.
const REMEMBERED: Duration = Duration::from_mins(10);
/// Maximum number of addresses; beyond it those that are forgotten make room, or no more are taken in.
const ADDRESSES_MAX: usize = 4096;

/// When each address failed last.
#[derive(Debug, Default)]
pub(in crate::delivery) struct FailedAddresses {
    at: Mutex<HashMap<SocketAddr, Instant>>,
    /// How many there are, so that nobody takes the lock when there are none.
    count: AtomicUsize,
}

impl FailedAddresses {
    fn edit<R>(&self, edit: impl FnOnce(&mut HashMap<SocketAddr, Instant>) -> R) -> R {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let result = edit(&mut at);
        self.count.store(at.len(), Ordering::Relaxed);
        result
    }

    /// It did not answer.
    pub(in crate::delivery) fn note(&self, address: SocketAddr, now: Instant) {
        self.edit(|at| {
            if at.len() >= ADDRESSES_MAX {
                at.retain(|_, failed| now.duration_since(*failed) < REMEMBERED);
            }
            if at.len() < ADDRESSES_MAX {
                at.insert(address, now);
            }
        });
    }

    /// It answered.
    pub(in crate::delivery) fn forget(&self, address: SocketAddr) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.edit(|at| at.remove(&address));
        }
    }

    /// When it failed, if it is not forgotten.
    pub(in crate::delivery) fn failed_at(&self, address: &SocketAddr, now: Instant) -> Option<Instant> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.get(address).copied().filter(|failed| now.duration_since(*failed) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_until_an_answer_or_for_ten_minutes() {
        let (failed, now) = (FailedAddresses::default(), Instant::now());
        let [first, second]: [SocketAddr; 2] = ["192.0.2.1:443".parse().unwrap(), "192.0.2.2:443".parse().unwrap()];
        failed.note(first, now);
        failed.note(second, now);
        failed.forget(second);
        assert_eq!((failed.failed_at(&first, now), failed.failed_at(&second, now)), (Some(now), None));
        assert_eq!(failed.failed_at(&first, now + REMEMBERED), None);
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let (failed, now) = (FailedAddresses::default(), Instant::now());
        for number in 0..ADDRESSES_MAX + 10 {
            failed.note(SocketAddr::from(([192, 0, 2, 1], u16::try_from(number).unwrap())), now);
        }
        assert_eq!(failed.at.lock().unwrap().len(), ADDRESSES_MAX);
        failed.note(SocketAddr::from(([192, 0, 2, 2], 1)), now + REMEMBERED);
        assert_eq!(failed.at.lock().unwrap().len(), 1);
    }
}
