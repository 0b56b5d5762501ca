//! How many events and deliveries there are, kept beside the rows in the same commit, so that no list and no figure has to
//! count. Pure; any thread.

use crate::domain::delivery::DeliveryState;

const KINDS: usize = 6;

/// Events, and deliveries of each kind.
pub(in crate::storage) type CountsRow = (u64, [u64; KINDS]);

/// Number of pending deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Never attempted.
    pub unattempted: u64,
    /// Waiting for a retry.
    pub retrying: u64,
}

impl Pending {
    /// Counts others along.
    pub(in crate::storage) fn add(&mut self, other: Self) {
        self.unattempted += other.unattempted;
        self.retrying += other.retrying;
    }

    /// Leaves out those that are no longer pending.
    pub(in crate::storage) fn subtract(&mut self, other: Self) {
        debug_assert!(
            self.unattempted >= other.unattempted && self.retrying >= other.retrying,
            "{other:?} of {self:?} are no longer pending"
        );
        self.unattempted = self.unattempted.saturating_sub(other.unattempted);
        self.retrying = self.retrying.saturating_sub(other.retrying);
    }
}

/// What a delivery is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pending and never attempted.
    Unattempted,
    /// Pending, with a retry planned.
    Retrying,
    /// Delivered.
    Delivered,
    /// Exhausted.
    Exhausted,
    /// Expired.
    Expired,
    /// Cancelled.
    Cancelled,
}

impl Kind {
    /// Of a delivery with a row of its own, in that state.
    #[must_use]
    pub fn of(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Pending { .. } => Self::Retrying,
            DeliveryState::Delivered { .. } => Self::Delivered,
            DeliveryState::Exhausted { .. } => Self::Exhausted,
            DeliveryState::Expired { .. } => Self::Expired,
            DeliveryState::Cancelled { .. } => Self::Cancelled,
        }
    }
}

/// Numbers of events and deliveries, of an account or of a subscription. Those of an account change with each event, and lie
/// in a row with those of the first subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of an account its events, of a subscription those of its types that did not fit its filter.
    pub events: i64,
    deliveries: [i64; KINDS],
}

impl Counts {
    /// How many of a kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        number(self.deliveries[kind as usize])
    }

    /// How many events did not fit the filter of the subscription that it counts for.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        number(self.events)
    }

    /// All deliveries.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        number(self.deliveries.iter().sum())
    }

    /// Those with a status of the API.
    #[must_use]
    pub fn with_status(&self, status: &str) -> u64 {
        let kinds = [Kind::Retrying, Kind::Delivered, Kind::Exhausted, Kind::Expired, Kind::Cancelled];
        let named = DeliveryState::NAMES.iter().zip(kinds).find(|(name, _)| **name == status);
        match named {
            Some((_, Kind::Retrying)) => self.pending().unattempted + self.pending().retrying,
            Some((_, kind)) => self.of(kind),
            None => 0,
        }
    }

    /// Those that are pending.
    #[must_use]
    pub fn pending(&self) -> Pending {
        Pending { unattempted: self.of(Kind::Unattempted), retrying: self.of(Kind::Retrying) }
    }

    /// Counts so many more of a kind, or less.
    pub fn add(&mut self, kind: Kind, more: i64) {
        self.deliveries[kind as usize] += more;
    }

    /// Counts all of another along, or leaves them out.
    pub fn merge(&mut self, other: &Self, sign: i64) {
        self.events += sign * other.events;
        for (own, more) in self.deliveries.iter_mut().zip(other.deliveries) {
            *own += sign * more;
        }
    }

    /// What is stored of them.
    pub(in crate::storage) fn to_row(self) -> CountsRow {
        (number(self.events), self.deliveries.map(number))
    }

    /// From what is stored.
    pub(in crate::storage) fn from_row((events, deliveries): CountsRow) -> Self {
        let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
        Self { events: signed(events), deliveries: deliveries.map(signed) }
    }
}

fn number(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_they_were_stored_and_told_by_status() {
        let mut counts = Counts { events: 3, ..Counts::default() };
        counts.add(Kind::Unattempted, 2);
        counts.add(Kind::Retrying, 4);
        counts.add(Kind::Cancelled, 300);
        let read = Counts::from_row(counts.to_row());
        assert_eq!(read, counts);
        assert_eq!((read.deliveries(), read.with_status("pending"), read.with_status("cancelled")), (306, 6, 300));
        let mut none = read;
        none.merge(&counts, -1);
        assert_eq!(none, Counts::default());
    }
}
