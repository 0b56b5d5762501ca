//! The seam between what a store does and what it keeps its rows in. The rules, the writer and the readers speak of
//! events, the outbox, deliveries, histories and metadata, and an engine knows where those lie. Traits and the types
//! that they need; the writer has the one transaction, any thread may have views.

mod check;
mod outbox;

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::domain::access::{ApiKey, Session, SessionId};
use crate::domain::alert::{AlertKind, Notice, Told};
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::history::History;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::IdempotencyKey;
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::event::find::FindKey;
use crate::domain::gaps::Gaps;
use crate::domain::job::{DeliverySelection, Job};
use crate::domain::options::order::OrderKey;
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, AuditId, BatchId, DeliveryId, EventId, JobId, KeyId, SubscriptionId, Timestamp};
pub use crate::storage::counts::Pending;
use crate::storage::counts::{Counts, Kind};
use crate::storage::error::StorageError;
use crate::storage::read::filter::{DeliveryFilter, EventFilter};
use crate::storage::read::page::{Page, PageRequest, ReadLimit};
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rows::record::{EventHead, EventRow, IdempotencyRow};
use crate::storage::rules::service_time::Seen;

pub use self::check::{RowPosition, RowsChecked};
pub use self::outbox::{BatchHead, OutboxTx};

type Result<T> = std::result::Result<T, StorageError>;

/// Something that was found, or how it is damaged: that concerns this row alone, and not the store.
pub type Stored<T> = std::result::Result<T, StorageError>;

/// What keeps the rows.
pub trait Engine: Send + Sync + 'static {
    /// What a commit makes durable as a whole, or not at all.
    type Transaction: Transaction;
    /// Everything as of one commit.
    type View: View;

    /// Begins the only transaction that writes.
    fn begin(&self) -> Result<Self::Transaction>;
    /// Everything as of the last commit.
    fn view(&self) -> Result<Self::View>;
    /// Is this process still the only one that may write? A commit is not acknowledged otherwise.
    fn check_owner(&self) -> Result<()>;
    /// How much the store takes, and how much more it can take. May wait for the file system.
    fn vitals(&self) -> StoreVitals;
    /// Leaves everything as it is after an error: nothing more is written, not even in closing.
    fn abandon(&self);
}

/// How large a store is, and the room that it has.
#[derive(Clone, Copy, Debug)]
pub struct StoreVitals {
    /// Bytes that it takes.
    pub size_bytes: u64,
    /// Bytes that are free for it; `None` if unknown.
    pub free_bytes: Option<u64>,
}

/// An open write transaction, of which nothing is left if it is dropped.
pub trait Transaction {
    /// Its rows.
    type Tx<'a>: Tx
    where
        Self: 'a;

    /// Opens the rows, once.
    fn rows(&self) -> Result<Self::Tx<'_>>;
    /// Returns when everything is durable.
    fn commit(self) -> Result<()>;
}

/// What has its numbers from a counter that never goes back.
#[derive(Clone, Copy, Debug)]
pub enum Numbered {
    /// Accounts.
    Account,
    /// API keys.
    Key,
    /// Subscriptions.
    Subscription,
}

/// How far retention has come in an account. Everything up to there was passed once and is not looked at again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// Events up to this one were removed or are kept.
    pub events: EventId,
    /// Attempts of events up to this one were removed or are kept.
    pub attempts: EventId,
    /// This event is gone, and some of its outcomes are still there.
    pub removing: Option<EventId>,
}

impl Front {
    /// Whether it lies behind every event that there can be at that time, so that events would never be passed.
    #[must_use]
    pub fn is_beyond(self, now: Timestamp) -> bool {
        self.events.max(self.attempts).time() > now
    }
}

/// What is due for removal, by when it was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueKind {
    /// The event with everything.
    Event = 0,
    /// The attempts of one delivery.
    Attempts = 1,
}

/// Something that retention comes back to, because it was not settled, or not for long enough, when it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// What is to be removed.
    pub kind: DueKind,
    /// When it was settled.
    pub settled_at: Timestamp,
    /// Whose it is.
    pub account: AccountId,
    /// Which delivery; of an event, subscription 0.
    pub delivery: DeliveryId,
}

/// A step through the attempted deliveries that a job may concern, in an order of the engine's own.
#[derive(Debug)]
pub struct Selected {
    /// Those that are selected.
    pub deliveries: Vec<DeliveryId>,
    /// Behind this one the next step begins.
    pub last: Option<DeliveryId>,
    /// Whether there is nothing behind it.
    pub is_end: bool,
}

