//! The rows of a file in the form in which they go from one engine to the other, both ways: numbers of a key as columns, the
//! history of a subscription as a row of its own, and no digest. Runs on the main thread of a command.

use std::collections::BTreeMap;

use redb::{
    Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _,
    WriteTransaction,
};

use crate::storage::copy::rows::{Rest, RowSource, RowTarget, StoreIdentity, Taker};
use crate::storage::engine::{Engine as _, Transaction as _};
use crate::storage::error::StorageError;
use crate::storage::postgres::tables::{self as columns, Key, Kind, Part, Table};
use crate::storage::redb::counts;
use crate::storage::redb::engine::RedbEngine;
use crate::storage::redb::tables::{self, Visit};
use crate::storage::rows::{codec, digest};

type Result<T> = std::result::Result<T, StorageError>;

/// The due time of what waits for others, in a file.
const WAITING_MS: u64 = u64::MAX;
/// The same as a column.
const WAITING: i64 = i64::MAX;
/// So many rows, or so many bytes of them, are written in one commit.
const ROWS: usize = 10_000;
const BYTES: usize = 8 * 1024 * 1024;
/// The version of a page of counts as it is copied.
const COUNTS_VERSION: u8 = 1;

/// A table of rows that are copied, by its name.
fn table_called(name: &str) -> Option<&'static Table> {
    columns::ALL.into_iter().find(|table| table.name == name)
}

/// How many bytes a part of a key has in a file.
fn width((column, kind): (&str, Kind)) -> usize {
    match (column, kind) {
        (_, Kind::Id) => size_of::<u128>(),
        ("kind", _) => size_of::<u8>(),
        ("due" | "settled" | "order_key", _) => size_of::<u64>(),
        _ => size_of::<u32>(),
    }
}

/// The place of a row as columns.
fn to_columns(name: &str, bytes: &[u8]) -> Result<(&'static Table, Key)> {
    let odd = || StorageError::Codec(format!("a key of the table {name} has another form than is known"));
    let table = table_called(name).ok_or_else(odd)?;
    let (mut key, mut rest) = (Key::with_capacity(table.columns.len()), bytes);
    for (column, kind) in table.columns {
        let (part, behind) = rest.split_at_checked(width((*column, *kind))).ok_or_else(odd)?;
        let mut wide = [0; size_of::<u128>()];
        wide[..part.len()].copy_from_slice(part);
        let number = u128::from_le_bytes(wide);
        key.push(match kind {
            Kind::Id => Part::Id(number),
            _ if *column == "due" && number == u128::from(WAITING_MS) => Part::Int(WAITING),
            _ => Part::Int(u64::try_from(number).unwrap_or_default().cast_signed()),
        });
        rest = behind;
    }
    match key.as_slice() {
        _ if !rest.is_empty() => Err(odd()),
        // A file keeps a history where the first pending delivery would be.
        [subscription, Part::Int(0), Part::Id(0)] if name == columns::OUTBOX.name => {
            Ok((&columns::HISTORIES, vec![subscription.clone()]))
        }
        _ => Ok((table, key)),
    }
}

/// The same back: the name of the table in a file, and the key there.
fn to_bytes(table: &'static Table, key: &Key) -> (&'static str, Vec<u8>) {
    if table.place == columns::HISTORIES.place {
        let subscription = key.first().map(Part::number).unwrap_or_default();
        return to_bytes(&columns::OUTBOX, &columns::key![subscription, 0_i64, 0_u128]);
    }
    let mut bytes = Vec::with_capacity(32);
    for ((column, kind), part) in table.columns.iter().zip(key) {
        let number = match part {
            Part::Id(id) => *id,
            Part::Int(WAITING) if *column == "due" => WAITING_MS.into(),
            part => part.int().cast_unsigned().into(),
        };
        bytes.extend_from_slice(&number.to_le_bytes()[..width((*column, *kind))]);
    }
    (table.name, bytes)
}

impl RowSource for RedbEngine {
    fn each_row(&self, take: Taker<'_>) -> Result<()> {
        tables::visit_all(&mut Walk { rows: &self.db().begin_read()?, take })
    }

    fn rest(&self) -> Result<Rest> {
        Rest::read(&self.view()?, &self.begin()?)
    }

    fn identity(&self) -> Result<StoreIdentity> {
        let meta = self.db().begin_read()?.open_table(tables::META)?;
        let number = |name| -> Result<_> { Ok(meta.get(name)?.map(|row| row.value())) };
        let store_id = number(tables::STORE_ID)?.unwrap_or_default();
        Ok(StoreIdentity { store_id, sealed_with: number(tables::SEALED_WITH)? })
    }
}

struct Walk<'a> {
    rows: &'a ReadTransaction,
    take: Taker<'a>,
}

