//! Brings the find index up to date behind the events, in steps of bounded size inside the open write transaction. Runs
//! on the writer thread, in a server and in no command. A publish pays nothing for it; a search looks through the few
//! events that are not in the index yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::domain::AccountId;
use crate::storage::engine::{Indexed, Tx};
use crate::storage::error::StorageError;

/// So many events are left to searches before the next ones are indexed together.
const BATCH_EVENTS: usize = 256;
/// A body counts as one more event for each of so many bytes, since a search reads it.
const BYTES_OF_AN_EVENT: usize = 4096;
/// Events that are indexed between two looks at the clock.
const EVENTS_A_LOOK: usize = 32;
/// How much time of a commit is spent on it: where callers wait, and else.
const SHARED: Duration = Duration::from_micros(500);
const ALONE: Duration = Duration::from_millis(5);

/// What is not in the index yet.
pub struct FindIndexing {
    /// About how many events of each account; none has 0.
    behind: BTreeMap<AccountId, usize>,
    /// In all accounts.
    total: usize,
    /// Indexing goes on until nothing is left.
    is_catching_up: bool,
}

impl FindIndexing {
    /// At a start it is unknown what is missing.
    pub fn of_accounts(accounts: impl Iterator<Item = AccountId>) -> Self {
        let mut indexing = Self { behind: BTreeMap::new(), total: 0, is_catching_up: false };
        for account in accounts {
            indexing.add(account, BATCH_EVENTS);
        }
        indexing
    }

    /// Notes that an account has so many new events, with bodies of so many bytes in all.
    pub fn published(&mut self, account: AccountId, events: usize, bytes: usize) {
        self.add(account, events + bytes / BYTES_OF_AN_EVENT);
    }

    fn add(&mut self, account: AccountId, events: usize) {
        *self.behind.entry(account).or_default() += events;
        self.total += events;
        self.is_catching_up |= self.total >= BATCH_EVENTS;
    }

    /// Whether there is enough to index.
    pub fn is_due(&self) -> bool {
        self.is_catching_up
    }

    /// Indexes for a bounded time, if it is due.
    pub fn step(&mut self, tx: &mut impl Tx, has_caller: bool) -> Result<(), StorageError> {
        let begun = Instant::now();
        let time = if has_caller { SHARED } else { ALONE };
        while self.is_catching_up {
            let Some(account) = self.behind.first_key_value().map(|(account, _)| *account) else {
                self.is_catching_up = false;
                return Ok(());
            };
            let Indexed { has_more, .. } = tx.index_events(account, EVENTS_A_LOOK)?;
            if !has_more {
                let left = self.behind.remove(&account).unwrap_or_default();
                self.total = self.total.saturating_sub(left);
            }
            if begun.elapsed() >= time {
                return Ok(());
            }
        }
        Ok(())
    }
}