/// Events that went to a subscription, found by a walk through the log.
#[derive(Debug)]
pub struct Received {
    /// Oldest first.
    pub events: Vec<EventId>,
    /// The last event that was looked at, or the end of the span.
    pub last: EventId,
    /// Whether the span goes on behind it.
    pub has_more: bool,
}

/// An event, or how its row is damaged.
pub type EventFound = (EventId, Stored<EventRow>);

/// The receiver of an outcome that was removed, and its state, or how it is damaged.
pub type RemovedOutcome = (SubscriptionId, Stored<DeliveryState>);

/// A step of the find index.
#[derive(Clone, Copy, Debug)]
pub struct Indexed {
    /// How many events were added.
    pub count: usize,
    /// Whether there are more.
    pub has_more: bool,
}

/// What a step through the rows of deleted subscriptions has removed.
#[derive(Debug, Default)]
pub struct Purged {
    /// How many rows.
    pub rows: usize,
    /// The account of the subscription and the events of pending deliveries among them.
    pub events: Vec<(AccountId, EventId)>,
    /// Whether there is more to remove.
    pub has_more: bool,
}

/// The rows of a write transaction, with what it has changed itself.
pub trait Tx: OutboxTx {
    /// The next number of a kind: greater than any that was in use, 1 at first.
    fn next_number(&self, kind: Numbered) -> Result<u128>;
    /// Stores the next number of a kind.
    fn put_next_number(&mut self, kind: Numbered, next: u128) -> Result<()>;
    /// Notes how far the store's time has come, and the gaps in it if they have changed.
    fn put_time(&mut self, now: Timestamp, monotonic: Timestamp, gaps: Option<&Gaps>) -> Result<()>;

    /// Stores an account.
    fn put_account(&mut self, id: AccountId, name: &str) -> Result<()>;
    /// Stores an API key.
    fn put_key(&mut self, key: &ApiKey) -> Result<()>;
    /// Removes an API key.
    fn remove_key(&mut self, id: KeyId) -> Result<()>;
    /// Stores a session of the dashboard.
    fn put_session(&mut self, session: &Session) -> Result<()>;
    /// Removes a session of the dashboard.
    fn remove_session(&mut self, id: SessionId) -> Result<()>;
    /// Stores a subscription, its secret sealed if there is a key.
    fn put_subscription(&mut self, subscription: &Subscription) -> Result<()>;
    /// Removes a subscription with its counts, which it gives, and notes that its rows in the outbox are to be removed.
    fn remove_subscription(&mut self, account: AccountId, id: SubscriptionId) -> Result<Counts>;
    /// Removes up to so many rows of subscriptions that were removed.
    fn purge_some(&mut self, limit: usize) -> Result<Purged>;

    /// Counts so many more events of an account, or less.
    fn count_events(&mut self, account: AccountId, more: i64);
    /// Counts an event that did not fit the filter of a subscription.
    fn count_filtered(&mut self, account: AccountId, subscription: SubscriptionId);
    /// Counts so many more deliveries of a kind, or less.
    fn count(&mut self, account: AccountId, subscription: SubscriptionId, kind: Kind, more: i64);

