//! The audit's table: a list of records, and the removal of old ones. Tables of a transaction or a snapshot.

use std::ops::Bound;

use redb::{AccessGuard, ReadTransaction, ReadableTable as _, TableHandle as _, WriteTransaction};

use crate::domain::audit::AuditRecord;
use crate::domain::{AccountId, AuditId, EventId, Timestamp};
use crate::storage::engine::Stored;
use crate::storage::error::StorageError;
use crate::storage::read::page::{Found, Page, PageRequest, ReadLimit, collect};
use crate::storage::redb::found::range_of;
use crate::storage::redb::tables::{self, AuditKey};
use crate::storage::rows::{audit_record, digest};

/// A record as a list finds it.
struct FoundRecord {
    account: AccountId,
    id: AuditId,
    row: AccessGuard<'static, &'static [u8]>,
}

impl Found for FoundRecord {
    type Item = Stored<AuditRecord>;

    fn is_wanted(&self) -> Result<bool, StorageError> {
        Ok(true)
    }

    fn bytes(&self) -> usize {
        self.row.value().len()
    }

    fn item(&self) -> Result<Stored<AuditRecord>, StorageError> {
        Ok(record(self.account, self.id, self.row.value()))
    }
}

fn record(account: AccountId, id: AuditId, row: &[u8]) -> Stored<AuditRecord> {
    let row = tables::open::<AuditKey>((account.0, id.0), row, digest::named("record of the audit", id))?;
    audit_record::decode(account, id, row)
}

/// The records of an account, newest first.
pub fn list(
    rows: &ReadTransaction,
    account: AccountId,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    request: PageRequest<AuditId>,
    limit: &ReadLimit,
) -> Result<Page<AuditId, Stored<AuditRecord>>, StorageError> {
    let (first, last) = range_of(since, until);
    let after_last = request.after.is_some_and(|after| after.0 <= first);
    if first > last || after_last || !tables::has(rows, tables::AUDIT.name())? {
        return Ok(Page { items: Vec::new(), total: 0, is_exact: true, next: None });
    }
    let table = rows.open_table(tables::AUDIT)?;
    let walk = |after: Option<AuditId>| {
        let end = match after.filter(|after| after.0 <= last) {
            Some(after) => Bound::Excluded((account.0, after.0)),
            None => Bound::Included((account.0, last)),
        };
        let rows = table.range((Bound::Included((account.0, first)), end))?.rev();
        Ok(rows.map(move |row| {
            let (key, row) = row?;
            let id = AuditId(key.value().1);
            Ok((id, FoundRecord { account, id, row }))
        }))
    };
    collect(request, None, limit, walk)
}

/// Every record.
pub fn all(rows: &ReadTransaction, mut visit: impl FnMut(AuditId, Stored<AuditRecord>)) -> Result<(), StorageError> {
    if !tables::has(rows, tables::AUDIT.name())? {
        return Ok(());
    }
    for row in rows.open_table(tables::AUDIT)?.iter()? {
        let (key, row) = row?;
        let (account, id) = key.value();
        visit(AuditId(id), record(AccountId(account), AuditId(id), row.value()));
    }
    Ok(())
}

/// Stores a record.
pub fn put(transaction: &WriteTransaction, record: &AuditRecord) -> Result<(), StorageError> {
    let key = (record.change.account.0, record.id.0);
    let row = tables::seal::<AuditKey>(key, audit_record::encode(record)?);
    transaction.open_table(tables::AUDIT)?.insert(key, row.as_slice())?;
    Ok(())
}

/// Removes up to so many of an account's records from before that time, oldest first.
pub fn trim(
    transaction: &WriteTransaction,
    account: AccountId,
    before: Timestamp,
    limit: usize,
) -> Result<(), StorageError> {
    let mut table = transaction.open_table(tables::AUDIT)?;
    let old = (account.0, 0)..(account.0, EventId::first_at(before).0);
    for row in table.extract_from_if(old, |_, _| true)?.take(limit) {
        row?;
    }
    Ok(())
}
