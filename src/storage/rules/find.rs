//! Brings the find index up to date behind the events, in steps of bounded size inside the open write transaction. Runs
//! on the writer thread, in a server and in no command. A publish pays nothing for it; a search looks through the few
//! events that are not in the index yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::domain::AccountId;
use crate::storage::engine::{Indexed, Tx};
use crate::storage::error::StorageError;

/// So many events of an account are left to searches before they are indexed together: the more, the less is written
/// for each, and the longer take a search, which reads them, and the commit that indexes them. A few milliseconds here.
const BATCH_EVENTS: usize = 512;
/// A body counts as one more event for each of so many bytes, since a search reads it.
const BYTES_OF_AN_EVENT: usize = 4096;
/// How much time of a commit is spent on it where nobody waits. Where callers wait, one batch is indexed.
const ALONE: Duration = Duration::from_millis(5);

/// What is not in the index yet.
pub struct FindIndexing {
    /// About how many events of each account; none has 0.
    behind: BTreeMap<AccountId, usize>,
    /// Those with enough for a batch, or with an unknown number.
    due: BTreeSet<AccountId>,
    /// The one that was indexed last: the next one has its turn then.
    last: AccountId,
}

impl FindIndexing {
    /// At a start it is unknown what is missing.
    pub fn of_accounts(accounts: impl Iterator<Item = AccountId>) -> Self {
        let due: BTreeSet<_> = accounts.collect();
        Self { behind: due.iter().map(|account| (*account, usize::MAX)).collect(), due, last: AccountId(0) }
    }

    /// Notes that an account has so many new events, with bodies of so many bytes in all.
    pub fn published(&mut self, account: AccountId, events: usize, bytes: usize) {
        let behind = self.behind.entry(account).or_default();
        *behind = behind.saturating_add(events + bytes / BYTES_OF_AN_EVENT);
        if *behind >= BATCH_EVENTS {
            self.due.insert(account);
        }
    }

    /// Whether there is enough to index.
    pub fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// In turn, so that an account with more events than can be indexed holds up no other one.
    fn next(&self) -> Option<AccountId> {
        let behind = self.due.range((Bound::Excluded(self.last), Bound::Unbounded));
        behind.chain(&self.due).next().copied()
    }

    /// Indexes for a bounded time, if it is due.
    pub fn step(&mut self, tx: &mut impl Tx, has_caller: bool) -> Result<(), StorageError> {
        let begun = Instant::now();
        while let Some(account) = self.next() {
            self.last = account;
            let Indexed { count, has_more } = tx.index_events(account, BATCH_EVENTS)?;
            let behind = self.behind.remove(&account).unwrap_or_default().saturating_sub(count);
            if has_more && behind > 0 {
                self.behind.insert(account, behind);
            }
            if !has_more || behind < BATCH_EVENTS {
                self.due.remove(&account);
            }
            if has_caller || begun.elapsed() >= ALONE {
                return Ok(());
            }
        }
        Ok(())
    }
}
