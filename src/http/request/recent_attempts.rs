//! The last attempts that were recorded, in their order, for an operator who follows them. The writer puts them in after
//! each commit, the control socket's worker takes them out; the lock is held for a copy of a few of them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::domain::DeliveryId;

/// How many attempts are kept, and at 32 bytes each take a quarter of a megabyte.
const KEPT: usize = 8192;
/// How many are looked at for one answer.
const PAGE: usize = 1000;

/// The deliveries that were attempted last. Attempts are numbered from 0 on since the start of the process.
#[derive(Debug, Default)]
pub struct RecentAttempts(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    deliveries: VecDeque<DeliveryId>,
    /// The number that the next attempt gets.
    next: u64,
}

/// What was attempted from some position on.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Whose attempts they were, in order.
    pub deliveries: Vec<DeliveryId>,
    /// How many attempts lay before these and are no longer known.
    pub missed: u64,
    /// Where to go on.
    pub position: u64,
    /// Are there more by now?
    pub has_more: bool,
}

impl RecentAttempts {
    /// Attempts of these deliveries were recorded.
    pub fn push(&self, attempted: impl IntoIterator<Item = DeliveryId>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for delivery in attempted {
            if kept.deliveries.len() == KEPT {
                kept.deliveries.pop_front();
            }
            kept.deliveries.push_back(delivery);
            kept.next += 1;
        }
    }

    /// What was attempted from that position on; without one, nothing yet. A position that was not reached is one of an
    /// earlier process, since whose end everything here was attempted.
    pub fn page(&self, position: Option<u64>) -> Page {
        self.some_from(position, PAGE)
    }

    /// Everything that was attempted from that position on and is still known, for a view that shows the newest of it.
    pub fn all_from(&self, position: u64) -> Page {
        self.some_from(Some(position), KEPT)
    }

    fn some_from(&self, position: Option<u64>, limit: usize) -> Page {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.next - kept.deliveries.len() as u64;
        let wanted = match position {
            None => kept.next,
            Some(position) if position > kept.next => first,
            Some(position) => position,
        };
        let begin = wanted.max(first);
        let skipped = usize::try_from(begin - first).unwrap_or(usize::MAX);
        let deliveries: Vec<_> = kept.deliveries.iter().skip(skipped).take(limit).copied().collect();
        let position = begin + deliveries.len() as u64;
        Page { deliveries, missed: begin - wanted, position, has_more: position < kept.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventId, SubscriptionId};

    fn delivery(number: usize) -> DeliveryId {
        DeliveryId { event: EventId(number as u128), subscription: SubscriptionId(1) }
    }

    #[test]
    fn everything_from_a_position_on_comes_once_and_in_order() {
        let recent = RecentAttempts::default();
        recent.push((0..5).map(delivery));
        let start = recent.page(None);
        assert_eq!(start, Page { deliveries: Vec::new(), missed: 0, position: 5, has_more: false });
        recent.push((0..PAGE + 2).map(delivery));
        let first = recent.page(Some(start.position));
        assert_eq!((first.deliveries.len(), first.missed, first.has_more), (PAGE, 0, true));
        let second = recent.page(Some(first.position));
        assert_eq!(second.deliveries, [delivery(PAGE), delivery(PAGE + 1)]);
        assert!(!second.has_more && recent.page(Some(second.position)).deliveries.is_empty());
    }

    #[test]
    fn what_is_no_longer_known_is_counted() {
        let recent = RecentAttempts::default();
        recent.push((0..KEPT + 7).map(delivery));
        let page = recent.page(Some(2));
        assert_eq!((page.missed, page.deliveries[0]), (5, delivery(7)));
        assert_eq!(recent.page(Some(page.position)).missed, 0);
        let all = recent.all_from(2);
        assert_eq!((all.deliveries.len(), all.missed, all.position), (KEPT, 5, KEPT as u64 + 7));
    }

    #[test]
    fn a_position_of_an_earlier_process_begins_anew() {
        let recent = RecentAttempts::default();
        recent.push([delivery(1)]);
        let page = recent.page(Some(900));
        assert_eq!((page.deliveries, page.missed, page.position), (vec![delivery(1)], 0, 1));
    }
}
