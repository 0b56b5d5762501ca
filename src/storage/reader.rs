//! Reads what is stored. Any thread may call, but each call can wait for the disk, so the HTTP layer does it beside
//! its executor. All that is read of one [`Snapshot`] is as of one commit.

mod found;
mod pending;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadableTableMetadata as _;

use self::found::{Found, NewestFirst, PENDING, Source};
use super::delivery_record;
use super::dump::{self, DumpError, Manifest};
use super::error::StorageError;
use super::moment::{Moment, SharedMoment};
use super::outbox::{Outbox, Pending};
use super::record::{EventRow, History};
use super::registry::Registry;
use super::service_time::Seen;
use super::tables;
use crate::clock::Readings;
use crate::domain::delivery::Delivery;
use crate::domain::event_type::EventType;
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId, Timestamp};

/// A way to what is stored; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    moment: Arc<SharedMoment>,
}

/// Everything as of one commit, whatever is committed meanwhile. The database can use none of its pages again until it
/// is dropped, so it is kept for one request and no longer.
pub struct Snapshot {
    moment: Arc<Moment>,
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<C> {
    /// How many items at most.
    pub limit: usize,
    /// How many to pass over.
    pub offset: usize,
    /// Only what comes after this item in the order of the list.
    pub after: Option<C>,
}

/// A page ends after so many bytes of rows, if it has one at least, as events can be long.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// How many items the whole list has.
    pub total: usize,
    /// Are there items after these?
    pub has_more: bool,
}

/// Which deliveries are wanted; `None` is any.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of these subscriptions.
    pub subscriptions: Vec<SubscriptionId>,
    /// In this state (a word of `DeliveryState::NAMES`).
    pub status: Option<&'static str>,
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Made from this time on.
    pub since: Option<Timestamp>,
    /// Made before this time.
    pub until: Option<Timestamp>,
    /// Whose last attempt was answered so.
    pub response_code: Option<u16>,
}

/// The outbox in figures.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// How many deliveries are pending.
    pub pending: Pending,
    /// When the oldest of them was made; of those that wait for a further attempt, 10,000 are looked at.
    pub oldest: Option<Timestamp>,
}

/// Retries are not kept by age, and reading all of a long backlog for one figure would be too much.
const LOOKED_AT: usize = 10_000;

/// A never attempted delivery of some subscription, with its event if that was read along.
pub type FreshRow = (EventId, Option<Arc<EventRow>>);

/// Which events are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventFilter {
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Made from this time on.
    pub since: Option<Timestamp>,
    /// Made before this time.
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
    pub(super) fn new(moment: Arc<SharedMoment>) -> Self {
        Self { moment }
    }

    /// Everything as of now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { moment: self.moment.get() }
    }

    /// Accounts, keys and subscriptions as they are now; never waits for the disk.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.moment.get().registry)
    }

    /// The time that is dated with now, as the writer would see it at these readings.
    #[must_use]
    pub fn now(&self, Readings { wall, steady }: Readings) -> Timestamp {
        self.moment.get().calendar.at(wall, steady).0.now()
    }

    /// Writes a backup of one moment; `progress` is told how many rows of how many are written.
    pub fn back_up(
        &self,
        out: impl std::io::Write,
        created_at: Timestamp,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Manifest, DumpError> {
        dump::write(&self.moment.get().rows, tables::FORMAT_VERSION, out, created_at, progress)
    }
}

