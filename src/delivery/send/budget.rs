//! How many connections to endpoints may be open at a time, in use and kept: one permit for each. Delivery threads wait
//! here when all are in use; one that is kept makes room for one that is wanted. The lock is held for a few steps.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The permits.
#[derive(Debug)]
pub(in crate::delivery) struct Budget {
    limit: usize,
    counts: Mutex<Counts>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    open: usize,
    waiting: usize,
}

/// The right to one open connection; dropping it returns the right.
#[derive(Debug)]
pub(in crate::delivery) struct Permit(Arc<Budget>);

/// A wait without a limit of its own ends for another look after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Budget {
    pub(in crate::delivery) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, counts: Mutex::default(), returned: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A permit, if one is left.
    pub(in crate::delivery) fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let mut counts = self.lock();
        (counts.open < self.limit).then(|| {
            counts.open += 1;
            Permit(Arc::clone(self))
        })
    }

    /// Waits for a permit until the deadline. `make_room` closes a kept connection, and says whether there was one.
    pub(in crate::delivery) fn acquire(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        make_room: impl Fn() -> bool,
    ) -> Option<Permit> {
        if let Some(permit) = self.try_acquire() {
            return Some(permit);
        }
        // From now on no connection is kept, see `is_short`.
        self.lock().waiting += 1;
        let permit = self.wait(deadline, make_room);
        self.lock().waiting -= 1;
        permit
    }

    fn wait(self: &Arc<Self>, deadline: Option<Instant>, make_room: impl Fn() -> bool) -> Option<Permit> {
        loop {
            while make_room() {
                if let Some(permit) = self.try_acquire() {
                    return Some(permit);
                }
            }
            let counts = self.lock();
            let left = deadline.map_or(LOOK_AGAIN, |at| at.saturating_duration_since(Instant::now()).min(LOOK_AGAIN));
            if counts.open >= self.limit {
                if left.is_zero() {
                    return None;
                }
                drop(self.returned.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner));
            } else {
                drop(counts);
            }
            if let Some(permit) = self.try_acquire() {
                return Some(permit);
            }
        }
    }

    /// Does somebody wait for a permit? Then nothing is kept that has one.
    pub(in crate::delivery) fn is_short(&self) -> bool {
        self.lock().waiting > 0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.lock().open -= 1;
        self.0.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::thread;

    use super::*;

    #[test]
    fn beyond_the_limit_a_kept_one_makes_room_and_without_one_the_deadline_counts() {
        let budget = Budget::new(2);
        let kept = RefCell::new(vec![budget.try_acquire().unwrap()]);
        let first = budget.try_acquire().unwrap();
        let make_room = || kept.borrow_mut().pop().is_some();
        let second = budget.acquire(Some(Instant::now()), make_room).unwrap();
        assert!(kept.borrow().is_empty());
        assert!(budget.acquire(Some(Instant::now()), make_room).is_none());
        drop((first, second));
        assert!(budget.try_acquire().is_some() && !budget.is_short());
    }

    #[test]
    fn whoever_waits_gets_what_is_returned() {
        let budget = Budget::new(1);
        let first = budget.try_acquire().unwrap();
        thread::scope(|scope| {
            let waiting: Vec<_> =
                (0..4).map(|_| scope.spawn(|| drop(budget.acquire(None, || false).unwrap()))).collect();
            while !budget.is_short() {
                thread::yield_now();
            }
            drop(first);
            for thread in waiting {
                thread.join().unwrap();
            }
        });
        assert!(!budget.is_short());
    }
}
