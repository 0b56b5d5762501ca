//! Reads what is stored. Any thread may call, but each call can wait for the disk, so the HTTP layer does it beside
//! its executor. All that is read of one [`ReadView`] is as of one commit.

mod found;
mod pending;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadableTableMetadata as _;

use crate::clock::Readings;
use crate::domain::delivery::Delivery;
use crate::domain::event::event_type::EventType;
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::Pending;
use crate::storage::error::StorageError;
pub use crate::storage::read::filter::DeliveryFilter;
use crate::storage::read::reader::found::{FoundDelivery, NewestFirst, PENDING, RowIter};
use crate::storage::read::registry::Registry;
use crate::storage::read::snapshot::{SharedSnapshot, Snapshot};
use crate::storage::redb::copy::dump::{self, DumpError, Manifest};
use crate::storage::redb::outbox::Outbox;
use crate::storage::redb::tables;
use crate::storage::redb::time;
use crate::storage::rows::delivery_record;
use crate::storage::rows::record::{EventRow, History};

/// A reader of the store; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    snapshot: Arc<SharedSnapshot>,
}

/// Everything as of one commit, whatever is committed meanwhile. The database can use none of its pages again until it
/// is dropped, so it is kept for one request and no longer.
pub struct ReadView {
    snapshot: Arc<Snapshot>,
}

/// A request for a page of a list.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<C> {
    /// Maximum number of items.
    pub limit: usize,
    /// Number of items to skip.
    pub offset: usize,
    /// Only items after this one, in list order.
    pub after: Option<C>,
}

/// A page ends after so many bytes of rows, if it has one at least, as events can be long.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Number of items in the whole list.
    pub total: usize,
    /// Whether there are more items.
    pub has_more: bool,
}

/// Figures of the outbox.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// How many deliveries are pending.
    pub pending: Pending,
    /// Creation time of the oldest one that is not held; at most 10,000 retries are read for it.
    pub oldest: Option<Timestamp>,
    /// The same of those that are held for a disabled subscription.
    pub oldest_held: Option<Timestamp>,
}

/// Retries are not ordered by age, and reading a whole backlog for one figure would be too expensive.
const SCANNED_MAX: usize = 10_000;

/// An unattempted delivery, with its event if that was read too.
pub type PendingEvent = (EventId, Option<Arc<EventRow>>);

/// A filter of events.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventFilter {
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Created at or after this time.
    pub since: Option<Timestamp>,
    /// Created before this time.
    pub until: Option<Timestamp>,
}

fn range_of(since: Option<Timestamp>, until: Option<Timestamp>) -> (u128, u128) {
    let first = since.map_or(0, |time| EventId::first_at(time).0);
    (first, until.map_or(u128::MAX, |time| EventId::first_at(time).0.saturating_sub(1)))
}

struct Collector<T> {
    limit: usize,
    offset: usize,
    bytes_left: usize,
    page: Page<T>,
}

impl<T> Collector<T> {
    fn new<C>(request: &PageRequest<C>) -> Self {
        let page = Page { items: Vec::new(), total: 0, has_more: false };
        Self { limit: request.limit, offset: request.offset, bytes_left: PAGE_BYTES, page }
    }

    /// Counts an item of so many bytes, and keeps it if it lies on the page.
    fn offer(
        &mut self,
        is_after: bool,
        bytes: usize,
        item: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<(), StorageError> {
        self.page.total += 1;
        if !is_after {
            return Ok(());
        }
        if self.offset > 0 {
            self.offset -= 1;
        } else if self.has_room(bytes) {
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            self.page.items.push(item()?);
        } else {
            self.page.has_more = true;
        }
        Ok(())
    }

    /// An item that has none ends the page: a shorter one behind it must not come before it.
    fn has_room(&self, bytes: usize) -> bool {
        let Page { items, has_more, .. } = &self.page;
        !has_more && items.len() < self.limit && (bytes <= self.bytes_left || items.is_empty())
    }
}

impl Reader {
    pub(in crate::storage) fn new(snapshot: Arc<SharedSnapshot>) -> Self {
        Self { snapshot }
    }

    /// Everything as of now.
    #[must_use]
    pub fn view(&self) -> ReadView {
        ReadView { snapshot: self.snapshot.get() }
    }

