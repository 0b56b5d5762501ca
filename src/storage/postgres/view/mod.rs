//! What a snapshot shows: a read-only transaction on a leased connection, begun at the first read and ended when the view is
//! dropped. Any thread, for one request.

mod deliveries;
mod listed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::alert::Notice;
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::Delivery;
use crate::domain::delivery::history::History;
use crate::domain::event::content::EventContent;
use crate::domain::event::find::FindKey;
use crate::domain::job::{DeliverySelection, Job};
use crate::domain::{AccountId, AuditId, BatchId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::counts::Counts;
use crate::storage::engine::{
    BatchHead, PendingEvent, Received, Retry, RowPosition, RowsChecked, Selected, Stored, View,
};
use crate::storage::error::StorageError;
use crate::storage::postgres::connection::pool::{Pool, read_some, scan};
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::rows::{Row, Rows, Walk};
use crate::storage::postgres::stored::{
    self, LAST_BACKUP, UNATTEMPTED, WAITING, batch_members, delivery_of, due, due_in, event_in, event_key,
    events_between, head_of, members, open_event, outbox_at, outbox_row, outcome_key, range_of, retries_of,
};
use crate::storage::postgres::tables::{
    AUDIT, BATCHES, EVENTS, JOBS, Key, NOTICES, OUTBOX, OUTCOMES, Order, Part, Span, Table, key,
};
use crate::storage::postgres::{counts, find_index};
use crate::storage::read::filter::{DeliveryFilter, EventFilter};
use crate::storage::read::page::{Page, PageRequest, ReadLimit, collect};
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rows::record::{self, EventRow};
use crate::storage::rows::{audit_record, digest, notice_record};
use crate::storage::rules::service_time::Seen;

use self::listed::{FoundRecord, ListedEvent, Sets};

type Result<T> = std::result::Result<T, StorageError>;

/// Events that are read together with their bodies.
const EVENTS_AT_ONCE: usize = 64;
/// The snapshot is that of the first statement, which is sent together with this.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A snapshot.
pub struct PostgresView {
    pool: Arc<Pool>,
    /// Leased at the first read.
    session: Mutex<Option<Session>>,
}

impl PostgresView {
    /// Nothing is leased yet.
    pub(in crate::storage::postgres) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, session: Mutex::new(None) }
    }

    /// The connection, in its transaction.
    fn session(&self) -> Result<Leased<'_>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.is_none() {
            *session = Some(self.begin()?);
        }
        Ok(Leased(session))
    }

    fn begin(&self) -> Result<Session> {
        loop {
            let session = self.pool.lease()?;
            match session.begin(BEGIN, "SELECT 1".to_owned(), Vec::new()) {
                Ok(_) => return Ok(session),
                // One that was closed while nobody used it; the others may be as well.
                Err(fault) if session.is_closed() => {
                    log::debug!("a connection of the readers had ended: {}", fault.words());
                    self.pool.lost();
                }
                Err(fault) => {
                    Arc::clone(&self.pool).give_back(session);
                    return Err(fault.into());
                }
            }
        }
    }
}

/// The connection of a view, which has one.
struct Leased<'a>(MutexGuard<'a, Option<Session>>);

impl Leased<'_> {
    fn get(&self) -> Result<&Session> {
        self.0.as_ref().ok_or_else(|| StorageError::Remote("a view has no connection".to_owned()))
    }
}

impl Drop for PostgresView {
    fn drop(&mut self) {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = session {
            Arc::clone(&self.pool).give_back(session);
        }
    }
}

impl Rows for PostgresView {
    fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Vec<u8>>> {
        let values = key.iter().map(Value::from).collect();
        let rows = self.session()?.get()?.query(table.statements().get.clone(), values)?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    fn get_some(&self, table: &'static Table, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>> {
        let keys: Vec<&Key> = keys.iter().collect();
        read_some(self.session()?.get()?, table, &keys)
    }

    fn scan(&self, table: &'static Table, span: &Span, order: Order, limit: usize) -> Result<Vec<Row>> {
        if span.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        scan(self.session()?.get()?, table, span, order, limit)
    }
}

fn retry(at: &Key, row: &[u8]) -> Retry {
    let row = outbox_row(at, row);
    Retry { due: stored::time(due_in(at)), event: event_in(at), key: row.key, is_batch: row.is_batch() }
}

impl View for PostgresView {
    fn of_one_request(self: Arc<Self>) -> Arc<dyn View> {
        Arc::new(Self::new(Arc::clone(&self.pool)))
    }

    fn seen(&self) -> Result<Seen> {
        stored::seen(self, None)
    }

    fn notices(&self) -> Result<Vec<Notice>> {
        let mut found = Vec::new();
        for row in Walk::over(self, &NOTICES, NOTICES.all(), Order::Rising) {
            let (at, row) = row?;
            let id = event_in(&at);
            let notice = NOTICES.open(&at, &row, digest::named("alert", id));
            match notice.and_then(|row| notice_record::decode(id, row)) {
                Ok(notice) => found.push(notice),
                Err(error) => log::error!("an alert is not told: {error}"),
            }
        }
        Ok(found)
    }