impl Snapshot {
    /// Accounts, keys and subscriptions.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.moment.registry
    }

    /// How much of the time until then does not count for retention.
    pub fn left_out(&self) -> Result<Duration, StorageError> {
        let seen = Seen::of(&self.moment.rows.open_table(tables::META)?, None)?;
        Ok(seen.gaps.unconfirmed())
    }

    /// One event of an account.
    pub fn event(&self, account: AccountId, id: EventId) -> Result<Option<EventRow>, StorageError> {
        let events = self.moment.rows.open_table(tables::EVENTS)?;
        events.get((account.0, id.0))?.map(|row| EventRow::decode(row.value())).transpose()
    }

    /// One delivery. `None` if there is no such delivery; whose it is, is for the caller to check.
    pub fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StorageError> {
        let moment = &self.moment;
        let place = (id.subscription.0, id.event.0);
        if let Some(row) = moment.rows.open_table(tables::DELIVERIES)?.get(place)? {
            return delivery_record::decode(row.value()).map(Some);
        }
        let fresh = Outbox::of(&moment.rows)?.fresh(id)?;
        Ok(fresh.and_then(EventType::from_number).map(|event_type| Delivery::fresh(event_type, id.event.time())))
    }

    /// The health and the last attempts of a subscription.
    pub fn history(&self, id: SubscriptionId) -> Result<History, StorageError> {
        Ok(Outbox::of(&self.moment.rows)?.history(id)?.unwrap_or_default())
    }

    /// Since when the endpoints of these subscriptions have been failing, in their order.
    pub fn failing_since(&self, ids: &[SubscriptionId]) -> Result<Vec<Option<Timestamp>>, StorageError> {
        let outbox = Outbox::of(&self.moment.rows)?;
        ids.iter().map(|id| Ok(outbox.history(*id)?.and_then(|history| history.health.failing_since))).collect()
    }

    /// Events of an account, newest first.
    pub fn events(
        &self,
        account: AccountId,
        filter: EventFilter,
        request: PageRequest<EventId>,
    ) -> Result<Page<(EventId, EventRow)>, StorageError> {
        let events = self.moment.rows.open_table(tables::EVENTS)?;
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
        let moment = &self.moment;
        let outbox = Outbox::of(&moment.rows)?;
        let attempted = moment.rows.open_table(tables::DELIVERIES)?;
        let (first, last) = range_of(filter.since, filter.until);
        let mut collector = Collector::new(&request);
        if first > last {
            return Ok(collector.page);
        }
        let known = Self::count_without_reading(moment, filter)?;
        let wants_fresh = filter.response_code.is_none() && filter.status.is_none();
        let mut sources: Vec<Source<'_>> = Vec::new();
        // What lies before the cursor is read only to be counted.
        let last = request.after.filter(|_| known.is_some()).map_or(last, |after| last.min(after.event.0));
        for id in &filter.subscriptions {
            let rows = attempted.range((id.0, first)..=(id.0, last))?.rev().map(|row| {
                let (key, value) = row?;
                Ok((key.value(), Found::Row(value)))
            });
            sources.push(Box::new(rows));
            if wants_fresh {
                let rows = outbox.fresh_of(*id, EventId(first)..=EventId(last))?.rev().map(|row| {
                    let (event, number) = row?;
                    Ok(((id.0, event.0), Found::Fresh(number)))
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

    /// How many deliveries fit, where that can be told without reading them: the filter asks for all that there are, and
    /// no deleted subscription has rows left.
    fn count_without_reading(moment: &Moment, filter: &DeliveryFilter) -> Result<Option<usize>, StorageError> {
        let DeliveryFilter { subscriptions, status, event_type, since, until, response_code } = filter;
        let is_narrow = status.is_some() || event_type.is_some() || since.is_some() || until.is_some();
        if is_narrow || response_code.is_some() || !moment.rows.open_table(tables::PURGES)?.is_empty()? {
            return Ok(None);
        }
        let wanted: BTreeSet<u32> = subscriptions.iter().map(|id| id.0).collect();
        if !moment.registry.subscriptions().all(|subscription| wanted.contains(&subscription.id.0)) {
            return Ok(None);
        }
        let attempted = moment.rows.open_table(tables::DELIVERIES)?.len()?;
        Ok(usize::try_from(attempted.saturating_add(moment.pending.fresh)).ok())
    }

    /// Up to `limit` never attempted deliveries of a subscription, oldest first, after that event; with their events,
    /// as far as their bodies together have at most `bodies_bytes`.
    pub fn fresh_after(
        &self,
        id: SubscriptionId,
        after: Option<EventId>,
        limit: usize,
        bodies_bytes: usize,
    ) -> Result<Vec<FreshRow>, StorageError> {
        let moment = &self.moment;
        let Some(account) = moment.registry.subscription(id).map(|subscription| subscription.account) else {
            return Ok(Vec::new());
        };
        let outbox = Outbox::of(&moment.rows)?;
        let events = moment.rows.open_table(tables::EVENTS)?;
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut left = bodies_bytes;
        let mut page = Vec::with_capacity(limit);
        for row in outbox.fresh_of(id, (first, Bound::Unbounded))?.take(limit) {
            let (event, _) = row?;
            let mut found = None;
            if left > 0
                && let Some(bytes) = events.get((account.0, event.0))?
            {
                left = left.saturating_sub(bytes.value().len());
                // A damaged row is left to the thread that makes the attempt, where it costs only this delivery.
                found = EventRow::decode(bytes.value()).ok().map(Arc::new);
            }
            page.push((event, found));
        }
        Ok(page)
    }

    /// How much is pending, and since when.
    pub fn backlog(&self) -> Result<Backlog, StorageError> {
        let moment = &self.moment;
        let outbox = Outbox::of(&moment.rows)?;
        let mut oldest: Option<EventId> = None;
        let mut offer = |event: EventId| oldest = Some(oldest.map_or(event, |oldest| oldest.min(event)));
        let mut left = LOOKED_AT;
        for subscription in moment.registry.subscriptions() {
            if let Some(row) = outbox.fresh_of(subscription.id, ..)?.next() {
                offer(row?.0);
            }
            for row in outbox.retries_of(subscription.id)?.take(left) {
                offer(row?.1);
                left -= 1;
            }
        }
        Ok(Backlog { pending: moment.pending, oldest: oldest.map(EventId::time) })
    }

    /// Up to `limit` deliveries of a subscription that wait for a further attempt, earliest due first: those that are due
    /// by then, and the first one after them.
    pub fn retries(
        &self,
        id: SubscriptionId,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>, StorageError> {
        let mut rows = Vec::new();
        for row in Outbox::of(&self.moment.rows)?.retries_of(id)?.take(limit) {
            let (due, event) = row?;
            rows.push((due, event));
            if due > until {
                break;
            }
        }
        Ok(rows)
    }
}