    /// The current accounts, keys and subscriptions; never waits for the disk.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.snapshot.get().registry)
    }

    /// The time that is dated with now, as the writer would see it at these readings.
    #[must_use]
    pub fn now(&self, Readings { wall, monotonic }: Readings) -> Timestamp {
        self.snapshot.get().calendar.at(wall, monotonic).0.now()
    }

    /// Writes a backup of one snapshot; `progress` is called with the rows written and the total.
    pub fn back_up(
        &self,
        out: impl std::io::Write,
        created_at: Timestamp,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Manifest, DumpError> {
        dump::write(&self.snapshot.get().rows, tables::FORMAT_VERSION, out, created_at, progress)
    }
}

impl ReadView {
    /// Accounts, keys and subscriptions.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.snapshot.registry
    }

    /// How much of the time until then does not count for retention.
    pub fn left_out(&self) -> Result<Duration, StorageError> {
        let seen = time::read(&self.snapshot.rows.open_table(tables::META)?, None)?;
        Ok(seen.gaps.unconfirmed())
    }

    /// One event of an account.
    pub fn event(&self, account: AccountId, id: EventId) -> Result<Option<EventRow>, StorageError> {
        let events = self.snapshot.rows.open_table(tables::EVENTS)?;
        events.get((account.0, id.0))?.map(|row| EventRow::decode(row.value())).transpose()
    }

    /// A delivery, if it exists; the caller checks its account.
    pub fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StorageError> {
        let snapshot = &self.snapshot;
        let place = (id.subscription.0, id.event.0);
        if let Some(row) = snapshot.rows.open_table(tables::DELIVERIES)?.get(place)? {
            return delivery_record::decode(row.value()).map(Some);
        }
        let unattempted = Outbox::of(&snapshot.rows)?.unattempted(id)?;
        Ok(unattempted
            .and_then(EventType::from_number)
            .map(|event_type| Delivery::unattempted(event_type, id.event.time())))
    }

    /// The health and the last attempts of a subscription.
    pub fn history(&self, id: SubscriptionId) -> Result<History, StorageError> {
        Ok(Outbox::of(&self.snapshot.rows)?.history(id)?.unwrap_or_default())
    }

    /// Since when the endpoints of these subscriptions have been failing, in the same order.
    pub fn failing_since(&self, ids: &[SubscriptionId]) -> Result<Vec<Option<Timestamp>>, StorageError> {
        let outbox = Outbox::of(&self.snapshot.rows)?;
        ids.iter().map(|id| Ok(outbox.history(*id)?.and_then(|history| history.health.failing_since))).collect()
    }

    /// Events of an account, newest first.
    pub fn events(
        &self,
        account: AccountId,
        filter: EventFilter,
        request: PageRequest<EventId>,
    ) -> Result<Page<(EventId, EventRow)>, StorageError> {
        let events = self.snapshot.rows.open_table(tables::EVENTS)?;
        let (first, last) = range_of(filter.since, filter.until);
        let mut collector = Collector::new(&request);
        if first > last {
            return Ok(collector.page);
        }
        for row in events.range((account.0, first)..=(account.0, last))?.rev() {
            let (key, value) = row?;
            let id = EventId(key.value().1);
            if let Some(wanted) = filter.event_type
                && EventRow::decode_type(value.value())? != wanted
            {
                continue;
            }
            let is_after = request.after.is_none_or(|after| id < after);
            collector.offer(is_after, value.value().len(), || Ok((id, EventRow::decode(value.value())?)))?;
        }
        Ok(collector.page)
    }

