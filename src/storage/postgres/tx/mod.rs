//! The rows of one write transaction, in the words of the rules. Runs on the writer thread, and never commits.

mod outbox;
mod purge;

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::domain::access::{ApiKey, Session, SessionId};
use crate::domain::alert::{AlertKind, Notice, Told};
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::IdempotencyKey;
use crate::domain::event::event_type::EventType;
use crate::domain::event::find::FindKey;
use crate::domain::gaps::{Gap, Gaps};
use crate::domain::job::{DeliverySelection, Job};
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, DeliveryId, EventId, JobId, KeyId, SubscriptionId, Timestamp};
use crate::storage::counts::{Counts, Kind};
use crate::storage::engine::{
    Due, DueKind, EventFound, Front, Indexed, Numbered, Purged, RemovedOutcome, Selected, Stored, Tx,
};
use crate::storage::error::StorageError;
use crate::storage::postgres::counts::CountsWriter;
use crate::storage::postgres::find_index;
use crate::storage::postgres::receiver_sets::SetWriter;
use crate::storage::postgres::rows::{Row, Rows as _, Walk};
use crate::storage::postgres::stored::{
    self, GAPS, GapRow, LAST_BACKUP, TIME, VERSION, delivery_in, delivery_of, event_in, event_key, events_between,
    head_of, members, ms, open_event, outcome_key, state_of,
};
use crate::storage::postgres::tables::{
    ACCOUNTS, AUDIT, DUE, EVENTS, FRONTS, IDEMPOTENCY, JOBS, KEPT, KEYS, META, NOTICES, OUTCOMES, Order, PURGES, Part,
    SESSIONS, SUBSCRIPTIONS, Span, TAGS, TOLD, key,
};
use crate::storage::postgres::writing::Writing;
use crate::storage::rows::record::{EventHead, EventRow, IdempotencyRow};
use crate::storage::rows::{
    audit_record, codec, delivery_record, digest, job_record, key_record, notice_record, session_record,
    subscription_record,
};
use crate::storage::sealing::Seal;

type Result<T> = std::result::Result<T, StorageError>;

/// After about so many bytes a step over events ends.
const EVENT_ROWS_BYTES: usize = 1024 * 1024;

/// The rows, and what is written once at the end.
pub struct PostgresTx<'a> {
    rows: &'a Writing,
    seal: &'a Seal,
    sets: SetWriter,
    counts: CountsWriter,
}

impl<'a> PostgresTx<'a> {
    /// The rows of that transaction.
    pub(in crate::storage::postgres) fn open(rows: &'a Writing) -> Self {
        Self { rows, seal: rows.seal(), sets: SetWriter::default(), counts: CountsWriter::default() }
    }
}

fn counter(kind: Numbered) -> &'static str {
    match kind {
        Numbered::Account => "next_account",
        Numbered::Key => "next_key",
        Numbered::Subscription => "next_subscription",
    }
}

fn told_key(kind: AlertKind, of: &str) -> String {
    format!("{} {of}", kind.name())
}

