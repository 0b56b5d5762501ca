//! The kept counts in their table: one row for a page of subscriptions, so that an event that goes to a thousand of them
//! changes a few rows. Changes are gathered during a transaction and written once at its end. Belongs to the thread of its
//! transaction.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use redb::{ReadTransaction, ReadableTable, Table, WriteTransaction};

use crate::domain::{AccountId, EventId, SubscriptionId};
use crate::storage::counts::{Counts, CountsRow, Kind};
use crate::storage::engine::Pending;
use crate::storage::error::StorageError;
use crate::storage::redb::{retained, tables};
use crate::storage::rows::{codec, delivery_record};

/// (account, subscription), or 0 for the whole account.
pub type CountsKey = (u32, u32);

const WHOLE_ACCOUNT: u32 = 0;

/// Subscriptions of one page, by number; the key of its row is that of the first. About 1.5 KB when all are in use.
const PAGE: u32 = 64;

/// The version of a row with a page, and of one with a single count, which is only read: the next change of its page
/// replaces it.
const VERSION: u8 = 2;
const SINGLE: u8 = 1;

/// The counts of a page that are not all zero.
type Page = BTreeMap<u32, Counts>;

fn key(account: AccountId, subscription: Option<SubscriptionId>) -> CountsKey {
    (account.0, subscription.map_or(WHOLE_ACCOUNT, |id| id.0))
}

/// The key of the page that a count lies in.
fn page_of((account, subscription): CountsKey) -> CountsKey {
    (account, subscription - subscription % PAGE)
}

fn range((account, first): CountsKey) -> RangeInclusive<CountsKey> {
    (account, first)..=(account, first.saturating_add(PAGE - 1))
}

/// The counts of an account, or of one of its subscriptions.
pub fn read(
    rows: &ReadTransaction,
    account: AccountId,
    subscription: Option<SubscriptionId>,
) -> Result<Counts, StorageError> {
    let key = key(account, subscription);
    let page = page(&rows.open_table(tables::COUNTS)?, page_of(key))?;
    let mut counts = page.get(&key.1).copied().unwrap_or_default();
    leave_out_removed(rows, account, subscription, &mut counts)?;
    Ok(counts)
}

/// An event is removed before its outcomes, which are counted until they are gone and listed no more.
fn leave_out_removed(
    rows: &ReadTransaction,
    account: AccountId,
    of: Option<SubscriptionId>,
    counts: &mut Counts,
) -> Result<(), StorageError> {
    let Some(EventId(event)) = retained::front(rows, account)?.removing else { return Ok(()) };
    let subscriptions = rows.open_table(tables::SUBSCRIPTIONS)?;
    let (first, last) = of.map_or((0, u32::MAX), |id| (id.0, id.0));
    for row in rows.open_table(tables::OUTCOMES)?.range((account.0, event, first)..=(account.0, event, last))? {
        let (key, row) = row?;
        // Those of a deleted subscription are not counted.
        if subscriptions.get(key.value().2)?.is_some()
            && let Ok(state) = delivery_record::decode_state(row.value())
        {
            counts.add(Kind::of(state), -1);
        }
    }
    Ok(())
}

/// A count with its account and subscription.
type CountRow = (CountsKey, Counts);

/// Every count, or why those of a row cannot be read.
pub fn all(
    rows: &ReadTransaction,
) -> Result<impl Iterator<Item = Result<Result<Vec<CountRow>, StorageError>, StorageError>>, StorageError> {
    Ok(rows.open_table(tables::COUNTS)?.range::<CountsKey>(..)?.map(|row| {
        let (key, row) = row?;
        let key = key.value();
        let counts = decode(key, row.value());
        Ok(counts
            .map(|counts| counts.into_iter().map(|(subscription, counts)| ((key.0, subscription), counts)).collect()))
    }))
}

/// A page of counts, by the place of each subscription in it.
pub type PageRow = Vec<(u8, CountsRow)>;

/// Every page, whatever version its rows have.
pub fn pages(rows: &ReadTransaction) -> Result<BTreeMap<CountsKey, PageRow>, StorageError> {
    let mut pages: BTreeMap<CountsKey, PageRow> = BTreeMap::new();
    for counts in all(rows)? {
        for (key, counts) in counts?? {
            let page = page_of(key);
            let place = u8::try_from(key.1 - page.1).unwrap_or_default();
            pages.entry(page).or_default().push((place, counts.to_row()));
        }
    }
    Ok(pages)
}

/// A page as it is stored.
pub fn page_row(page: &PageRow) -> Result<Vec<u8>, StorageError> {
    codec::encode(VERSION, page)
}

/// How many deliveries are pending in all; none if a count cannot be read.
pub fn pending(rows: &ReadTransaction) -> Result<Option<Pending>, StorageError> {
    let mut pending = Pending::default();
    for row in all(rows)? {
        match row? {
            Ok(counts) => {
                for (_, of_account) in counts.into_iter().filter(|((_, of), _)| *of == WHOLE_ACCOUNT) {
                    pending.add(of_account.pending());
                }
            }
            Err(error) => {
                log::error!("{error}");
                return Ok(None);
            }
        }
    }
    Ok(Some(pending))
}

