//! What a snapshot shows: point reads and pages of lists from the tables of one read transaction. Any thread.

use std::io::Write;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use redb::ReadTransaction;

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
use crate::storage::read::filter::{DeliveryFilter, EventFilter};
use crate::storage::read::page::{Page, PageRequest, ReadLimit, collect};
use crate::storage::redb::alerts::notices;
use crate::storage::redb::copy::dump::{self, DumpError, Manifest};
use crate::storage::redb::found::{DeliveryWalk, Events, ListedEvent, PENDING, range_of};
use crate::storage::redb::outbox::{Outbox, batches};
use crate::storage::redb::tables::OutcomeKey;
use crate::storage::redb::{audit, counts, find_index, jobs, pending, tables, time};
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rows::record::EventRow;
use crate::storage::rows::{delivery_record, digest};
use crate::storage::rules::service_time::Seen;

mod check;

/// A read transaction.
pub struct RedbView {
    rows: ReadTransaction,
}

impl RedbView {
    /// What the transaction sees.
    pub fn of(rows: ReadTransaction) -> Self {
        Self { rows }
    }

    /// Writes a backup; `progress` is called with the rows written and the total.
    pub fn back_up(
        &self,
        out: impl Write,
        created_at: Timestamp,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Manifest, DumpError> {
        dump::write(&self.rows, tables::FORMAT_VERSION, out, created_at, progress)
    }
}

impl View for RedbView {
    fn of_one_request(self: Arc<Self>) -> Arc<dyn View> {
        self
    }

    fn seen(&self) -> Result<Seen, StorageError> {
        time::read(&self.rows.open_table(tables::META)?, None)
    }

    fn notices(&self) -> Result<Vec<Notice>, StorageError> {
        notices::waiting(&self.rows)
    }

    fn last_backup(&self) -> Result<Option<Timestamp>, StorageError> {
        let row = self.rows.open_table(tables::META)?.get(tables::LAST_BACKUP_MS)?;
        Ok(row.and_then(|row| u64::try_from(row.value()).ok()).map(Timestamp::from_ms))
    }

    fn event(&self, account: AccountId, id: EventId) -> Result<Option<EventRow>, StorageError> {
        Events::of(&self.rows, account)?.event(id)
    }

    fn event_to_send(&self, account: AccountId, id: EventId) -> Result<Option<EventContent>, StorageError> {
        Events::of(&self.rows, account)?.event_to_send(id)
    }

    fn delivery(&self, account: AccountId, id: DeliveryId) -> Result<Option<Delivery>, StorageError> {
        let key = (account.0, id.event.0, id.subscription.0);
        let Some(head) = Events::of(&self.rows, account)?.head(id.event)? else { return Ok(None) };
        let outcome = self.rows.open_table(tables::OUTCOMES)?.get(key)?;
        let Some(row) = outcome else {
            let outbox = Outbox::of(&self.rows)?;
            let is_pending = outbox.is_unattempted(id)? || outbox.waiting(id)?.is_some();
            return Ok(is_pending.then(|| Delivery::unattempted(head.event_type, id.event.time())));
        };
        let row = tables::open::<OutcomeKey>(key, row.value(), digest::named("delivery", id))?;
        delivery_record::decode(row, head.event_type).map(Some)
    }

    fn history(&self, id: SubscriptionId) -> Result<Option<History>, StorageError> {
        Outbox::of(&self.rows)?.history(id)
    }