    /// Deliveries of the filter's subscriptions, newest event first.
    pub fn deliveries(
        &self,
        filter: &DeliveryFilter,
        request: PageRequest<DeliveryId>,
    ) -> Result<Page<(DeliveryId, Delivery)>, StorageError> {
        if filter.status == Some(PENDING) {
            return self.pending_deliveries(filter, request);
        }
        let snapshot = &self.snapshot;
        let outbox = Outbox::of(&snapshot.rows)?;
        let attempted = snapshot.rows.open_table(tables::DELIVERIES)?;
        let (first, last) = range_of(filter.since, filter.until);
        let mut collector = Collector::new(&request);
        if first > last {
            return Ok(collector.page);
        }
        let known = Self::count_from_metadata(snapshot, filter)?;
        let wants_unattempted = filter.response_code.is_none() && filter.status.is_none();
        let mut sources: Vec<RowIter<'_>> = Vec::new();
        // Rows before the cursor would be read only to count them.
        let last = request.after.filter(|_| known.is_some()).map_or(last, |after| last.min(after.event.0));
        for id in &filter.subscriptions {
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
        for item in NewestFirst::new(sources)? {
            let (id, found) = item?;
            let is_after = request.after.is_none_or(|after| id < after);
            if found.is_wanted(filter)? {
                collector.offer(is_after, found.bytes(), || Ok((id, found.delivery(id)?)))?;
            }
            if known.is_some() && collector.page.has_more {
                break;
            }
        }
        let Page { total, .. } = collector.page;
        Ok(Page { total: known.unwrap_or(total), ..collector.page })
    }

    /// Number of matching deliveries where it is known without reading them: the filter matches all deliveries, and no
    /// deleted subscription has rows left.
    fn count_from_metadata(snapshot: &Snapshot, filter: &DeliveryFilter) -> Result<Option<usize>, StorageError> {
        let DeliveryFilter { subscriptions, status, event_type, since, until, response_code } = filter;
        let is_narrow = status.is_some() || event_type.is_some() || since.is_some() || until.is_some();
        if is_narrow || response_code.is_some() || !snapshot.rows.open_table(tables::PURGES)?.is_empty()? {
            return Ok(None);
        }
        let wanted: BTreeSet<u32> = subscriptions.iter().map(|id| id.0).collect();
        if !snapshot.registry.subscriptions().all(|subscription| wanted.contains(&subscription.id.0)) {
            return Ok(None);
        }
        let attempted = snapshot.rows.open_table(tables::DELIVERIES)?.len()?;
        Ok(usize::try_from(attempted.saturating_add(snapshot.pending.unattempted)).ok())
    }

    /// Up to `limit` unattempted deliveries of a subscription after that event, oldest first, with their events as long
    /// as the bodies' total is at most `bodies_bytes`.
    pub fn unattempted_after(
        &self,
        id: SubscriptionId,
        after: Option<EventId>,
        limit: usize,
        bodies_bytes: usize,
    ) -> Result<Vec<PendingEvent>, StorageError> {
        let snapshot = &self.snapshot;
        let Some(account) = snapshot.registry.subscription(id).map(|subscription| subscription.account) else {
            return Ok(Vec::new());
        };
        let outbox = Outbox::of(&snapshot.rows)?;
        let events = snapshot.rows.open_table(tables::EVENTS)?;
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

    /// Number of pending deliveries, and the age of the oldest and of the oldest held one.
    pub fn backlog(&self) -> Result<Backlog, StorageError> {
        let snapshot = &self.snapshot;
        let outbox = Outbox::of(&snapshot.rows)?;
        let (mut oldest, mut oldest_held): (Option<EventId>, Option<EventId>) = (None, None);
        let mut left = SCANNED_MAX;
        for subscription in snapshot.registry.subscriptions() {
            let oldest = if subscription.state.is_active() { &mut oldest } else { &mut oldest_held };
            let mut offer = |event: EventId| *oldest = Some(oldest.map_or(event, |oldest| oldest.min(event)));
            if let Some(row) = outbox.unattempted_of(subscription.id, ..)?.next() {
                offer(row?.0);
            }
            for row in outbox.retries_of(subscription.id)?.take(left) {
                offer(row?.1);
                left -= 1;
            }
        }
        let (oldest, oldest_held) = (oldest.map(EventId::time), oldest_held.map(EventId::time));
        Ok(Backlog { pending: snapshot.pending, oldest, oldest_held })
    }

    /// Up to `limit` retries of a subscription, earliest due first: those due by then, and the first one after them.
    pub fn retries(
        &self,
        id: SubscriptionId,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>, StorageError> {
        let mut rows = Vec::new();
        for row in Outbox::of(&self.snapshot.rows)?.retries_of(id)?.take(limit) {
            let (due, event) = row?;
            rows.push((due, event));
            if due > until {
                break;
            }
        }
        Ok(rows)
    }
}
