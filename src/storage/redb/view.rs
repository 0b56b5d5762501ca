//! What a snapshot shows: point reads and pages of lists from the tables of one read transaction. Any thread.

use std::io::Write;
use std::ops::Bound;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTableMetadata as _};

use crate::domain::audit::AuditRecord;
use crate::domain::delivery::Delivery;
use crate::domain::event::event_type::EventType;
use crate::domain::event::find::FindKey;
use crate::domain::job::{DeliverySelection, Job};
use crate::domain::{AccountId, AuditId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::{PendingEvent, Selected, Stored, View};
use crate::storage::error::StorageError;
use crate::storage::read::filter::{DeliveryFilter, EventFilter};
use crate::storage::read::page::{Page, PageRequest, ReadLimit, collect};
use crate::storage::redb::copy::dump::{self, DumpError, Manifest};
use crate::storage::redb::found::{
    FoundDelivery, ListedDelivery, ListedEvent, NewestFirst, PENDING, RowIter, range_of,
};
use crate::storage::redb::outbox::Outbox;
use crate::storage::redb::{audit, find_index, jobs, pending, tables, time};
use crate::storage::rows::delivery_record;
use crate::storage::rows::record::{EventRow, History};
use crate::storage::rules::service_time::Seen;

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
    fn seen(&self) -> Result<Seen, StorageError> {
        time::read(&self.rows.open_table(tables::META)?, None)
    }

    fn event(&self, account: AccountId, id: EventId) -> Result<Option<EventRow>, StorageError> {
        let events = self.rows.open_table(tables::EVENTS)?;
        events.get((account.0, id.0))?.map(|row| EventRow::decode(row.value())).transpose()
    }

    fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StorageError> {
        let place = (id.subscription.0, id.event.0);
        if let Some(row) = self.rows.open_table(tables::DELIVERIES)?.get(place)? {
            return delivery_record::decode(row.value()).map(Some);
        }
        let unattempted = Outbox::of(&self.rows)?.unattempted(id)?;
        Ok(unattempted
            .and_then(EventType::from_number)
            .map(|event_type| Delivery::unattempted(event_type, id.event.time())))
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
        let events = self.rows.open_table(tables::EVENTS)?;
        let (first, last) = range_of(filter.since, filter.until);
        let walk = |after: Option<EventId>| {
            let end = after.map_or(Bound::Included((account.0, last)), |after| Bound::Excluded((account.0, after.0)));
            let rows = events.range((Bound::Included((account.0, first)), end))?.rev();
            Ok(rows.map(|row| {
                let (key, row) = row?;
                Ok((EventId(key.value().1), ListedEvent { row, wanted: filter.event_type }))
            }))
        };
        if first > last || request.after.is_some_and(|after| after.0 <= first) {
            return Ok(Page { items: Vec::new(), total: 0, is_exact: true, next: None });
        }
        let after = request.after.filter(|after| after.0 <= last);
        let known =
            if filter.is_everything() { Some(events.range((account.0, 0)..=(account.0, last))?.count()) } else { None };
        collect(PageRequest { after, ..request }, known, limit, walk)
    }

    fn deliveries(
        &self,
        filter: &DeliveryFilter,
        request: PageRequest<DeliveryId>,
        known: Option<usize>,
        limit: &ReadLimit,
    ) -> Result<Page<DeliveryId, Delivery>, StorageError> {
        if filter.status == Some(PENDING)
            && let Some(page) = pending::deliveries(&self.rows, filter, request, limit)?
        {
            return Ok(page);
        }
        let outbox = Outbox::of(&self.rows)?;
        let attempted = self.rows.open_table(tables::DELIVERIES)?;
        let (first, last) = range_of(filter.since, filter.until);
        let wants_unattempted = filter.response_code.is_none() && filter.status.is_none_or(|status| status == PENDING);
        let walk = |after: Option<DeliveryId>| {
            let last = after.map_or(last, |after| last.min(after.event.0));
            let mut sources: Vec<RowIter<'_>> = Vec::new();
            for id in filter.subscriptions.iter().filter(|_| first <= last) {
                let rows = attempted.range((id.0, first)..=(id.0, last))?.rev().map(|row| {
                    let (key, value) = row?;
                    Ok((key.value(), FoundDelivery::Row(value)))
                });
                sources.push(Box::new(rows));
                if wants_unattempted {
                    let rows = outbox.unattempted_of(*id, EventId(first)..=EventId(last))?.rev().map(|row| {
                        let (event, number) = row?;
                        Ok(((id.0, event.0), FoundDelivery::Unattempted(number)))
                    });
                    sources.push(Box::new(rows));
                }
            }
            Ok(NewestFirst::new(sources)?.filter_map(move |row| match row {
                Ok((id, _)) if after.is_some_and(|after| id >= after) => None,
                row => Some(row.map(|(id, found)| (id, ListedDelivery { id, found, filter }))),
            }))
        };
        let counted = match known {
            None if filter.is_everything() => Some(walk(None)?.count()),
            known => known,
        };
        collect(request, counted, limit, walk)
    }

    fn attempted_count(&self) -> Result<Option<u64>, StorageError> {
        if !self.rows.open_table(tables::PURGES)?.is_empty()? {
            return Ok(None);
        }
        Ok(Some(self.rows.open_table(tables::DELIVERIES)?.len()?))
    }

    fn unattempted_after(
        &self,
        (account, id): (AccountId, SubscriptionId),
        after: Option<EventId>,
        limit: usize,
        bodies_bytes: usize,
    ) -> Result<Vec<PendingEvent>, StorageError> {
        let outbox = Outbox::of(&self.rows)?;
        let events = self.rows.open_table(tables::EVENTS)?;
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut left = bodies_bytes;
        let mut page = Vec::with_capacity(limit);
        for row in outbox.unattempted_of(id, (first, Bound::Unbounded))?.take(limit) {
            let (event, _) = row?;
            let mut found = None;
            if left > 0
                && let Some(bytes) = events.get((account.0, event.0))?
            {
                left = left.saturating_sub(bytes.value().len());
                // A damaged row is left to the delivery thread, where only this delivery fails.
                found = EventRow::decode(bytes.value()).ok().map(Arc::new);
            }
            page.push((event, found));
        }
        Ok(page)
    }

    fn retries(
        &self,
        id: SubscriptionId,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>, StorageError> {
        let mut rows = Vec::new();
        for row in Outbox::of(&self.rows)?.retries_of(id)?.take(limit) {
            let (due, event) = row?;
            rows.push((due, event));
            if due > until {
                break;
            }
        }
        Ok(rows)
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
        subscriptions: &[SubscriptionId],
        which: &DeliverySelection,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Selected, StorageError> {
        jobs::select(&self.rows.open_table(tables::DELIVERIES)?, subscriptions, which, after, limit)
    }

    fn oldest_pending(&self, id: SubscriptionId, retries_left: &mut usize) -> Result<Option<EventId>, StorageError> {
        let outbox = Outbox::of(&self.rows)?;
        let mut oldest = outbox.unattempted_of(id, ..)?.next().transpose()?.map(|(event, _)| event);
        for row in outbox.retries_of(id)?.take(*retries_left) {
            let (_, event) = row?;
            oldest = oldest.into_iter().chain([event]).min();
            *retries_left -= 1;
        }
        Ok(oldest)
    }
}

#[cfg(test)]
mod tests;
