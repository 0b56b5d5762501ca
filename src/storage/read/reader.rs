//! Reads what is stored. Any thread may call, but each call can wait for the disk, so the HTTP layer does it beside
//! its executor. All that is read of one [`ReadView`] is as of one commit.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Readings;
use crate::domain::alert::Notice;
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::Delivery;
use crate::domain::delivery::history::History;
use crate::domain::event::content::EventContent;
use crate::domain::event::find::FindKey;
use crate::domain::gaps::Purpose;
use crate::domain::job::{DeliverySelection, Job, Replay};
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, AuditId, BatchId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::Answering;
use crate::storage::engine::{BatchHead, Pending, Received, RowPosition, RowsChecked, Selected, StoreVitals, View};
pub use crate::storage::engine::{PendingEvent, Retry};
use crate::storage::error::StorageError;
use crate::storage::lease::Lease;
use crate::storage::maintenance::{DumpError, Manifest};
use crate::storage::nodes::NodeStatus;
pub use crate::storage::read::event::{StoredEvent, WaitsFor};
pub use crate::storage::read::filter::{DeliveryFilter, EventFilter};
use crate::storage::read::find::{self, Wanted};
pub use crate::storage::read::page::{PAGE_BYTES, Page, PageRequest, ReadLimit};
use crate::storage::read::registry::Registry;
use crate::storage::read::snapshot::{SharedSnapshot, Snapshot};

/// A reader of the store; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    snapshot: Arc<SharedSnapshot>,
}

/// Everything as of one commit, whatever is committed meanwhile. Accounts, keys and subscriptions may be as of an earlier
/// one. The database can use no page, or row, again until it is dropped, so it is kept for one request and no longer.
pub struct ReadView {
    snapshot: Arc<Snapshot>,
    view: Arc<dyn View>,
    limit: ReadLimit,
}

/// Figures of the outbox.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// How many deliveries are pending.
    pub pending: Pending,
    /// Creation time of the oldest one that is sent and not held; at most 10,000 retries are read for it.
    pub oldest: Option<Timestamp>,
    /// The same of those that are held for a disabled subscription.
    pub oldest_held: Option<Timestamp>,
    /// The same of those that are read, and not acknowledged.
    pub oldest_in_feeds: Option<Timestamp>,
}

/// Retries are not ordered by age, and reading a whole backlog for one figure would be too expensive.
const SCANNED_MAX: usize = 10_000;

impl Reader {
    pub(in crate::storage) fn new(snapshot: Arc<SharedSnapshot>) -> Self {
        Self { snapshot }
    }

    /// Everything as of now.
    #[must_use]
    pub fn view(&self) -> ReadView {
        self.view_within(ReadLimit::default())
    }

    /// The same, whose lists end early at that limit.
    #[must_use]
    pub fn view_within(&self, limit: ReadLimit) -> ReadView {
        let snapshot = self.snapshot.get();
        ReadView { view: Arc::clone(&snapshot.view).of_one_request(), snapshot, limit }
    }

    /// The current accounts, keys and subscriptions; never waits for the disk.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.snapshot.get().registry)
    }

    /// How large the store is, and the room that it has. May wait for the file system.
    #[must_use]
    pub fn vitals(&self) -> StoreVitals {
        self.snapshot.engine().vitals()
    }

    /// Until when this process may act for the store.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.snapshot.engine().lease()
    }

    /// What answers the requests that servers on standby pass on, if there can be any.
    #[must_use]
    pub fn answering(&self) -> Option<Answering> {
        self.snapshot.engine().answering()
    }

    /// The servers that use the store; none: one process has it for itself. May wait for the database.
    pub fn nodes(&self) -> Result<Option<Vec<NodeStatus>>, StorageError> {
        self.snapshot.engine().nodes()
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
        self.snapshot.engine().back_up(out, created_at, progress)
    }
}

