//! The open tables of one write transaction. Runs on the writer thread, and never commits.

mod outbox;

use std::ops::RangeInclusive;
use std::sync::Arc;

use redb::{ReadableTable as _, Table, WriteTransaction};

use crate::domain::access::{ApiKey, Session, SessionId};
use crate::domain::alert::{AlertKind, Notice, Told};
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::IdempotencyKey;
use crate::domain::event::event_type::EventType;
use crate::domain::event::find::FindKey;
use crate::domain::gaps::Gaps;
use crate::domain::job::{DeliverySelection, Job};
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, DeliveryId, EventId, JobId, KeyId, SubscriptionId, Timestamp};
use crate::storage::counts::{Counts, Kind};
use crate::storage::engine::{
    Due, DueKind, EventFound, Front, Indexed, Numbered, Purged, RemovedOutcome, Selected, Stored, Tx,
};
use crate::storage::error::StorageError;
use crate::storage::redb::alerts::{notices, told};
use crate::storage::redb::bulk_insert::BulkInsert;
use crate::storage::redb::counts::CountsWriter;
use crate::storage::redb::event_rows::EventKey;
use crate::storage::redb::outbox::batches::BatchWriter;
use crate::storage::redb::outbox::orders::OrderWriter;
use crate::storage::redb::outbox::writer::OutboxWriter;
use crate::storage::redb::receiver_sets::SetWriter;
use crate::storage::redb::retained::RetentionWriter;
use crate::storage::redb::tables::{JobKey, OutcomeKey};
use crate::storage::redb::{audit, event_rows, find_index, jobs, sessions, tables, time};
use crate::storage::rows::record::{EventHead, EventRow, IdempotencyRow};
use crate::storage::rows::{codec, delivery_record, digest, job_record, key_record, subscription_record};
use crate::storage::sealing::Seal;

type Result<T> = std::result::Result<T, StorageError>;
type RowTable<'txn, K> = Table<'txn, K, &'static [u8]>;

const PURGE_VERSION: u8 = 1;

/// The tables, and what secrets are sealed with.
pub struct RedbTx<'txn> {
    meta: Table<'txn, &'static str, u128>,
    accounts: RowTable<'txn, u32>,
    keys: RowTable<'txn, u32>,
    subscriptions: RowTable<'txn, u32>,
    events: BulkInsert<'txn, (u32, u128)>,
    sets: SetWriter<'txn>,
    idempotency: RowTable<'txn, (u32, u128)>,
    outbox: OutboxWriter<'txn>,
    outcomes: BulkInsert<'txn, OutcomeKey>,
    counts: CountsWriter<'txn>,
    retained: RetentionWriter<'txn>,
    purges: RowTable<'txn, u32>,
    jobs: RowTable<'txn, JobKey>,
    /// Opened at the first use: most stores have no order.
    orders: Option<OrderWriter<'txn>>,
    /// Likewise.
    batches: Option<BatchWriter<'txn>>,
    transaction: &'txn WriteTransaction,
    seal: &'txn Seal,
}

