//! The open tables of one write transaction. Runs on the writer thread, and never commits.

use std::ops::RangeInclusive;

use redb::{ReadableTable as _, Table, WriteTransaction};

use crate::domain::access::ApiKey;
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::Delivery;
use crate::domain::event::IdempotencyKey;
use crate::domain::event::event_type::EventType;
use crate::domain::gaps::Gaps;
use crate::domain::job::{DeliverySelection, Job};
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, DeliveryId, EventId, JobId, KeyId, SubscriptionId, Timestamp};
use crate::storage::engine::{EventFound, Indexed, Numbered, OldEvents, Purged, Selected, Stored, Tx};
use crate::storage::error::StorageError;
use crate::storage::redb::bulk_insert::BulkInsert;
use crate::storage::redb::outbox::OutboxWriter;
use crate::storage::redb::tables::JobKey;
use crate::storage::redb::{audit, find_index, jobs, tables, time};
use crate::storage::rows::record::{EventHead, EventRow, History, IdempotencyRow};
use crate::storage::rows::sealing::Seal;
use crate::storage::rows::{delivery_record, job_record, key_record, subscription_record};

type Result<T> = std::result::Result<T, StorageError>;
type RowTable<'txn, K> = Table<'txn, K, &'static [u8]>;

/// After about so many bytes a step over events ends.
const EVENT_ROWS_BYTES: usize = 1024 * 1024;

/// The tables, and what secrets are sealed with.
pub struct RedbTx<'txn> {
    meta: Table<'txn, &'static str, u128>,
    accounts: RowTable<'txn, u32>,
    keys: RowTable<'txn, u32>,
    subscriptions: RowTable<'txn, u32>,
    events: BulkInsert<'txn, (u32, u128)>,
    idempotency: RowTable<'txn, (u32, u128)>,
    outbox: OutboxWriter<'txn>,
    deliveries: BulkInsert<'txn, (u32, u128)>,
    purges: Table<'txn, u32, ()>,
    jobs: RowTable<'txn, JobKey>,
    transaction: &'txn WriteTransaction,
    seal: &'txn Seal,
}

impl<'txn> RedbTx<'txn> {
    /// Opens every table of the transaction, creating missing ones.
    pub fn open(transaction: &'txn WriteTransaction, seal: &'txn Seal) -> Result<Self> {
        Ok(Self {
            meta: transaction.open_table(tables::META)?,
            accounts: transaction.open_table(tables::ACCOUNTS)?,
            keys: transaction.open_table(tables::KEYS)?,
            subscriptions: transaction.open_table(tables::SUBSCRIPTIONS)?,
            events: BulkInsert::new(transaction.open_table(tables::EVENTS)?),
            idempotency: transaction.open_table(tables::IDEMPOTENCY)?,
            outbox: OutboxWriter::open(transaction)?,
            deliveries: BulkInsert::new(transaction.open_table(tables::DELIVERIES)?),
            purges: transaction.open_table(tables::PURGES)?,
            jobs: transaction.open_table(tables::JOBS)?,
            transaction,
            seal,
        })
    }
}

fn counter(kind: Numbered) -> &'static str {
    match kind {
        Numbered::Account => tables::NEXT_ACCOUNT,
        Numbered::Key => tables::NEXT_KEY,
        Numbered::Subscription => tables::NEXT_SUBSCRIPTION,
    }
}

fn place(id: DeliveryId) -> (u32, u128) {
    (id.subscription.0, id.event.0)
}