impl ReadView {
    /// Accounts, keys and subscriptions.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.snapshot.registry
    }

    /// What is from before this time is older than `age` at that time, without what does not count against endpoints.
    pub fn endpoint_cutoff(&self, now: Timestamp, age: Duration) -> Result<Timestamp, StorageError> {
        Ok(self.view.seen()?.gaps.cutoff(now, age, Purpose::Health))
    }

    /// How much of the time until then does not count for retention.
    pub fn left_out(&self) -> Result<Duration, StorageError> {
        Ok(self.view.seen()?.gaps.unconfirmed())
    }

    /// Records of an account's audit from that time span, newest first. One that is damaged is left out.
    pub fn audit(
        &self,
        account: AccountId,
        span: (Option<Timestamp>, Option<Timestamp>),
        request: PageRequest<AuditId>,
    ) -> Result<Page<AuditId, AuditRecord>, StorageError> {
        let Page { items, total, is_exact, next } = self.view.audit(account, span, request, &self.limit)?;
        let readable = items.into_iter().filter_map(|(id, record)| match record {
            Ok(record) => Some((id, record)),
            Err(error) => {
                log::error!("{id} cannot be read, and is left out: {error}");
                None
            }
        });
        Ok(Page { items: readable.collect(), total, is_exact, next })
    }

    /// One event of an account.
    pub fn event(&self, account: AccountId, id: EventId) -> Result<Option<StoredEvent>, StorageError> {
        Ok(self.view.event(account, id)?.map(StoredEvent::of))
    }

    /// What is sent of it; its receivers are not read.
    pub fn event_content(&self, account: AccountId, id: EventId) -> Result<Option<EventContent>, StorageError> {
        self.view.event_to_send(account, id)
    }

    /// A delivery of a subscription that there is; the caller checks its account.
    pub fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StorageError> {
        let Some(subscription) = self.registry().subscription(id.subscription) else { return Ok(None) };
        self.view.delivery(subscription.account, id)
    }

    /// The health and the last attempts of a subscription.
    pub fn history(&self, id: SubscriptionId) -> Result<History, StorageError> {
        Ok(self.view.history(id)?.unwrap_or_default())
    }

    /// How many events of its types did not fit the filter of a subscription with that history.
    pub fn filtered(&self, subscription: &Subscription, history: &History) -> Result<u64, StorageError> {
        let counts = self.view.counts(subscription.account, Some(subscription.id))?;
        Ok(history.filtered.saturating_add(counts.filtered()))
    }

    /// Since when the endpoints of these subscriptions have been failing, in the same order.
    pub fn failing_since(&self, ids: &[SubscriptionId]) -> Result<Vec<Option<Timestamp>>, StorageError> {
        let view = &*self.view;
        ids.iter().map(|id| Ok(view.history(*id)?.and_then(|history| history.health.failing_since))).collect()
    }

    /// Events of an account, newest first.
    pub fn events(
        &self,
        account: AccountId,
        filter: EventFilter,
        request: PageRequest<EventId>,
    ) -> Result<Page<EventId, StoredEvent>, StorageError> {
        Ok(self.view.events(account, filter, request, &self.limit)?.map(StoredEvent::of))
    }

    /// Deliveries of the filter's subscriptions, newest event first.
    pub fn deliveries(
        &self,
        filter: &DeliveryFilter,
        request: PageRequest<DeliveryId>,
    ) -> Result<Page<DeliveryId, Delivery>, StorageError> {
        let known = if filter.is_counted() { usize::try_from(self.count(filter)?).ok() } else { None };
        self.view.deliveries(filter, request, known, &self.limit)
    }

    /// The tags of an event.
    pub fn tags(&self, account: AccountId, id: EventId) -> Result<Vec<Box<str>>, StorageError> {
        self.view.tags(account, id)
    }

    /// Events of an account that have all these ids and tags, newest first.
    pub fn events_with(
        &self,
        account: AccountId,
        keys: &[FindKey],
        filter: EventFilter,
        request: PageRequest<EventId>,
    ) -> Result<Page<EventId, StoredEvent>, StorageError> {
        let page = find::events(&*self.view, &Wanted { account, keys }, filter, request, &self.limit)?;
        Ok(page.map(StoredEvent::of))
    }

    /// Deliveries of the filter's subscriptions, of events of an account that have all these ids and tags, newest event
    /// first.
    pub fn deliveries_with(
        &self,
        account: AccountId,
        keys: &[FindKey],
        filter: &DeliveryFilter,
        request: PageRequest<DeliveryId>,
    ) -> Result<Page<DeliveryId, Delivery>, StorageError> {
        find::deliveries(&*self.view, &Wanted { account, keys }, filter, request, &self.limit)
    }

    /// How many deliveries its subscriptions have with its status.
    fn count(&self, filter: &DeliveryFilter) -> Result<u64, StorageError> {
        let counted = |subscription| {
            let counts = self.view.counts(filter.account, subscription)?;
            Ok(filter.status.map_or_else(|| counts.deliveries(), |status| counts.with_status(status)))
        };
        // Only those of the account are asked for, so as many are all.
        if filter.subscriptions.len() == self.registry().subscriptions_of(filter.account).len() {
            return counted(None);
        }
        filter.subscriptions.iter().map(|id| counted(Some(*id))).sum()
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
        let Some(subscription) = self.registry().subscription(id) else { return Ok(Vec::new()) };
        self.view.unattempted_after((subscription.account, id), after, limit, bodies_bytes)
    }

    /// The alerts that wait to be handed over, oldest first.
    pub fn notices(&self) -> Result<Vec<Notice>, StorageError> {
        self.view.notices()
    }

    /// Of when the last backup is that is known of.
    pub fn last_backup(&self) -> Result<Option<Timestamp>, StorageError> {
        self.view.last_backup()
    }

    /// The events of an account that went to a subscription, after the first and up to the second of these, oldest first,
    /// among so many.
    pub(in crate::storage) fn received(
        &self,
        subscription: &Subscription,
        span: (EventId, EventId),
        looked_at: usize,
    ) -> Result<Received, StorageError> {
        self.view.received((subscription.account, subscription.id), span, looked_at)
    }

    /// The jobs of an account, newest first.
    pub fn jobs(&self, account: AccountId) -> Result<Vec<Job>, StorageError> {
        self.view.jobs(account)
    }

    /// Counts what is selected among up to so many attempted deliveries of an account behind that one. Gives where to go
    /// on, unless that was all.
    pub fn count_selected(
        &self,
        account: AccountId,
        which: &DeliverySelection,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<(u64, Option<DeliveryId>), StorageError> {
        let all =
            self.registry().subscriptions_of(account).iter().filter(|found| !found.is_pull()).map(|found| found.id);
        let wanted: Vec<_> = all.filter(|id| which.subscription.is_none_or(|wanted| wanted == *id)).collect();
        let Selected { deliveries, last, is_end } = self.view.select((account, &wanted), which, after, limit)?;
        Ok((deliveries.len() as u64, last.filter(|_| !is_end)))
    }

    /// Counts what a replay would make due among up to so many events before that one. Gives where to go on, unless that was
    /// all.
    pub fn count_replay(
        &self,
        account: AccountId,
        replay: &Replay,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<(u64, Option<EventId>), StorageError> {
        let Some(subscription) = self.registry().subscription_of(account, replay.subscription) else {
            return Ok((0, None));
        };
        let filter = EventFilter { event_type: None, since: Some(replay.since), until: Some(replay.until) };
        let Page { items, next, .. } = self.events(account, filter, PageRequest { limit, offset: 0, after })?;
        let mut count = 0;
        for (event, StoredEvent { content, .. }) in items {
            if content.erased().is_none() && replay.is_about(content.event_type, &subscription.events) {
                let delivery = self.delivery(DeliveryId { event, subscription: replay.subscription })?;
                let filter = subscription.options.filter.as_ref().filter(|_| delivery.is_none());
                let fits = filter.is_none_or(|filter| filter.fits_body(content.body()));
                count += u64::from(fits && replay.only.includes(delivery.map(|delivery| delivery.state)));
            }
        }
        Ok((count, next))
    }

    /// Number of pending deliveries, and the ages of the oldest ones.
    pub fn backlog(&self) -> Result<Backlog, StorageError> {
        let snapshot = &self.snapshot;
        let mut found = Backlog { pending: snapshot.pending, oldest: None, oldest_held: None, oldest_in_feeds: None };
        let mut left = SCANNED_MAX;
        for subscription in snapshot.registry.subscriptions() {
            let (oldest, of_this) = if subscription.state.is_active() && subscription.is_pull() {
                (&mut found.oldest_in_feeds, self.unacknowledged_since(subscription)?)
            } else {
                let oldest = if subscription.state.is_active() { &mut found.oldest } else { &mut found.oldest_held };
                (oldest, self.view.oldest_pending(subscription.id, &mut left)?.map(EventId::time))
            };
            *oldest = (*oldest).into_iter().chain(of_this).min();
        }
        Ok(found)
    }

    /// How many rows a check of all of them comes to.
    pub(in crate::storage) fn row_count(&self) -> Result<u64, StorageError> {
        self.view.row_count()
    }

    /// Compares up to so many rows with their digests, from that position on.
    pub(in crate::storage) fn check_rows(&self, from: &RowPosition, limit: usize) -> Result<RowsChecked, StorageError> {
        self.view.check_rows(from, limit)
    }

    /// Up to `limit` retries of a subscription, earliest due first: those due by then, and the first one after them.
    pub fn retries(&self, id: SubscriptionId, until: Timestamp, limit: usize) -> Result<Vec<Retry>, StorageError> {
        self.view.retries(id, until, limit)
    }

    /// What a delivery waits for that is not in its lane; none if it is, or is not pending.
    pub fn waits_for(&self, id: DeliveryId) -> Result<Option<WaitsFor>, StorageError> {
        Ok(self.view.waiting(id)?.map(|row| WaitsFor::of(row.batch)))
    }

    /// A batch with its members, oldest event first.
    pub fn batch(&self, id: SubscriptionId, batch: BatchId) -> Result<Option<(BatchHead, Vec<EventId>)>, StorageError> {
        self.view.batch(id, batch)
    }
}