impl Tx for PostgresTx<'_> {
    fn next_number(&self, kind: Numbered) -> Result<u128> {
        Ok(stored::meta(self.rows, counter(kind))?.unwrap_or(1))
    }

    fn put_next_number(&mut self, kind: Numbered, next: u128) -> Result<()> {
        self.rows.put(&META, key![counter(kind)], codec::encode(VERSION, &next)?);
        Ok(())
    }

    fn put_time(&mut self, now: Timestamp, monotonic: Timestamp, gaps: Option<&Gaps>) -> Result<()> {
        self.rows.put(&META, key![TIME], codec::encode(VERSION, &(now.as_ms(), monotonic.as_ms()))?);
        if let Some(gaps) = gaps {
            let row = |gap: &Gap| -> GapRow {
                let between_ms = u64::try_from(gap.between.as_millis()).unwrap_or(u64::MAX);
                (gap.from.as_ms(), gap.to.as_ms(), between_ms, gap.is_confirmed)
            };
            let gaps: Vec<GapRow> = gaps.all().iter().map(row).collect();
            self.rows.put(&META, key![GAPS], codec::encode(VERSION, &gaps)?);
        }
        Ok(())
    }

    fn put_account(&mut self, id: AccountId, name: &str) -> Result<()> {
        self.rows.put(&ACCOUNTS, key![id.0], name.into());
        Ok(())
    }

    fn put_key(&mut self, key: &ApiKey) -> Result<()> {
        self.rows.put(&KEYS, key![key.id.0], key_record::encode(key)?);
        Ok(())
    }

    fn remove_key(&mut self, id: KeyId) -> Result<()> {
        self.rows.remove(&KEYS, key![id.0]);
        Ok(())
    }

    fn put_session(&mut self, session: &Session) -> Result<()> {
        self.rows.put(&SESSIONS, key![session.id.0], session_record::encode(session)?);
        Ok(())
    }

    fn remove_session(&mut self, id: SessionId) -> Result<()> {
        self.rows.remove(&SESSIONS, key![id.0]);
        Ok(())
    }

    fn put_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        let row = subscription_record::encode(subscription, self.seal)?;
        self.rows.put(&SUBSCRIPTIONS, key![subscription.id.0], row);
        Ok(())
    }

    fn remove_subscription(&mut self, account: AccountId, id: SubscriptionId) -> Result<Counts> {
        self.rows.remove(&SUBSCRIPTIONS, key![id.0]);
        let counts = self.counts.remove(self.rows, account, id)?;
        self.rows.put(&PURGES, key![id.0], codec::encode(VERSION, &account.0)?);
        Ok(counts)
    }

    fn purge_some(&mut self, limit: usize) -> Result<Purged> {
        purge::purge_some(self.rows, limit)
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
        let row = event.encode(self.sets.take(self.rows, &event.subscriptions)?)?;
        self.rows.put(&EVENTS, event_key(account, id), row);
        Ok(())
    }

    fn put_receivers(&mut self, account: AccountId, id: EventId, event: &EventRow) -> Result<()> {
        if let Some(Ok(before)) = self.event_head(account, id)? {
            self.sets.release(before.receivers);
        }
        self.put_event(account, id, event)
    }

    fn has_event(&mut self, account: AccountId, id: EventId) -> Result<bool> {
        Ok(self.rows.get(&EVENTS, &event_key(account, id))?.is_some())
    }

    fn account_after(&mut self, id: AccountId) -> Result<Option<AccountId>> {
        let Some(next) = id.0.checked_add(1) else { return Ok(None) };
        let span = Span::of(key![next, 0_u128], key![u32::MAX, u128::MAX]);
        let first = self.rows.scan(&EVENTS, &span, Order::Rising, 1)?;
        Ok(first.first().and_then(|(at, _)| at.first()).map(|account| AccountId(account.number())))
    }

    fn event_type(&mut self, account: AccountId, id: EventId) -> Result<Stored<EventType>> {
        stored::event_type(self.rows, account, id)
    }

    fn event_head(&mut self, account: AccountId, id: EventId) -> Result<Option<Stored<EventHead>>> {
        stored::head(self.rows, account, id)
    }

    fn events_after(
        &mut self,
        account: AccountId,
        after: EventId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(EventId, Stored<EventHead>)>> {
        let span = events_between(account, after.0, EventId::first_at(before).0).behind().before();
        let rows = Walk::over(self.rows, &EVENTS, span, Order::Rising).take(limit);
        rows.map(|row| {
            let (at, row) = row?;
            Ok((event_in(&at), head_of(account, event_in(&at), &row)))
        })
        .collect()
    }

    fn receivers(&self, number: u32) -> Stored<Arc<[SubscriptionId]>> {
        members(self.rows, number)
    }

    fn remove_event(&mut self, account: AccountId, id: EventId, head: &EventHead) -> Result<()> {
        for key in &head.idempotency {
            // A key whose time was over may stand for a later event meanwhile. One that cannot be read stands for none.
            let used_for = self.idempotency(account, *key)?;
            if used_for.is_some_and(|row| row.is_ok_and(|row| row.event != id.0)) {
                continue;
            }
            self.rows.remove(&IDEMPOTENCY, key![account.0, key.0]);
        }
        self.sets.release(head.receivers);
        if let Some(row) = self.rows.take(&EVENTS, event_key(account, id))? {
            find_index::remove(self.rows, account, id, &row);
        }
        Ok(())
    }

    fn remove_outcomes(&mut self, account: AccountId, id: EventId, limit: usize) -> Result<Vec<RemovedOutcome>> {
        let span = OUTCOMES.with_prefix(key![account.0, id.0]);
        let removed = self.rows.take_some(&OUTCOMES, &span, limit)?;
        let outcome = |(at, row): Row| {
            let id = delivery_in(&at);
            (id.subscription, state_of(account, id, &row))
        };
        Ok(removed.into_iter().map(outcome).collect())
    }

    fn put_front(&mut self, account: AccountId, front: Front) -> Result<()> {
        let row = (front.events.0, front.attempts.0, front.removing.map(|event| event.0));
        self.rows.put(&FRONTS, key![account.0], codec::encode(VERSION, &row)?);
        Ok(())
    }

    fn kept(&self, account: AccountId, event: EventId) -> Result<Option<u32>> {
        let at = event_key(account, event);
        let Some(row) = self.rows.get(&KEPT, &at)? else { return Ok(None) };
        let pending =
            KEPT.open(&at, &row, digest::named("kept event", event)).and_then(|row| codec::decode(VERSION, row));
        // A damaged number keeps it for good.
        Ok(Some(pending.inspect_err(|error| log::error!("{error}")).unwrap_or(u32::MAX)))
    }

    fn put_kept(&mut self, account: AccountId, event: EventId, pending: Option<u32>) -> Result<()> {
        let at = event_key(account, event);
        match pending {
            Some(pending) => self.rows.put(&KEPT, at, codec::encode(VERSION, &pending)?),
            None => self.rows.remove(&KEPT, at),
        }
        Ok(())
    }

    fn put_due(&mut self, due: Due) -> Result<()> {
        let Due { kind, settled_at, account, delivery } = due;
        let at = key![kind as u32, ms(settled_at), account.0, delivery.event.0, delivery.subscription.0];
        self.rows.put(&DUE, at, Vec::new());
        Ok(())
    }

    fn take_due(&mut self, kind: DueKind, before: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let first = |settled: i64| key![kind as u32, settled, 0_u32, 0_u128, 0_u32];
        let span = Span::of(first(0), first(ms(before))).before();
        let taken = self.rows.take_some(&DUE, &span, limit)?;
        let due = |(at, _): Row| {
            let part = |place: usize| at.get(place).cloned().unwrap_or(Part::Int(0));
            Due {
                kind,
                settled_at: stored::time(part(1).int()),
                account: AccountId(part(2).number()),
                delivery: DeliveryId { event: EventId(part(3).id()), subscription: SubscriptionId(part(4).number()) },
            }
        };
        Ok(taken.into_iter().map(due).collect())
    }

    fn idempotency(&self, account: AccountId, key: IdempotencyKey) -> Result<Option<Stored<IdempotencyRow>>> {
        let at = key![account.0, key.0];
        let name = || format!("idempotency key {:x}", key.0);
        let row = self.rows.get(&IDEMPOTENCY, &at)?;
        Ok(row.map(|row| IdempotencyRow::decode(IDEMPOTENCY.open(&at, &row, name)?)))
    }

    fn put_idempotency(&mut self, account: AccountId, key: IdempotencyKey, used_for: &IdempotencyRow) -> Result<()> {
        self.rows.put(&IDEMPOTENCY, key![account.0, key.0], used_for.encode()?);
        Ok(())
    }

    fn delivery(&mut self, account: AccountId, id: DeliveryId) -> Result<Option<Stored<Delivery>>> {
        let Some(row) = self.rows.get(&OUTCOMES, &outcome_key(account, id))? else { return Ok(None) };
        let event_type = self.event_type(account, id.event)?;
        Ok(Some(event_type.and_then(|event_type| delivery_of(account, id, &row, event_type))))
    }

    fn delivery_state(&mut self, account: AccountId, id: DeliveryId) -> Result<Option<Stored<DeliveryState>>> {
        let row = self.rows.get(&OUTCOMES, &outcome_key(account, id))?;
        Ok(row.map(|row| state_of(account, id, &row)))
    }

    fn put_delivery(&mut self, account: AccountId, id: DeliveryId, delivery: &Delivery) -> Result<()> {
        self.rows.put(&OUTCOMES, outcome_key(account, id), delivery_record::encode(delivery)?);
        Ok(())
    }

    fn put_tags(&mut self, account: AccountId, id: EventId, tags: &[Box<str>]) -> Result<()> {
        self.rows.put(&TAGS, event_key(account, id), codec::encode(VERSION, &tags)?);
        Ok(())
    }

    fn indexed_after(
        &mut self,
        account: AccountId,
        key: &FindKey,
        after: EventId,
        until: EventId,
    ) -> Result<Option<EventId>> {
        find_index::indexed_after(self.rows, account, key, after, until)
    }

    fn erase_event(&mut self, account: AccountId, id: EventId, left: &EventRow) -> Result<()> {
        if let Some(before) = self.rows.get(&EVENTS, &event_key(account, id))? {
            find_index::remove(self.rows, account, id, &before);
        }
        self.put_receivers(account, id, left)
    }

    fn put_notice(&mut self, notice: &Notice) -> Result<()> {
        self.rows.put(&NOTICES, key![notice.alert.id.0], notice_record::encode(notice)?);
        Ok(())
    }

    fn take_notice(&mut self, id: EventId) -> Result<Option<Stored<Notice>>> {
        let at = key![id.0];
        let row = self.rows.take(&NOTICES, at.clone())?;
        Ok(row.map(|row| notice_record::decode(id, NOTICES.open(&at, &row, digest::named("alert", id))?)))
    }

    fn put_told(&mut self, kind: AlertKind, of: &str, told: Option<Told>) -> Result<()> {
        let subject = told_key(kind, of);
        let at = key![subject.as_str()];
        match told {
            Some(Told { at: when, is_open }) => {
                self.rows.put(&TOLD, at, codec::encode(VERSION, &(when.as_ms(), is_open))?);
            }
            None => self.rows.remove(&TOLD, at),
        }
        Ok(())
    }

    fn put_last_backup(&mut self, at: Timestamp) -> Result<()> {
        self.rows.put(&META, key![LAST_BACKUP], codec::encode(VERSION, &at.as_ms())?);
        Ok(())
    }

    fn index_events(&mut self, account: AccountId, limit: usize) -> Result<Indexed> {
        find_index::index_some(self.rows, account, limit)
    }

    fn put_audit(&mut self, record: &AuditRecord) -> Result<()> {
        self.rows.put(&AUDIT, key![record.change.account.0, record.id.0], audit_record::encode(record)?);
        Ok(())
    }

    fn trim_audit(&mut self, account: AccountId, before: Timestamp, limit: usize) -> Result<()> {
        let old = Span::of(key![account.0, 0_u128], key![account.0, EventId::first_at(before).0]).before();
        self.rows.take_some(&AUDIT, &old, limit).map(drop)
    }

    fn event_rows(
        &mut self,
        account: AccountId,
        ids: RangeInclusive<EventId>,
        limit: usize,
    ) -> Result<Vec<EventFound>> {
        let span = events_between(account, ids.start().0, ids.end().0);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in Walk::over(self.rows, &EVENTS, span, Order::Rising).take(limit) {
            let (at, row) = row?;
            let id = event_in(&at);
            let opened = open_event(account, id, &row);
            rows.push((id, opened.and_then(|row| EventRow::decode(row, |number| members(self.rows, number)))));
            bytes += row.len();
            if bytes >= EVENT_ROWS_BYTES {
                break;
            }
        }
        Ok(rows)
    }

    fn put_job(&mut self, job: &Job) -> Result<()> {
        self.rows.put(&JOBS, key![job.account.0, job.id.0], job_record::encode(job)?);
        Ok(())
    }

    fn remove_job(&mut self, account: AccountId, id: JobId) -> Result<()> {
        self.rows.remove(&JOBS, key![account.0, id.0]);
        Ok(())
    }

    fn jobs(&self, account: AccountId) -> Result<Vec<Job>> {
        stored::jobs(self.rows, account)
    }

    fn select(
        &mut self,
        whose: (AccountId, &[SubscriptionId]),
        which: &DeliverySelection,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Selected> {
        stored::select(self.rows, whose, which, after, limit)
    }

    fn finish(self) -> Result<()> {
        let Self { rows, sets, counts, .. } = self;
        sets.finish(rows)?;
        counts.finish(rows)
    }
}