    fn last_backup(&self) -> Result<Option<Timestamp>> {
        Ok(stored::meta(self, LAST_BACKUP)?.map(Timestamp::from_ms))
    }

    fn event(&self, account: AccountId, id: EventId) -> Result<Option<EventRow>> {
        let Some(row) = self.get(&EVENTS, &event_key(account, id))? else { return Ok(None) };
        EventRow::decode(open_event(account, id, &row)?, |number| members(self, number)).map(Some)
    }

    fn event_to_send(&self, account: AccountId, id: EventId) -> Result<Option<EventContent>> {
        let Some(row) = self.get(&EVENTS, &event_key(account, id))? else { return Ok(None) };
        record::content_of(open_event(account, id, &row)?).map(Some)
    }

    fn delivery(&self, account: AccountId, id: DeliveryId) -> Result<Option<Delivery>> {
        let Some(head) = stored::head(self, account, id.event)?.transpose()? else { return Ok(None) };
        if let Some(row) = self.get(&OUTCOMES, &outcome_key(account, id))? {
            return delivery_of(account, id, &row, head.event_type).map(Some);
        }
        let at = |due: i64| key![id.subscription.0, due, id.event.0];
        let is_pending = self.get(&OUTBOX, &at(UNATTEMPTED))?.is_some() || self.get(&OUTBOX, &at(WAITING))?.is_some();
        Ok(is_pending.then(|| Delivery::unattempted(head.event_type, id.event.time())))
    }

    fn history(&self, id: SubscriptionId) -> Result<Option<History>> {
        stored::history(self, id)
    }

    fn events(
        &self,
        account: AccountId,
        filter: EventFilter,
        request: PageRequest<EventId>,
        limit: &ReadLimit,
    ) -> Result<Page<EventId, EventRow>> {
        let (first, last) = range_of(filter.since, filter.until);
        let sets = Sets::of(self);
        let walk = |after: Option<EventId>| {
            let span = match after {
                Some(after) if after.0 <= last => events_between(account, first, after.0).before(),
                _ => events_between(account, first, last),
            };
            let (sets, wanted) = (&sets, filter.event_type);
            Ok(Walk::over(self, &EVENTS, span, Order::Falling).map(move |row| {
                let (at, row) = row?;
                let id = event_in(&at);
                Ok((id, ListedEvent { account, id, row, sets, wanted }))
            }))
        };
        let known =
            if filter.is_everything() { usize::try_from(self.counts(account, None)?.events).ok() } else { None };
        collect(request, known, limit, walk)
    }

    fn deliveries(
        &self,
        filter: &DeliveryFilter,
        request: PageRequest<DeliveryId>,
        known: Option<usize>,
        limit: &ReadLimit,
    ) -> Result<Page<DeliveryId, Delivery>> {
        deliveries::list(self, filter, request, known, limit)
    }

    fn counts(&self, account: AccountId, subscription: Option<SubscriptionId>) -> Result<Counts> {
        counts::read(self, account, subscription)
    }

    fn unattempted_after(
        &self,
        (account, id): (AccountId, SubscriptionId),
        after: Option<EventId>,
        limit: usize,
        bodies_bytes: usize,
    ) -> Result<Vec<PendingEvent>> {
        let span = outbox_at(id, UNATTEMPTED, after.map_or(0, |after| after.0), u128::MAX).behind();
        let rows = self.scan(&OUTBOX, &span, Order::Rising, limit)?;
        let mut page: Vec<_> = rows
            .iter()
            .map(|(at, row)| PendingEvent { event: event_in(at), key: outbox_row(at, row).key, content: None })
            .collect();
        let mut left = bodies_bytes;
        // Some at a time, as bodies can be long.
        for some in page.chunks_mut(EVENTS_AT_ONCE) {
            if left == 0 {
                break;
            }
            let keys: Vec<_> = some.iter().map(|pending| event_key(account, pending.event)).collect();
            for (pending, row) in some.iter_mut().zip(self.get_some(&EVENTS, &keys)?) {
                let Some(row) = row.filter(|_| left > 0) else { continue };
                left = left.saturating_sub(row.len());
                // A damaged row is left to the delivery thread, where only this delivery fails.
                let content = open_event(account, pending.event, &row).and_then(record::content_of);
                pending.content = content.ok().map(Arc::new);
            }
        }
        Ok(page)
    }

    fn received(
        &self,
        (account, id): (AccountId, SubscriptionId),
        (after, until): (EventId, EventId),
        looked_at: usize,
    ) -> Result<Received> {
        let sets = Sets::of(self);
        let mut found = Received { events: Vec::new(), last: after, has_more: false };
        let span = events_between(account, after.0, until.0).behind();
        for (place, row) in Walk::over(self, &EVENTS, span, Order::Rising).enumerate() {
            if place >= looked_at {
                return Ok(Received { has_more: true, ..found });
            }
            let (at, row) = row?;
            let event = event_in(&at);
            found.last = event;
            match head_of(account, event, &row).and_then(|head| sets.members(head.receivers)) {
                Ok(receivers) if receivers.binary_search(&id).is_ok() => found.events.push(event),
                Ok(_) => {}
                Err(error) => log::error!("event {event} is left out of a feed: {error}"),
            }
        }
        Ok(Received { last: until, ..found })
    }

