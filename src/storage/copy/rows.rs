//! Rows on their way from one engine to the other, in the form that both can make of them: the tables of a database server,
//! the key in columns, and the row without its digest. Traits and types; runs on the main thread of a command.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::domain::Timestamp;
use crate::domain::alert::Notice;
use crate::storage::engine::{Numbered, Transaction, Tx as _, View};
use crate::storage::error::{OpenError, StorageError};
use crate::storage::postgres::tables::{Key, Part, Table};
use crate::storage::rules::service_time::Seen;

type Result<T> = std::result::Result<T, StorageError>;

/// Takes each row: its table, its key, and the row.
pub(in crate::storage) type Taker<'a> = &'a mut dyn FnMut(&'static Table, Key, Vec<u8>) -> Result<()>;

/// A store that is read whole.
pub(in crate::storage) trait RowSource {
    /// Gives every row that is copied. One that does not match its digest is an error.
    fn each_row(&self, take: Taker<'_>) -> Result<()>;
    /// What is not in such rows.
    fn rest(&self) -> Result<Rest>;
    /// Which store it is.
    fn identity(&self) -> Result<StoreIdentity>;
}

/// A store that is being filled. What is written before its end is of no use to a server.
pub(in crate::storage) trait RowTarget {
    /// Stores a row, soon.
    fn put(&mut self, table: &'static Table, key: Key, row: Vec<u8>) -> Result<()>;
    /// Stores the rest, and everything that was not stored yet.
    fn put_rest(&mut self, rest: &Rest) -> Result<()>;
}

/// A store that a copy is made into.
pub(in crate::storage) trait NewStore: RowTarget {
    /// The engine of what was stored.
    type Filled: RowSource;

    /// What was stored, to be compared.
    fn filled(&self) -> &Self::Filled;
    /// Makes it a store that a server can use.
    fn finish(self) -> std::result::Result<(), OpenError>;
    /// Leaves nothing that a server could take for a store.
    fn give_up(self);
}

/// Which store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct StoreIdentity {
    /// Its random number.
    pub store_id: u128,
    /// The check number of the key that secrets are sealed with.
    pub sealed_with: Option<u128>,
}

/// What each engine keeps in its own form.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::storage) struct Rest {
    /// The next numbers, without those that are the first.
    pub next: Vec<(&'static str, u128)>,
    /// How far the store's time had come.
    pub seen: Seen,
    /// Of when the last backup is.
    pub last_backup: Option<Timestamp>,
    /// The alerts that wait.
    pub notices: Vec<Notice>,
}

/// What has numbers of its own.
const NUMBERED: [(&str, Numbered); 3] =
    [("account", Numbered::Account), ("key", Numbered::Key), ("subscription", Numbered::Subscription)];

impl Rest {
    /// Reads it from an open store; nothing is written.
    pub fn read(view: &dyn View, transaction: &impl Transaction) -> Result<Self> {
        let rows = transaction.rows()?;
        let mut next = Vec::new();
        for (name, kind) in NUMBERED {
            // Without a row nothing of that kind was ever made.
            next.extend(Some((name, rows.next_number(kind)?)).filter(|(_, next)| *next > 1));
        }
        Ok(Self { next, seen: view.seen()?, last_backup: view.last_backup()?, notices: view.notices()? })
    }

    /// Writes it to the rows of a transaction.
    pub fn write(&self, transaction: &impl Transaction) -> Result<()> {
        let mut rows = transaction.rows()?;
        for (name, kind) in NUMBERED {
            if let Some((_, next)) = self.next.iter().find(|(of, _)| *of == name) {
                rows.put_next_number(kind, *next)?;
            }
        }
        if let Some(now) = self.seen.now {
            rows.put_time(now, self.seen.monotonic, Some(&self.seen.gaps))?;
        }
        if let Some(at) = self.last_backup {
            rows.put_last_backup(at)?;
        }
        for notice in &self.notices {
            rows.put_notice(notice)?;
        }
        rows.finish()
    }
}

/// How many rows of each table there are, and a sum over them that does not depend on their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Tally {
    tables: BTreeMap<&'static str, (u64, u128)>,
}

impl Tally {
    /// Counts a row.
    pub fn add(&mut self, table: &'static Table, key: &Key, row: &[u8]) {
        let mut hash = Sha256::new();
        for part in key {
            match part {
                Part::Int(number) => hash.update(number.to_be_bytes()),
                Part::Id(id) => hash.update(id.to_be_bytes()),
                Part::Text(text) => hash.update(text.as_bytes()),
            }
        }
        hash.update(row);
        let digest: [u8; 32] = hash.finalize().into();
        let hash = digest.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes));
        let (count, sum) = self.tables.entry(table.name).or_default();
        *count += 1;
        *sum = sum.wrapping_add(hash);
    }

    /// The rows of each table.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.tables.iter().map(|(name, (count, _))| (*name, *count)).collect()
    }

    /// The first table in which the two differ.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let names = self.tables.keys().chain(other.tables.keys());
        names.copied().find(|name| self.tables.get(name) != other.tables.get(name))
    }
}
