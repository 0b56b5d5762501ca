//! How far retention has come in looking at the receivers of an event. Nothing of that is stored: after a restart, or a
//! change to the event in between, the look begins anew. Plain values of the writer thread.

use std::cell::Cell;

use crate::domain::{AccountId, EventId, Timestamp};

/// What a look is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Purpose {
    /// To tell how the event stands.
    Standing,
    /// To remove old attempts of it.
    Attempts,
    /// The same once it is known how it stands, and so that it stays.
    AttemptsOfKept(Standing),
}

/// How an event stands, by those of its receivers that there still are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Standing {
    /// How many deliveries are pending.
    pub pending: u32,
    /// When the last of the others was settled.
    pub settled_at: Timestamp,
}

/// A look that did not end in its step.
pub(in crate::storage) struct Look {
    /// What for.
    pub purpose: Purpose,
    account: AccountId,
    event: EventId,
    /// How many receivers were looked at.
    pub done: usize,
    /// How the event stands by those.
    pub standing: Standing,
    is_outdated: Cell<bool>,
}

impl Look {
    /// Nothing of that event was looked at yet.
    pub fn new(purpose: Purpose, account: AccountId, event: EventId) -> Self {
        let is_outdated = Cell::new(false);
        Self { purpose, account, event, done: 0, standing: Standing::default(), is_outdated }
    }

    /// Whether it is at that event, and still holds.
    pub fn is_at(&self, account: AccountId, event: EventId) -> bool {
        (self.account, self.event) == (account, event) && !self.is_outdated.get()
    }

    /// A delivery of that event has changed.
    pub fn changed(&self, account: AccountId, event: EventId) {
        if self.is_at(account, event) {
            self.is_outdated.set(true);
        }
    }
}

/// What a step of a look came to.
pub(in crate::storage) enum Looked {
    /// Everything was looked at.
    Done(Standing),
    /// The next step goes on.
    Unfinished,
    /// It cannot be read, so a delivery of it may be pending.
    Unreadable,
}