    fn events(
        &self,
        account: AccountId,
        filter: EventFilter,
        request: PageRequest<EventId>,
        limit: &ReadLimit,
    ) -> Result<Page<EventId, EventRow>, StorageError> {
        let events = Rc::new(Events::of(&self.rows, account)?);
        let (first, last) = range_of(filter.since, filter.until);
        let walk = |after: Option<EventId>| {
            let end = match after {
                Some(after) if after.0 <= last => Bound::Excluded(after.0),
                _ => Bound::Included(last),
            };
            let (events, wanted) = (Rc::clone(&events), filter.event_type);
            let rows = Rc::clone(&events).newest_first(first, end)?;
            Ok(rows.map(move |row| {
                let (id, row) = row?;
                Ok((id, ListedEvent { id, row, events: Rc::clone(&events), wanted }))
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
    ) -> Result<Page<DeliveryId, Delivery>, StorageError> {
        let outcomes = self.rows.open_table(tables::OUTCOMES)?;
        if filter.status == Some(PENDING)
            && let Some(page) = pending::deliveries(&self.rows, &outcomes, filter, request, known, limit)?
        {
            return Ok(page);
        }
        let events = Rc::new(Events::of(&self.rows, filter.account)?);
        let walk = |after| DeliveryWalk::new(Rc::clone(&events), &outcomes, filter, after);
        collect(request, known, limit, walk)
    }

    fn counts(&self, account: AccountId, subscription: Option<SubscriptionId>) -> Result<Counts, StorageError> {
        counts::read(&self.rows, account, subscription)
    }

    fn unattempted_after(
        &self,
        (account, id): (AccountId, SubscriptionId),
        after: Option<EventId>,
        limit: usize,
        bodies_bytes: usize,
    ) -> Result<Vec<PendingEvent>, StorageError> {
        let outbox = Outbox::of(&self.rows)?;
        let events = Events::of(&self.rows, account)?;
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut left = bodies_bytes;
        let mut page = Vec::with_capacity(limit);
        for unattempted in outbox.unattempted_rows(id, (first, Bound::Unbounded))?.take(limit) {
            let (event, OutboxRow { key, .. }) = unattempted?;
            let mut content = None;
            if left > 0 {
                left = left.saturating_sub(events.bytes(event)?);
                // A damaged row is left to the delivery thread, where only this delivery fails.
                content = events.event_to_send(event).ok().flatten().map(Arc::new);
            }
            page.push(PendingEvent { event, key, content });
        }
        Ok(page)
    }

    fn received(
        &self,
        (account, id): (AccountId, SubscriptionId),
        (after, until): (EventId, EventId),
        looked_at: usize,
    ) -> Result<Received, StorageError> {
        let events = Events::of(&self.rows, account)?;
        let mut found = Received { events: Vec::new(), last: after, has_more: false };
        for (place, row) in events.oldest_first(after, until)?.enumerate() {
            if place >= looked_at {
                return Ok(Received { has_more: true, ..found });
            }
            let (event, receivers) = row?;
            found.last = event;
            match receivers {
                Ok(receivers) if receivers.binary_search(&id).is_ok() => found.events.push(event),
                Ok(_) => {}
                Err(error) => log::error!("event {event} is left out of a feed: {error}"),
            }
        }
        Ok(Received { last: until, ..found })
    }

    fn retries(&self, id: SubscriptionId, until: Timestamp, limit: usize) -> Result<Vec<Retry>, StorageError> {
        let mut rows = Vec::new();
        for row in Outbox::of(&self.rows)?.retries_of(id)?.take(limit) {
            let retry = row?;
            rows.push(retry);
            if retry.due > until {
                break;
            }
        }
        Ok(rows)
    }

    fn waiting(&self, id: DeliveryId) -> Result<Option<OutboxRow>, StorageError> {
        Outbox::of(&self.rows)?.waiting(id)
    }

    fn batch(&self, id: SubscriptionId, batch: BatchId) -> Result<Option<(BatchHead, Vec<EventId>)>, StorageError> {
        batches::read(&self.rows, id, batch)
    }

    fn tags(&self, account: AccountId, id: EventId) -> Result<Vec<Box<str>>, StorageError> {
        find_index::tags_of(&self.rows, account, id)
    }

    fn candidates(
        &self,
        account: AccountId,
        key: &FindKey,
        before: Option<EventId>,
    ) -> Result<Box<dyn Iterator<Item = Result<EventId, StorageError>> + '_>, StorageError> {
        find_index::candidates(&self.rows, account, key, before)
    }

    fn audit(
        &self,
        account: AccountId,
        span: (Option<Timestamp>, Option<Timestamp>),
        request: PageRequest<AuditId>,
        limit: &ReadLimit,
    ) -> Result<Page<AuditId, Stored<AuditRecord>>, StorageError> {
        audit::list(&self.rows, account, span, request, limit)
    }

    fn jobs(&self, account: AccountId) -> Result<Vec<Job>, StorageError> {
        jobs::of_snapshot(&self.rows, account)
    }

    fn unfinished_jobs(&self) -> Result<Vec<Job>, StorageError> {
        let mut found = Vec::new();
        for (_, id, job) in jobs::all(&self.rows)? {
            match job {
                Ok(job) if job.is_active() => found.push(job),
                Ok(_) => {}
                Err(error) => log::error!("{id} cannot be read, and is left alone: {error}"),
            }
        }
        Ok(found)
    }

    fn select(
        &self,
        whose: (AccountId, &[SubscriptionId]),
        which: &DeliverySelection,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Selected, StorageError> {
        let events = Events::of(&self.rows, whose.0)?;
        let event_type = |event: EventId| {
            let missing = || Err(StorageError::Codec(format!("event {event} is not in the store")));
            Ok(events.head(event).transpose().unwrap_or_else(missing).map(|head| head.event_type))
        };
        jobs::select(&self.rows.open_table(tables::OUTCOMES)?, event_type, whose, which, after, limit)
    }

    fn oldest_pending(&self, id: SubscriptionId, retries_left: &mut usize) -> Result<Option<EventId>, StorageError> {
        let outbox = Outbox::of(&self.rows)?;
        let mut oldest = outbox.unattempted_of(id, ..)?.next().transpose()?;
        for row in outbox.retries_of(id)?.take(*retries_left) {
            let Retry { event, is_batch, .. } = row?;
            oldest = oldest.into_iter().chain((!is_batch).then_some(event)).min();
            *retries_left -= 1;
        }
        let waiting = outbox.waiting_of(id, EventId(0)..=EventId(u128::MAX))?.next().transpose()?;
        Ok(oldest.into_iter().chain(waiting).min())
    }

    fn row_count(&self) -> Result<u64, StorageError> {
        check::len(&self.rows)
    }

    fn check_rows(&self, from: &RowPosition, limit: usize) -> Result<RowsChecked, StorageError> {
        check::step(&self.rows, from, limit)
    }
}

#[cfg(test)]
mod tests;