impl<'txn> RedbTx<'txn> {
    fn orders(&mut self) -> Result<&mut OrderWriter<'txn>> {
        let orders = self.orders.take().map_or_else(|| OrderWriter::open(self.transaction), Ok)?;
        Ok(self.orders.insert(orders))
    }

    fn batches(&mut self) -> Result<&mut BatchWriter<'txn>> {
        let batches = self.batches.take().map_or_else(|| BatchWriter::open(self.transaction), Ok)?;
        Ok(self.batches.insert(batches))
    }

    /// Opens every table of the transaction, creating missing ones.
    pub fn open(transaction: &'txn WriteTransaction, seal: &'txn Seal) -> Result<Self> {
        Ok(Self {
            meta: transaction.open_table(tables::META)?,
            accounts: transaction.open_table(tables::ACCOUNTS)?,
            keys: transaction.open_table(tables::KEYS)?,
            subscriptions: transaction.open_table(tables::SUBSCRIPTIONS)?,
            events: BulkInsert::new(transaction.open_table(tables::EVENTS)?),
            sets: SetWriter::open(transaction)?,
            idempotency: transaction.open_table(tables::IDEMPOTENCY)?,
            outbox: OutboxWriter::open(transaction)?,
            outcomes: BulkInsert::new(transaction.open_table(tables::OUTCOMES)?),
            counts: CountsWriter::open(transaction)?,
            retained: RetentionWriter::open(transaction)?,
            purges: transaction.open_table(tables::PURGES)?,
            jobs: transaction.open_table(tables::JOBS)?,
            orders: None,
            batches: None,
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

fn outcome_state(key: OutcomeKey, row: &[u8]) -> Stored<DeliveryState> {
    let id = DeliveryId { event: EventId(key.1), subscription: SubscriptionId(key.2) };
    delivery_record::decode_state(tables::open::<OutcomeKey>(key, row, digest::named("delivery", id))?)
}

fn outcome_key(account: AccountId, id: DeliveryId) -> OutcomeKey {
    (account.0, id.event.0, id.subscription.0)
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
        self.accounts.insert(id.0, tables::seal::<u32>(id.0, name.into()).as_slice())?;
        Ok(())
    }

    fn put_key(&mut self, key: &ApiKey) -> Result<()> {
        self.keys.insert(key.id.0, tables::seal::<u32>(key.id.0, key_record::encode(key)?).as_slice())?;
        Ok(())
    }

    fn remove_key(&mut self, id: KeyId) -> Result<()> {
        self.keys.remove(id.0)?;
        Ok(())
    }

    fn put_session(&mut self, session: &Session) -> Result<()> {
        sessions::put(self.transaction, session)
    }

    fn remove_session(&mut self, id: SessionId) -> Result<()> {
        sessions::remove(self.transaction, id)
    }

    fn put_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        let row = subscription_record::encode(subscription, self.seal)?;
        let id = subscription.id.0;
        self.subscriptions.insert(id, tables::seal::<u32>(id, row).as_slice())?;
        Ok(())
    }

    fn remove_subscription(&mut self, account: AccountId, id: SubscriptionId) -> Result<Counts> {
        self.subscriptions.remove(id.0)?;
        let counts = self.counts.remove(account, id)?;
        let row = codec::encode(PURGE_VERSION, &account.0)?;
        self.purges.insert(id.0, tables::seal::<u32>(id.0, row).as_slice())?;
        Ok(counts)
    }

    fn purge_some(&mut self, limit: usize) -> Result<Purged> {
        let first = self.purges.first()?.map(|(id, row)| (id.value(), purged_account(id.value(), row.value())));
        let Some((id, account)) = first else { return Ok(Purged::default()) };
        let (mut rows, events) = self.outbox.remove_some(SubscriptionId(id), limit)?;
        if rows < limit {
            rows += self.orders()?.remove_some(SubscriptionId(id), limit - rows)?;
        }
        if rows < limit {
            rows += self.batches()?.remove_some(SubscriptionId(id), limit - rows)?;
        }
        if rows < limit {
            self.purges.remove(id)?;
        }
        // Without its account the events are kept for longer than they need be.
        let of_account = |account| events.into_iter().map(move |event| (account, event)).collect();
        let events = account.inspect_err(|error| log::error!("{error}")).map(of_account).unwrap_or_default();
        Ok(Purged { rows, events, has_more: self.purges.first()?.is_some() })
    }

    fn count_events(&mut self, account: AccountId, more: i64) {
        self.counts.add_events(account, more);
    }

    fn count_filtered(&mut self, account: AccountId, subscription: SubscriptionId) {
        self.counts.add_filtered(account, subscription);
    }

    fn count(&mut self, account: AccountId, subscription: SubscriptionId, kind: Kind, more: i64) {
        self.counts.add(account, subscription, kind, more);
    }

    fn put_event(&mut self, account: AccountId, id: EventId, event: &EventRow) -> Result<()> {
        let key = (account.0, id.0);
        let row = event.encode(self.sets.take(&event.subscriptions)?)?;
        self.events.put(key, tables::seal::<EventKey>(key, row));
        Ok(())
    }

    fn put_receivers(&mut self, account: AccountId, id: EventId, event: &EventRow) -> Result<()> {
        if let Some(Ok(before)) = self.event_head(account, id)? {
            self.sets.release(before.receivers);
        }
        self.put_event(account, id, event)
    }

    fn has_event(&mut self, account: AccountId, id: EventId) -> Result<bool> {
        Ok(self.events.table()?.get((account.0, id.0))?.is_some())
    }

    fn account_after(&mut self, id: AccountId) -> Result<Option<AccountId>> {
        let Some(next) = id.0.checked_add(1) else { return Ok(None) };
        let first = self.events.table()?.range::<EventKey>((next, 0)..)?.next().transpose()?;
        Ok(first.map(|(key, _)| AccountId(key.value().0)))
    }

    fn event_type(&mut self, account: AccountId, id: EventId) -> Result<Stored<EventType>> {
        let missing = || Err(StorageError::Codec(format!("event {id} is not in the store")));
        Ok(self.event_head(account, id)?.unwrap_or_else(missing).map(|head| head.event_type))
    }

    fn event_head(&mut self, account: AccountId, id: EventId) -> Result<Option<Stored<EventHead>>> {
        let key = (account.0, id.0);
        Ok(self.events.table()?.get(key)?.map(|row| event_rows::head(key, row.value())))
    }

    fn events_after(
        &mut self,
        account: AccountId,
        after: EventId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(EventId, Stored<EventHead>)>> {
        event_rows::heads_after(self.events.table()?, account, after, before, limit)
    }

    fn receivers(&self, number: u32) -> Stored<Arc<[SubscriptionId]>> {
        self.sets.members(number)
    }

    fn remove_event(&mut self, account: AccountId, id: EventId, head: &EventHead) -> Result<()> {
        for key in &head.idempotency {
            // A key whose time was over may stand for a later event meanwhile. One that cannot be read stands for none.
            let used_for = self.idempotency(account, *key)?;
            if used_for.is_some_and(|row| row.is_ok_and(|row| row.event != id.0)) {
                continue;
            }
            self.idempotency.remove((account.0, key.0))?;
        }
        self.sets.release(head.receivers);
        if let Some(row) = self.events.table()?.remove((account.0, id.0))? {
            find_index::remove(self.transaction, account, id, row.value())?;
        }
        Ok(())
    }

    fn remove_outcomes(&mut self, account: AccountId, id: EventId, limit: usize) -> Result<Vec<RemovedOutcome>> {
        let range = (account.0, id.0, 0)..=(account.0, id.0, u32::MAX);
        let removed = self.outcomes.table()?.extract_from_if(range, |_, _| true)?.take(limit).map(|row| {
            let (key, row) = row?;
            let key = key.value();
            Ok((SubscriptionId(key.2), outcome_state(key, row.value())))
        });
        removed.collect()
    }

    fn put_front(&mut self, account: AccountId, front: Front) -> Result<()> {
        self.retained.put_front(account, front)
    }

    fn kept(&self, account: AccountId, event: EventId) -> Result<Option<u32>> {
        self.retained.kept(account, event)
    }

    fn put_kept(&mut self, account: AccountId, event: EventId, pending: Option<u32>) -> Result<()> {
        self.retained.put_kept(account, event, pending)
    }

    fn put_due(&mut self, due: Due) -> Result<()> {
        self.retained.put_due(due)
    }

    fn take_due(&mut self, kind: DueKind, before: Timestamp, limit: usize) -> Result<Vec<Due>> {
        self.retained.take_due(kind, before, limit)
    }

    fn idempotency(&self, account: AccountId, key: IdempotencyKey) -> Result<Option<Stored<IdempotencyRow>>> {
        let place = (account.0, key.0);
        Ok(self.idempotency.get(place)?.map(|row| {
            let name = || format!("idempotency key {:x}", key.0);
            IdempotencyRow::decode(tables::open::<EventKey>(place, row.value(), name)?)
        }))
    }

    fn put_idempotency(&mut self, account: AccountId, key: IdempotencyKey, used_for: &IdempotencyRow) -> Result<()> {
        let place = (account.0, key.0);
        self.idempotency.insert(place, tables::seal::<EventKey>(place, used_for.encode()?).as_slice())?;
        Ok(())
    }

    fn delivery(&mut self, account: AccountId, id: DeliveryId) -> Result<Option<Stored<Delivery>>> {
        let key = outcome_key(account, id);
        let Some(row) = self.outcomes.table()?.get(key)?.map(|row| row.value().to_vec()) else { return Ok(None) };
        let event_type = self.event_type(account, id.event)?;
        let read = |event_type| {
            delivery_record::decode(tables::open::<OutcomeKey>(key, &row, digest::named("delivery", id))?, event_type)
        };
        Ok(Some(event_type.and_then(read)))
    }

    fn delivery_state(&mut self, account: AccountId, id: DeliveryId) -> Result<Option<Stored<DeliveryState>>> {
        let key = outcome_key(account, id);
        Ok(self.outcomes.table()?.get(key)?.map(|row| outcome_state(key, row.value())))
    }

    fn put_delivery(&mut self, account: AccountId, id: DeliveryId, delivery: &Delivery) -> Result<()> {
        let key = outcome_key(account, id);
        self.outcomes.put(key, tables::seal::<OutcomeKey>(key, delivery_record::encode(delivery)?));
        Ok(())
    }

    fn put_tags(&mut self, account: AccountId, id: EventId, tags: &[Box<str>]) -> Result<()> {
        find_index::put_tags(self.transaction, account, id, tags)
    }

    fn indexed_after(
        &mut self,
        account: AccountId,
        key: &FindKey,
        after: EventId,
        until: EventId,
    ) -> Result<Option<EventId>> {
        find_index::indexed_after(self.transaction, self.events.table()?, account, key, after, until)
    }

    fn erase_event(&mut self, account: AccountId, id: EventId, left: &EventRow) -> Result<()> {
        if let Some(before) = self.events.table()?.get((account.0, id.0))? {
            find_index::remove(self.transaction, account, id, before.value())?;
        }
        self.put_receivers(account, id, left)
    }

    fn put_notice(&mut self, notice: &Notice) -> Result<()> {
        notices::put(self.transaction, notice)
    }

    fn take_notice(&mut self, id: EventId) -> Result<Option<Stored<Notice>>> {
        notices::take(self.transaction, id)
    }

    fn put_told(&mut self, kind: AlertKind, of: &str, when: Option<Told>) -> Result<()> {
        told::put(self.transaction, kind, of, when)
    }

    fn put_last_backup(&mut self, at: Timestamp) -> Result<()> {
        self.meta.insert(tables::LAST_BACKUP_MS, u128::from(at.as_ms()))?;
        Ok(())
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
        event_rows::rows(self.events.table()?, |number| self.sets.members(number), account, ids, limit)
    }

    fn put_job(&mut self, job: &Job) -> Result<()> {
        let key = (job.account.0, job.id.0);
        self.jobs.insert(key, tables::seal::<JobKey>(key, job_record::encode(job)?).as_slice())?;
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
        whose: (AccountId, &[SubscriptionId]),
        which: &DeliverySelection,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Selected> {
        let events = self.events.table()?;
        let event_type = |event: EventId| -> Result<Stored<EventType>> {
            let key = (whose.0.0, event.0);
            let missing = || Err(StorageError::Codec(format!("event {event} is not in the store")));
            let head = events.get(key)?.map_or_else(missing, |row| event_rows::head(key, row.value()));
            Ok(head.map(|head| head.event_type))
        };
        jobs::select(self.outcomes.table()?, event_type, whose, which, after, limit)
    }

    fn finish(mut self) -> Result<()> {
        self.events.table()?;
        self.outcomes.table()?;
        self.sets.finish()?;
        self.counts.finish()?;
        self.outbox.finish()
    }
}

/// Reads the account of a deleted subscription.
pub fn purged_account(id: u32, row: &[u8]) -> Result<AccountId> {
    let row = tables::open::<u32>(id, row, digest::named("deleted subscription", id))?;
    codec::decode(PURGE_VERSION, row).map(AccountId)
}