    fn retries(&self, id: SubscriptionId, until: Timestamp, limit: usize) -> Result<Vec<Retry>> {
        let rows = self.scan(&OUTBOX, &retries_of(id), Order::Rising, limit)?;
        let later = rows.iter().position(|(at, _)| due_in(at) > due(until));
        let wanted = later.map_or(rows.len(), |place| place + 1);
        Ok(rows.iter().take(wanted).map(|(at, row)| retry(at, row)).collect())
    }

    fn waiting(&self, id: DeliveryId) -> Result<Option<OutboxRow>> {
        let at = key![id.subscription.0, WAITING, id.event.0];
        Ok(self.get(&OUTBOX, &at)?.map(|row| outbox_row(&at, &row)))
    }

    fn batch(&self, id: SubscriptionId, batch: BatchId) -> Result<Option<(BatchHead, Vec<EventId>)>> {
        let Some(head) = stored::batch(self, &key![id.0, batch.0, 0_u128])? else { return Ok(None) };
        let members = Walk::over(self, &BATCHES, batch_members(id, batch.0), Order::Rising);
        let members = members.map(|row| Ok(event_in(&row?.0))).collect::<Result<_>>()?;
        Ok(Some((head, members)))
    }

    fn tags(&self, account: AccountId, id: EventId) -> Result<Vec<Box<str>>> {
        stored::tags(self, account, id)
    }

    fn candidates(
        &self,
        account: AccountId,
        key: &FindKey,
        before: Option<EventId>,
    ) -> Result<Box<dyn Iterator<Item = Result<EventId>> + '_>> {
        find_index::candidates(self, account, key, before)
    }

    fn audit(
        &self,
        account: AccountId,
        (since, until): (Option<Timestamp>, Option<Timestamp>),
        request: PageRequest<AuditId>,
        limit: &ReadLimit,
    ) -> Result<Page<AuditId, Stored<AuditRecord>>> {
        let (first, last) = range_of(since, until);
        let walk = |after: Option<AuditId>| {
            let span = match after.filter(|after| after.0 <= last) {
                Some(after) => Span::of(key![account.0, first], key![account.0, after.0]).before(),
                None => Span::of(key![account.0, first], key![account.0, last]),
            };
            Ok(Walk::over(self, &AUDIT, span, Order::Falling).map(move |row| {
                let (at, row) = row?;
                let id = AuditId(at.last().map(Part::id).unwrap_or_default());
                let bytes = row.len();
                let opened = AUDIT.open(&at, &row, digest::named("record of the audit", id));
                let record = opened.and_then(|row| audit_record::decode(account, id, row));
                Ok((id, FoundRecord::of(record, bytes)))
            }))
        };
        collect(request, None, limit, walk)
    }

    fn jobs(&self, account: AccountId) -> Result<Vec<Job>> {
        stored::jobs(self, account)
    }

    fn unfinished_jobs(&self) -> Result<Vec<Job>> {
        let mut found = Vec::new();
        for row in Walk::over(self, &JOBS, JOBS.all(), Order::Rising) {
            found.extend(stored::job(row?).filter(Job::is_active));
        }
        Ok(found)
    }

    fn select(
        &self,
        whose: (AccountId, &[SubscriptionId]),
        which: &DeliverySelection,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Selected> {
        stored::select(self, whose, which, after, limit)
    }

    fn row_count(&self) -> Result<u64> {
        // The database server has checksums of its own, and a row is compared with its digest when it is read.
        Ok(0)
    }

    fn check_rows(&self, _from: &RowPosition, _limit: usize) -> Result<RowsChecked> {
        Ok(RowsChecked::default())
    }

    fn oldest_pending(&self, id: SubscriptionId, retries_left: &mut usize) -> Result<Option<EventId>> {
        let first = |due: i64| self.scan(&OUTBOX, &outbox_at(id, due, 1, u128::MAX), Order::Rising, 1);
        let mut oldest = first(UNATTEMPTED)?.first().map(|(at, _)| event_in(at));
        for row in Walk::over(self, &OUTBOX, retries_of(id), Order::Rising).take(*retries_left) {
            let (at, row) = row?;
            let Retry { event, is_batch, .. } = retry(&at, &row);
            oldest = oldest.into_iter().chain((!is_batch).then_some(event)).min();
            *retries_left -= 1;
        }
        for row in Walk::over(self, &OUTBOX, outbox_at(id, WAITING, 0, u128::MAX), Order::Rising) {
            let (at, row) = row?;
            if !outbox_row(&at, &row).is_batch() {
                return Ok(oldest.into_iter().chain([event_in(&at)]).min());
            }
        }
        Ok(oldest)
    }
}