fn page(table: &impl ReadableTable<CountsKey, &'static [u8]>, first: CountsKey) -> Result<Page, StorageError> {
    let mut page = Page::new();
    for row in table.range(range(first))? {
        let (key, row) = row?;
        page.extend(decode(key.value(), row.value())?);
    }
    Ok(page)
}

/// Reads a row, which has one count or those of a page.
fn decode(key: CountsKey, row: &[u8]) -> Result<Vec<(u32, Counts)>, StorageError> {
    let (account, subscription) = key;
    let row =
        tables::open::<CountsKey>(key, row, || format!("the counts of account {account} from {subscription} on"))?;
    if row.first() == Some(&SINGLE) {
        return Ok(vec![(subscription, Counts::from_row(codec::decode(SINGLE, row)?))]);
    }
    let page: Vec<(u8, _)> = codec::decode(VERSION, row)?;
    Ok(page
        .into_iter()
        .map(|(place, row)| (subscription.saturating_add(place.into()), Counts::from_row(row)))
        .collect())
}

/// The counts of a write transaction.
pub struct CountsWriter<'txn> {
    table: Table<'txn, CountsKey, &'static [u8]>,
    changes: BTreeMap<CountsKey, Counts>,
}

impl<'txn> CountsWriter<'txn> {
    /// Nothing has changed yet.
    pub fn open(transaction: &'txn WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self { table: transaction.open_table(tables::COUNTS)?, changes: BTreeMap::new() })
    }

    /// Counts so many more events of an account, or less.
    pub fn add_events(&mut self, account: AccountId, more: i64) {
        self.changes.entry(key(account, None)).or_default().events += more;
    }

    /// Counts an event that did not fit the filter of a subscription.
    pub fn add_filtered(&mut self, account: AccountId, subscription: SubscriptionId) {
        self.changes.entry(key(account, Some(subscription))).or_default().events += 1;
    }

    /// Counts so many more deliveries of a kind, or less.
    pub fn add(&mut self, account: AccountId, subscription: SubscriptionId, kind: Kind, more: i64) {
        for key in [key(account, None), key(account, Some(subscription))] {
            self.changes.entry(key).or_default().add(kind, more);
        }
    }

    /// Forgets the counts of a deleted subscription. Gives them.
    pub fn remove(&mut self, account: AccountId, subscription: SubscriptionId) -> Result<Counts, StorageError> {
        let key = key(account, Some(subscription));
        let mut page = self.stored(page_of(key))?;
        let mut gone = page.remove(&key.1).unwrap_or_default();
        gone.merge(&self.changes.remove(&key).unwrap_or_default(), 1);
        // They were counted for the subscription alone.
        gone.events = 0;
        self.put(page_of(key), &page)?;
        self.changes.entry((account.0, WHOLE_ACCOUNT)).or_default().merge(&gone, -1);
        Ok(gone)
    }

    /// Writes the changes.
    pub fn finish(&mut self) -> Result<(), StorageError> {
        let mut changes = std::mem::take(&mut self.changes).into_iter().peekable();
        while let Some((first, _)) = changes.peek().map(|(key, counts)| (page_of(*key), counts)) {
            let mut page = self.stored(first)?;
            let before = page.clone();
            while let Some(((_, subscription), change)) = changes.next_if(|(key, _)| page_of(*key) == first) {
                page.entry(subscription).or_default().merge(&change, 1);
            }
            if page != before {
                self.put(first, &page)?;
            }
        }
        Ok(())
    }

    /// A damaged page is logged and begins anew: a figure that is wrong must not end the server.
    fn stored(&self, first: CountsKey) -> Result<Page, StorageError> {
        match page(&self.table, first) {
            Err(error @ (StorageError::Damaged(_) | StorageError::Codec(_))) => {
                log::error!("{error}");
                Ok(Page::new())
            }
            page => page,
        }
    }