impl Walk<'_> {
    fn counts(&mut self) -> Result<()> {
        for ((account, first), page) in counts::pages(self.rows)? {
            let row = codec::encode(COUNTS_VERSION, &page)?;
            (self.take)(&columns::COUNTS, columns::key![account, first], row)?;
        }
        Ok(())
    }
}

impl Visit for Walk<'_> {
    type Error = StorageError;

    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<()> {
        match table.name() {
            // Copied by what it means.
            name if name == tables::META.name() => return Ok(()),
            name if name == tables::COUNTS.name() => return self.counts(),
            _ => {}
        }
        for row in self.rows.open_table(table)?.iter()? {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            let (key, value) = (K::as_bytes(&key), V::as_bytes(&value));
            let (into, columns) = to_columns(table.name(), key.as_ref())?;
            let name = || format!("the row {columns:?} of the table {}", table.name());
            let row = digest::checked(key.as_ref(), value.as_ref(), name)?.to_vec();
            (self.take)(into, columns, row)?;
        }
        Ok(())
    }

    fn has(&mut self, name: &str) -> Result<bool> {
        tables::has(self.rows, name)
    }
}

/// An encoded key and the row with its digest.
type FileRow = (Vec<u8>, Vec<u8>);

/// A database that is being filled.
pub(in crate::storage) struct Filling {
    engine: RedbEngine,
    waiting: BTreeMap<&'static str, Vec<FileRow>>,
    rows: usize,
    bytes: usize,
}

impl Filling {
    /// A new database.
    pub fn of(engine: RedbEngine) -> Self {
        Self { engine, waiting: BTreeMap::new(), rows: 0, bytes: 0 }
    }

    /// What was stored.
    pub fn filled(&self) -> &RedbEngine {
        &self.engine
    }

    fn flush(&mut self) -> Result<()> {
        let mut transaction = self.engine.db().begin()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(true);
        let waiting = std::mem::take(&mut self.waiting);
        (self.rows, self.bytes) = (0, 0);
        tables::visit_all(&mut Insert { transaction: &transaction, waiting })?;
        self.engine.db().commit(transaction)
    }
}

impl RowTarget for Filling {
    fn put(&mut self, table: &'static Table, key: Key, row: Vec<u8>) -> Result<()> {
        let row = if table.place == columns::COUNTS.place {
            counts::page_row(&codec::decode(COUNTS_VERSION, &row)?)?
        } else {
            row
        };
        let (name, key) = to_bytes(table, &key);
        self.bytes += key.len() + row.len();
        self.rows += 1;
        let row = digest::sealed(&key, row);
        self.waiting.entry(name).or_default().push((key, row));
        if self.rows >= ROWS || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    fn put_rest(&mut self, rest: &Rest) -> Result<()> {
        self.flush()?;
        let transaction = self.engine.begin()?;
        rest.write(&transaction)?;
        transaction.commit()
    }
}

struct Insert<'a> {
    transaction: &'a WriteTransaction,
    waiting: BTreeMap<&'static str, Vec<FileRow>>,
}

impl Visit for Insert<'_> {
    type Error = StorageError;

    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<()> {
        let Some(waiting) = self.waiting.remove(table.name()) else { return Ok(()) };
        let mut rows = self.transaction.open_table(table)?;
        for (key, row) in waiting {
            rows.insert(K::from_bytes(&key), V::from_bytes(&row))?;
        }
        Ok(())
    }

    fn has(&mut self, name: &str) -> Result<bool> {
        Ok(self.waiting.contains_key(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_there_and_back() {
        for table in columns::ALL {
            let is_text = table.columns.iter().any(|(_, kind)| *kind == Kind::Text);
            if is_text
                || [&columns::NOTICES, &columns::SESSIONS, &columns::FIND].iter().any(|no| no.place == table.place)
            {
                continue;
            }
            let part = |number: u32| {
                move |(place, (_, kind)): (usize, &(&str, Kind))| match kind {
                    Kind::Int => Part::Int(i64::from(number) + i64::try_from(place).unwrap()),
                    _ => Part::Id(u128::from(number) << 90 | 7),
                }
            };
            for number in [1, 200] {
                let key: Key = table.columns.iter().enumerate().map(part(number)).collect();
                let (name, bytes) = to_bytes(table, &key);
                let (back, found) = to_columns(name, &bytes).unwrap();
                assert_eq!((back.name, found), (table.name, key));
            }
        }
        let waits = columns::key![9_u32, WAITING, 5_u128];
        let (name, bytes) = to_bytes(&columns::OUTBOX, &waits);
        assert_eq!(to_columns(name, &bytes).unwrap().1, waits);
        assert!(to_columns("outbox", &bytes[1..]).is_err() && to_columns("nothing", &bytes).is_err());
    }
}