impl Tx for RedbTx<'_> {
    fn next_number(&self, kind: Numbered) -> Result<u128> {
        Ok(self.meta.get(counter(kind))?.map_or(1, |row| row.value()))
    }

    fn put_next_number(&mut self, kind: Numbered, next: u128) -> Result<()> {
        self.meta.insert(counter(kind), next)?;
        Ok(())
    }

    fn put_time(&mut self, now: Timestamp, monotonic: Timestamp, gaps: Option<&Gaps>) -> Result<()> {
        time::write(&mut self.meta, now, monotonic, gaps)
    }

    fn put_account(&mut self, id: AccountId, name: &str) -> Result<()> {
        self.accounts.insert(id.0, name.as_bytes())?;
        Ok(())
    }

    fn put_key(&mut self, key: &ApiKey) -> Result<()> {
        self.keys.insert(key.id.0, key_record::encode(key)?.as_slice())?;
        Ok(())
    }

    fn remove_key(&mut self, id: KeyId) -> Result<()> {
        self.keys.remove(id.0)?;
        Ok(())
    }

    fn put_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        let row = subscription_record::encode(subscription, self.seal)?;
        self.subscriptions.insert(subscription.id.0, row.as_slice())?;
        Ok(())
    }

    fn remove_subscription(&mut self, id: SubscriptionId) -> Result<()> {
        self.subscriptions.remove(id.0)?;
        self.purges.insert(id.0, ())?;
        Ok(())
    }

    fn purge_some(&mut self, limit: usize) -> Result<Purged> {
        let Some(id) = self.purges.first()?.map(|(id, _)| id.value()) else { return Ok(Purged::default()) };
        let (removed, pending) = self.outbox.remove_some(SubscriptionId(id), limit)?;
        let mut left = limit - removed;
        for row in self.deliveries.table()?.extract_from_if((id, 0)..=(id, u128::MAX), |_, _| true)?.take(left) {
            row?;
            left -= 1;
        }
        if left > 0 {
            self.purges.remove(id)?;
        }
        Ok(Purged { pending, has_more: self.purges.first()?.is_some() })
    }

    fn put_event(&mut self, account: AccountId, id: EventId, event: &EventRow) -> Result<()> {
        self.events.put((account.0, id.0), event.encode()?);
        Ok(())
    }

    fn event_type(&mut self, account: AccountId, id: EventId) -> Result<Option<EventType>> {
        let row = self.events.table()?.get((account.0, id.0))?;
        Ok(row.and_then(|row| EventRow::decode_type(row.value()).ok()))
    }

    fn has_event(&mut self, account: AccountId, id: EventId) -> Result<bool> {
        Ok(self.events.table()?.get((account.0, id.0))?.is_some())
    }

    fn old_events(&mut self, from: Option<(AccountId, EventId)>, before: Timestamp, limit: usize) -> Result<OldEvents> {
        let from = from.map_or((0, 0), |(account, event)| (account.0, event.0));
        let mut found = OldEvents { events: Vec::new(), next: None };
        for row in self.events.table()?.range(from..)? {
            let (key, value) = row?;
            let (account, event) = key.value();
            let place = (AccountId(account), EventId(event));
            if found.events.len() == limit {
                found.next = Some(place);
                break;
            }
            if place.1.time() >= before {
                // All later events of this account are younger.
                found.next = account.checked_add(1).map(|account| (AccountId(account), EventId(0)));
                break;
            }
            match EventHead::decode(value.value()) {
                Ok(head) => found.events.push((place.0, place.1, head)),
                Err(error) => log::error!("an event cannot be read, and is left alone: {error}"),
            }
        }
        Ok(found)
    }

    fn remove_event(&mut self, account: AccountId, id: EventId, head: &EventHead) -> Result<()> {
        for subscription in &head.subscriptions {
            self.deliveries.table()?.remove((subscription.0, id.0))?;
        }
        for key in &head.idempotency {
            self.idempotency.remove((account.0, key.0))?;
        }
        if let Some(row) = self.events.table()?.remove((account.0, id.0))? {
            find_index::remove(self.transaction, account, id, row.value())?;
        }
        Ok(())
    }

    fn idempotency(&self, account: AccountId, key: IdempotencyKey) -> Result<Option<Stored<IdempotencyRow>>> {
        Ok(self.idempotency.get((account.0, key.0))?.map(|row| IdempotencyRow::decode(row.value())))
    }

    fn put_idempotency(&mut self, account: AccountId, key: IdempotencyKey, used_for: &IdempotencyRow) -> Result<()> {
        self.idempotency.insert((account.0, key.0), used_for.encode()?.as_slice())?;
        Ok(())
    }

    fn put_unattempted(&mut self, id: DeliveryId, event_type: EventType) -> Result<()> {
        self.outbox.put_unattempted(id, event_type);
        Ok(())
    }

    fn is_unattempted(&mut self, id: DeliveryId) -> Result<bool> {
        Ok(self.outbox.unattempted(id)?.is_some())
    }

    /// The type is in the row in the outbox or, if that is damaged, in the event's.
    fn take_unattempted(&mut self, account: AccountId, id: DeliveryId) -> Result<Option<EventType>> {
        let Some(number) = self.outbox.take_unattempted(id)? else { return Ok(None) };
        if let Some(event_type) = EventType::from_number(number) {
            return Ok(Some(event_type));
        }
        Ok(Some(self.event_type(account, id.event)?.unwrap_or(EventType::Ping)))
    }

    fn put_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<bool> {
        self.outbox.put_retry(id, due)
    }

    fn take_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<bool> {
        self.outbox.take_retry(id, due)
    }

    fn take_retry_at_any_time(&mut self, id: DeliveryId) -> Result<u64> {
        self.outbox.take_retry_at_any_time(id)
    }

    fn unattempted_after(&mut self, id: SubscriptionId, after: EventId, limit: usize) -> Result<Vec<EventId>> {
        self.outbox.unattempted_after(id, after, limit)
    }

    fn retries_after(
        &mut self,
        id: SubscriptionId,
        after: (Timestamp, EventId),
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>> {
        self.outbox.retries_after(id, after, limit)
    }

    fn put_history(&mut self, id: SubscriptionId, history: &History) -> Result<()> {
        self.outbox.put_history(id, history)
    }

    fn delivery(&mut self, id: DeliveryId) -> Result<Option<Stored<Delivery>>> {
        Ok(self.deliveries.table()?.get(place(id))?.map(|row| delivery_record::decode(row.value())))
    }

    fn put_delivery(&mut self, id: DeliveryId, delivery: &Delivery) -> Result<()> {
        self.deliveries.put(place(id), delivery_record::encode(delivery)?);
        Ok(())
    }

    fn put_tags(&mut self, account: AccountId, id: EventId, tags: &[Box<str>]) -> Result<()> {
        find_index::put_tags(self.transaction, account, id, tags)
    }

    fn index_events(&mut self, account: AccountId, limit: usize) -> Result<Indexed> {
        find_index::index_some(self.transaction, self.events.table()?, account, limit)
    }

    fn put_audit(&mut self, record: &AuditRecord) -> Result<()> {
        audit::put(self.transaction, record)
    }

    fn trim_audit(&mut self, account: AccountId, before: Timestamp, limit: usize) -> Result<()> {
        audit::trim(self.transaction, account, before, limit)
    }

    fn event_rows(
        &mut self,
        account: AccountId,
        ids: RangeInclusive<EventId>,
        limit: usize,
    ) -> Result<Vec<EventFound>> {
        let (first, last) = (ids.start().0, ids.end().0);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        if first > last {
            return Ok(rows);
        }
        for row in self.events.table()?.range((account.0, first)..=(account.0, last))?.take(limit) {
            let (key, row) = row?;
            rows.push((EventId(key.value().1), EventRow::decode(row.value())));
            bytes += row.value().len();
            if bytes >= EVENT_ROWS_BYTES {
                break;
            }
        }
        Ok(rows)
    }

    fn put_job(&mut self, job: &Job) -> Result<()> {
        self.jobs.insert((job.account.0, job.id.0), job_record::encode(job)?.as_slice())?;
        Ok(())
    }

    fn remove_job(&mut self, account: AccountId, id: JobId) -> Result<()> {
        self.jobs.remove((account.0, id.0))?;
        Ok(())
    }

    fn jobs(&self, account: AccountId) -> Result<Vec<Job>> {
        jobs::of_account(&self.jobs, account)
    }

    fn select(
        &mut self,
        subscriptions: &[SubscriptionId],
        which: &DeliverySelection,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Selected> {
        jobs::select(self.deliveries.table()?, subscriptions, which, after, limit)
    }

    fn finish(mut self) -> Result<()> {
        self.events.table()?;
        self.deliveries.table()?;
        self.outbox.finish()
    }
}
