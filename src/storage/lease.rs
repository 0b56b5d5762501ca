//! Until when this process may act for its store, by the steady clock of its machine. A process that stood still, or whose
//! machine slept, sees by it that another one may have taken over, before it has asked anybody. Any thread; nothing blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A reading of the clock that nobody sets, and that goes on while the machine sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage) struct Moment {
    ms: u64,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let (seconds, nanoseconds) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
        Self { ms: seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000) }
    }

    /// So much later.
    pub fn plus(self, span: Duration) -> Self {
        Self { ms: self.ms.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)) }
    }
}

/// The right to act for a store, which lasts for the life of the process unless it has to be renewed.
#[derive(Clone, Debug, Default)]
pub struct Lease(Option<Arc<AtomicU64>>);

impl Lease {
    /// One that has to be renewed, and has not been yet.
    pub(in crate::storage) fn renewable() -> Self {
        Self(Some(Arc::default()))
    }

    /// It lasts until then, unless it is renewed again.
    pub(in crate::storage) fn renew(&self, until: Moment) {
        if let Some(held) = &self.0 {
            held.store(until.ms, Ordering::Release);
        }
    }

    /// It has ended for good.
    pub(in crate::storage) fn end(&self) {
        self.renew(Moment { ms: 0 });
    }

    /// Whether this process may act now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_none_or(|until| Moment::now().ms < until.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_until_the_time_that_it_was_renewed_for() {
        assert!(Lease::default().is_held());
        let lease = Lease::renewable();
        let same = lease.clone();
        assert!(!same.is_held());
        lease.renew(Moment::now().plus(Duration::from_hours(1)));
        assert!(same.is_held());
        lease.renew(Moment::now());
        assert!(!same.is_held());
        lease.renew(Moment::now().plus(Duration::from_hours(1)));
        lease.end();
        assert!(!same.is_held());
    }
}