    /// Stores a page in place of what was there of it.
    fn put(&mut self, first: CountsKey, page: &Page) -> Result<(), StorageError> {
        let (account, number) = first;
        // Single counts of an earlier version.
        self.table.retain_in((account, number.saturating_add(1))..=*range(first).end(), |_, _| false)?;
        let used = page.iter().filter(|(_, counts)| **counts != Counts::default());
        let used: Vec<_> = used
            .filter_map(|(subscription, counts)| Some((u8::try_from(subscription - number).ok()?, counts.to_row())))
            .collect();
        if used.is_empty() {
            self.table.remove(first)?;
        } else {
            let row = tables::seal::<CountsKey>(first, codec::encode(VERSION, &used)?);
            self.table.insert(first, row.as_slice())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _};

    use super::*;
    use crate::storage::engine::Tx as _;
    use crate::storage::redb::tx::RedbTx;
    use crate::storage::sealing::Seal;

    const OWN: AccountId = AccountId(1);

    fn database() -> Database {
        let backend = redb::backends::InMemoryBackend::new();
        let db = Database::builder().create_with_backend(backend).unwrap();
        let transaction = db.begin_write().unwrap();
        RedbTx::open(&transaction, &Seal::NONE).unwrap().finish().unwrap();
        transaction.commit().unwrap();
        db
    }

    fn change(db: &Database, change: impl FnOnce(&mut CountsWriter<'_>)) {
        let transaction = db.begin_write().unwrap();
        let mut counts = CountsWriter::open(&transaction).unwrap();
        change(&mut counts);
        counts.finish().unwrap();
        drop(counts);
        transaction.commit().unwrap();
    }

    fn pending_of(db: &Database, subscription: Option<u32>) -> u64 {
        read(&db.begin_read().unwrap(), OWN, subscription.map(SubscriptionId)).unwrap().pending().unattempted
    }

    fn rows(db: &Database) -> u64 {
        db.begin_read().unwrap().open_table(tables::COUNTS).unwrap().len().unwrap()
    }

    #[test]
    fn an_event_for_a_thousand_subscriptions_changes_a_row_for_every_sixty_four_of_them() {
        let db = database();
        change(&db, |counts| (1..=1000).for_each(|id| counts.add(OWN, SubscriptionId(id), Kind::Unattempted, 1)));
        assert_eq!(rows(&db), 16);
        change(&db, |counts| counts.add(OWN, SubscriptionId(700), Kind::Unattempted, 2));
        assert_eq!([None, Some(64), Some(700), Some(1001)].map(|id| pending_of(&db, id)), [1002, 1, 3, 0]);
        assert_eq!(pending(&db.begin_read().unwrap()).unwrap().map(|pending| pending.unattempted), Some(1002));
        change(&db, |counts| {
            counts.add_events(OWN, 5);
            counts.add_filtered(OWN, SubscriptionId(700));
        });
        let counts = |id| read(&db.begin_read().unwrap(), OWN, id).unwrap();
        assert_eq!((counts(None).events, counts(Some(SubscriptionId(700))).filtered()), (5, 1));
        change(&db, |counts| {
            assert_eq!(counts.remove(OWN, SubscriptionId(700)).unwrap().pending().unattempted, 3);
        });
        assert_eq!(counts(None).events, 5);
        assert_eq!([None, Some(700), Some(701)].map(|id| pending_of(&db, id)), [999, 0, 1]);
        change(&db, |counts| {
            counts.add_events(OWN, -5);
            (1..=1000)
                .filter(|id| *id != 700)
                .for_each(|id| counts.add(OWN, SubscriptionId(id), Kind::Unattempted, -1));
        });
        assert_eq!(rows(&db), 0, "counts of nothing are kept");
    }

    #[test]
    fn counts_of_an_earlier_version_are_read_and_replaced_by_the_next_change_of_their_page() {
        let db = database();
        let transaction = db.begin_write().unwrap();
        let mut table = transaction.open_table(tables::COUNTS).unwrap();
        let mut put = |subscription, pending: u64| {
            let key = (OWN.0, subscription);
            let row = codec::encode(SINGLE, &(7_u64, [pending, 0, 0, 0, 0, 0])).unwrap();
            table.insert(key, tables::seal::<CountsKey>(key, row).as_slice()).unwrap();
        };
        for (id, pending) in [(0, 60), (1, 10), (63, 20), (64, 30)] {
            put(id, pending);
        }
        drop(table);
        transaction.commit().unwrap();
        let stored = || [None, Some(1), Some(63), Some(64)].map(|id| pending_of(&db, id));
        assert_eq!(stored(), [60, 10, 20, 30]);
        change(&db, |counts| counts.add(OWN, SubscriptionId(1), Kind::Unattempted, 1));
        assert_eq!(stored(), [61, 11, 20, 30]);
        assert_eq!(rows(&db), 2, "one page, and one that did not change");
        assert_eq!(read(&db.begin_read().unwrap(), OWN, None).unwrap().events, 7);
    }

    #[test]
    fn a_damaged_page_is_told_by_name_and_begins_anew_with_the_next_change() {
        let db = database();
        change(&db, |counts| counts.add(OWN, SubscriptionId(70), Kind::Unattempted, 1));
        let transaction = db.begin_write().unwrap();
        transaction.open_table(tables::COUNTS).unwrap().insert((OWN.0, 64), [2, 0].as_slice()).unwrap();
        transaction.commit().unwrap();
        let said = read(&db.begin_read().unwrap(), OWN, Some(SubscriptionId(70))).unwrap_err().to_string();
        assert!(said.contains("counts of account 1 from 64 on"), "{said}");
        assert!(pending(&db.begin_read().unwrap()).unwrap().is_none());
        change(&db, |counts| counts.add(OWN, SubscriptionId(71), Kind::Unattempted, 1));
        assert_eq!([Some(70), Some(71)].map(|id| pending_of(&db, id)), [0, 1]);
    }
}