    /// Stores an event.
    fn put_event(&mut self, account: AccountId, id: EventId, event: &EventRow) -> Result<()>;
    /// Stores an event again, with other receivers.
    fn put_receivers(&mut self, account: AccountId, id: EventId, event: &EventRow) -> Result<()>;
    /// Whether the event is stored.
    fn has_event(&mut self, account: AccountId, id: EventId) -> Result<bool>;
    /// The first account behind that one that has events.
    fn account_after(&mut self, id: AccountId) -> Result<Option<AccountId>>;
    /// The type of an event.
    fn event_type(&mut self, account: AccountId, id: EventId) -> Result<Stored<EventType>>;
    /// An event without its body; none if there is none.
    fn event_head(&mut self, account: AccountId, id: EventId) -> Result<Option<Stored<EventHead>>>;
    /// Up to so many events of an account after that one which are older than `before`, oldest first.
    fn events_after(
        &mut self,
        account: AccountId,
        after: EventId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(EventId, Stored<EventHead>)>>;
    /// The members of a set of receivers.
    fn receivers(&self, number: u32) -> Stored<Arc<[SubscriptionId]>>;
    /// Removes an event with its idempotency keys. Its outcomes stay.
    fn remove_event(&mut self, account: AccountId, id: EventId, head: &EventHead) -> Result<()>;
    /// Removes up to so many outcomes of an event. Gives them.
    fn remove_outcomes(&mut self, account: AccountId, id: EventId, limit: usize) -> Result<Vec<RemovedOutcome>>;

    /// Stores how far retention has come in an account.
    fn put_front(&mut self, account: AccountId, front: Front) -> Result<()>;
    /// How many deliveries are pending of an event that retention has passed; none if it was removed or will be.
    fn kept(&self, account: AccountId, event: EventId) -> Result<Option<u32>>;
    /// Stores that, or that it is not kept for them any more.
    fn put_kept(&mut self, account: AccountId, event: EventId, pending: Option<u32>) -> Result<()>;
    /// Stores what retention has to come back to.
    fn put_due(&mut self, due: Due) -> Result<()>;
    /// Takes up to so many of those that were settled before that time, earliest first.
    fn take_due(&mut self, kind: DueKind, before: Timestamp, limit: usize) -> Result<Vec<Due>>;

    /// The publish that an idempotency key was used for.
    fn idempotency(&self, account: AccountId, key: IdempotencyKey) -> Result<Option<Stored<IdempotencyRow>>>;
    /// Stores what an idempotency key was used for.
    fn put_idempotency(&mut self, account: AccountId, key: IdempotencyKey, used_for: &IdempotencyRow) -> Result<()>;

    /// A delivery with an outcome.
    fn delivery(&mut self, account: AccountId, id: DeliveryId) -> Result<Option<Stored<Delivery>>>;
    /// The state of a delivery with an outcome, which is read faster.
    fn delivery_state(&mut self, account: AccountId, id: DeliveryId) -> Result<Option<Stored<DeliveryState>>>;
    /// Stores a delivery with an outcome.
    fn put_delivery(&mut self, account: AccountId, id: DeliveryId, delivery: &Delivery) -> Result<()>;

    /// Stores the tags of an event.
    fn put_tags(&mut self, account: AccountId, id: EventId, tags: &[Box<str>]) -> Result<()>;
    /// The first event of an account after that one, up to `until`, that the find index may have under this key; events
    /// before it are not there under it.
    fn indexed_after(
        &mut self,
        account: AccountId,
        key: &FindKey,
        after: EventId,
        until: EventId,
    ) -> Result<Option<EventId>>;
    /// Stores what is left of an event that is erased, and removes its tags and all that it was found by.
    fn erase_event(&mut self, account: AccountId, id: EventId, left: &EventRow) -> Result<()>;
    /// Stores an alert that waits to be handed over.
    fn put_notice(&mut self, notice: &Notice) -> Result<()>;
    /// Takes an alert out.
    fn take_notice(&mut self, id: EventId) -> Result<Option<Stored<Notice>>>;
    /// Stores when something was told; none: it is forgotten.
    fn put_told(&mut self, kind: AlertKind, of: &str, told: Option<Told>) -> Result<()>;
    /// Notes of when the last backup is.
    fn put_last_backup(&mut self, at: Timestamp) -> Result<()>;
    /// Adds up to so many events of an account to the find index, oldest first of those that are not there.
    fn index_events(&mut self, account: AccountId, limit: usize) -> Result<Indexed>;

    /// Stores a record of the audit.
    fn put_audit(&mut self, record: &AuditRecord) -> Result<()>;
    /// Removes up to so many of an account's records of the audit from before that time, oldest first.
    fn trim_audit(&mut self, account: AccountId, before: Timestamp, limit: usize) -> Result<()>;

    /// Up to so many events of an account with these ids, oldest first, and none after about a mebibyte of them.
    fn event_rows(&mut self, account: AccountId, ids: RangeInclusive<EventId>, limit: usize)
    -> Result<Vec<EventFound>>;

    /// Stores a job.
    fn put_job(&mut self, job: &Job) -> Result<()>;
    /// Removes a job.
    fn remove_job(&mut self, account: AccountId, id: JobId) -> Result<()>;
    /// The jobs of an account, newest first.
    fn jobs(&self, account: AccountId) -> Result<Vec<Job>>;
    /// Looks at up to so many attempted deliveries of these subscriptions behind that one, for a job.
    fn select(
        &mut self,
        whose: (AccountId, &[SubscriptionId]),
        which: &DeliverySelection,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Selected>;

    /// Writes what was held back.
    fn finish(self) -> Result<()>;
}

/// An unattempted delivery.
#[derive(Clone, Debug)]
pub struct PendingEvent {
    /// Of which event.
    pub event: EventId,
    /// What it goes in order by.
    pub key: Option<OrderKey>,
    /// What is sent, if that was read too.
    pub content: Option<Arc<EventContent>>,
}

/// A delivery that waits for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// When it is due.
    pub due: Timestamp,
    /// Of which event.
    pub event: EventId,
    /// What it goes in order by.
    pub key: Option<OrderKey>,
    /// It is no delivery, but a batch of that number.
    pub is_batch: bool,
}

/// Everything as of one commit, whatever is committed meanwhile.
pub trait View: Send + Sync {
    /// The same for one request, or as of a later commit.
    fn of_one_request(self: Arc<Self>) -> Arc<dyn View>;
    /// How far the store's time had come.
    fn seen(&self) -> Result<Seen>;
    /// The alerts that wait to be handed over, oldest first.
    fn notices(&self) -> Result<Vec<Notice>>;
    /// Of when the last backup is that is known of.
    fn last_backup(&self) -> Result<Option<Timestamp>>;
    /// One event of an account.
    fn event(&self, account: AccountId, id: EventId) -> Result<Option<EventRow>>;
    /// What is sent of it; its receivers are not read.
    fn event_to_send(&self, account: AccountId, id: EventId) -> Result<Option<EventContent>>;
    /// A delivery of an account, attempted or not.
    fn delivery(&self, account: AccountId, id: DeliveryId) -> Result<Option<Delivery>>;
    /// A subscription's history, if it has one.
    fn history(&self, id: SubscriptionId) -> Result<Option<History>>;
    /// Events of an account, newest first.
    fn events(
        &self,
        account: AccountId,
        filter: EventFilter,
        request: PageRequest<EventId>,
        limit: &ReadLimit,
    ) -> Result<Page<EventId, EventRow>>;
    /// Deliveries of the filter's subscriptions, newest event first. With a known total, no more is read than the page.
    fn deliveries(
        &self,
        filter: &DeliveryFilter,
        request: PageRequest<DeliveryId>,
        known: Option<usize>,
        limit: &ReadLimit,
    ) -> Result<Page<DeliveryId, Delivery>>;
    /// How many events and deliveries there are of an account, or of one of its subscriptions.
    fn counts(&self, account: AccountId, subscription: Option<SubscriptionId>) -> Result<Counts>;
    /// Up to so many unattempted deliveries of a subscription after that event, oldest first, with their events as long as
    /// the bodies' total is at most `bodies_bytes`.
    fn unattempted_after(
        &self,
        whose: (AccountId, SubscriptionId),
        after: Option<EventId>,
        limit: usize,
        bodies_bytes: usize,
    ) -> Result<Vec<PendingEvent>>;
    /// The events of an account that went to a subscription, after the first and up to the second of these, oldest first,
    /// among so many.
    fn received(
        &self,
        whose: (AccountId, SubscriptionId),
        span: (EventId, EventId),
        looked_at: usize,
    ) -> Result<Received>;
    /// Up to so many retries of a subscription, earliest due first: those due by then, and the first one after them.
    fn retries(&self, id: SubscriptionId, until: Timestamp, limit: usize) -> Result<Vec<Retry>>;
    /// The row of a delivery that waits for the first one of its order key, or in a batch.
    fn waiting(&self, id: DeliveryId) -> Result<Option<OutboxRow>>;
    /// A batch with its members, oldest event first.
    fn batch(&self, id: SubscriptionId, batch: BatchId) -> Result<Option<(BatchHead, Vec<EventId>)>>;
    /// The tags of an event.
    fn tags(&self, account: AccountId, id: EventId) -> Result<Vec<Box<str>>>;
    /// The events of an account before that one that may have that id or tag, newest first.
    fn candidates(
        &self,
        account: AccountId,
        key: &FindKey,
        before: Option<EventId>,
    ) -> Result<Box<dyn Iterator<Item = Result<EventId>> + '_>>;
    /// Records of an account's audit from that time span, newest first.
    fn audit(
        &self,
        account: AccountId,
        span: (Option<Timestamp>, Option<Timestamp>),
        request: PageRequest<AuditId>,
        limit: &ReadLimit,
    ) -> Result<Page<AuditId, Stored<AuditRecord>>>;
    /// The jobs of an account, newest first.
    fn jobs(&self, account: AccountId) -> Result<Vec<Job>>;
    /// The jobs of all accounts that have not ended, oldest first in each.
    fn unfinished_jobs(&self) -> Result<Vec<Job>>;
    /// As [`Tx::select`].
    fn select(
        &self,
        whose: (AccountId, &[SubscriptionId]),
        which: &DeliverySelection,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Selected>;
    /// The oldest event of a subscription's pending deliveries, as far as so many retries tell; less are left afterwards.
    fn oldest_pending(&self, id: SubscriptionId, retries_left: &mut usize) -> Result<Option<EventId>>;
    /// How many rows a check of all of them comes to.
    fn row_count(&self) -> Result<u64>;
    /// Compares up to so many rows with their digests, from that position on.
    fn check_rows(&self, from: &RowPosition, limit: usize) -> Result<RowsChecked>;
}
