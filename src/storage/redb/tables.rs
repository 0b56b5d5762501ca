//! Every table with its key and value. Constants only.
//!
//! [`OUTBOX`] says whether a delivery is pending. A delivery has a row in [`OUTCOMES`] from its first attempt on; before
//! that, everything about it follows from its event's row. Each row but those of [`META`] ends with a digest of its key and
//! itself ([`seal`], [`open`]). Tables of earlier formats are in `file/formats`.

use redb::{ReadTransaction, TableDefinition, TableHandle as _};

use crate::storage::error::StorageError;
use crate::storage::rows::digest;

/// Metadata of the store: format version, identity, next free numbers.
pub const META: TableDefinition<&str, u128> = TableDefinition::new("meta");
/// Account number → account.
pub const ACCOUNTS: TableDefinition<u32, &[u8]> = TableDefinition::new("accounts");
/// Key number → API key, as a hash.
pub const KEYS: TableDefinition<u32, &[u8]> = TableDefinition::new("keys");
/// Subscription number → subscription.
pub const SUBSCRIPTIONS: TableDefinition<u32, &[u8]> = TableDefinition::new("subscriptions");
/// (account, event) → event with the body that is delivered.
pub const EVENTS: TableDefinition<(u32, u128), &[u8]> = TableDefinition::new("events");
/// Number → sorted subscriptions: who an event goes to. Equal lists are stored once.
pub const RECEIVER_SETS: TableDefinition<u32, &[u8]> = TableDefinition::new("receiver_sets");
/// Digest of a list → its number in [`RECEIVER_SETS`].
pub const RECEIVER_SET_NUMBERS: TableDefinition<u128, &[u8]> = TableDefinition::new("receiver_set_numbers");
/// Number in [`RECEIVER_SETS`] → how many events go to it.
pub const RECEIVER_SET_USES: TableDefinition<u32, &[u8]> = TableDefinition::new("receiver_set_uses");
/// (account, digest of an idempotency key) → the response to repeat.
pub const IDEMPOTENCY: TableDefinition<(u32, u128), &[u8]> = TableDefinition::new("idempotency");
/// (subscription, due time in ms, event) → pending deliveries and each subscription's history; see `outbox`.
pub const OUTBOX: TableDefinition<OutboxKey, &[u8]> = TableDefinition::new("outbox");
/// (account, event, subscription) → delivery with its attempts. What one event did lies together.
pub const OUTCOMES: TableDefinition<OutcomeKey, &[u8]> = TableDefinition::new("outcomes");
/// (account, first of a page of subscriptions) → how many deliveries each has in each state; as subscription 0 those of the
/// whole account, and how many events; see `counts`.
pub const COUNTS: TableDefinition<(u32, u32), &[u8]> = TableDefinition::new("counts");
/// Account → how far retention has come; see `retained`.
pub const FRONTS: TableDefinition<u32, &[u8]> = TableDefinition::new("fronts");
/// (account, event) → how many deliveries are pending of an event that retention has passed over.
pub const KEPT: TableDefinition<(u32, u128), &[u8]> = TableDefinition::new("kept");
/// What retention comes back to, by the time when it was settled; see `retained`.
pub const DUE: TableDefinition<DueKey, &[u8]> = TableDefinition::new("retention_due");
/// Deleted subscription → its account. Its rows in the outbox are still being removed.
pub const PURGES: TableDefinition<u32, &[u8]> = TableDefinition::new("purges");

/// (account, job) → a job with its progress. Files and backups of format 2 may lack it.
pub const JOBS: TableDefinition<JobKey, &[u8]> = TableDefinition::new("jobs");

/// (account, event) → its tags, if it has any. Files and backups of format 2 may lack it.
pub const TAGS: TableDefinition<(u32, u128), &[u8]> = TableDefinition::new("tags");
/// (account, record) → who changed what. Files and backups of format 2 may lack it.
pub const AUDIT: TableDefinition<AuditKey, &[u8]> = TableDefinition::new("audit");

/// Digest of a token → session of the dashboard. In no backup, and not in files from before there was a dashboard.
pub const SESSIONS: TableDefinition<u128, &[u8]> = TableDefinition::new("sessions");

/// (subscription, order key, event) → what waits for the one before it; with event 0 which is the first one. Files and
/// backups of earlier versions lack it, and so do those without any order.
pub const ORDERS: TableDefinition<OutboxKey, &[u8]> = TableDefinition::new("orders");

/// (subscription, batch, event) → a delivery in a batch; with event 0 the batch itself. Files and backups of earlier versions
/// lack it, and so do those without a batch.
pub const BATCHES: TableDefinition<BatchKey, &[u8]> = TableDefinition::new("batches");

/// Key in [`META`]: the version of this layout.
pub const FORMAT: &str = "format";
/// Key in [`META`]: a random number that identifies this store.
pub const STORE_ID: &str = "store_id";
/// Key in [`META`]: the check number of the key that signing secrets are encrypted with; absent if they are not.
pub const SEALED_WITH: &str = "sealed_with";
/// Key in [`META`]: the calendar's time in ms when it was last written down; see `service_time`, which also keeps the
/// gaps there.
pub const SEEN_MS: &str = "seen_ms";
/// Key in [`META`]: the steady clock's time in ms at the same moment.
pub const STEADY_MS: &str = "steady_ms";
/// Key in [`META`]: the next account number.
pub const NEXT_ACCOUNT: &str = "next_account";
/// Key in [`META`]: the next key number.
pub const NEXT_KEY: &str = "next_key";
/// Key in [`META`]: the next subscription number.
pub const NEXT_SUBSCRIPTION: &str = "next_subscription";

/// Key in [`META`]: the time in ms of the last backup; absent if none is known of.
pub const LAST_BACKUP_MS: &str = "last_backup_ms";

/// Key in [`META`]: the format that an unfinished upgrade began with.
pub const UPGRADED_FROM: &str = "upgraded_from";

/// The version of this layout. A store with a newer one is refused, one with an older one upgraded (`migrate`).
pub const FORMAT_VERSION: u128 = 3;

/// (subscription, due time in ms, event).
pub type OutboxKey = (u32, u64, u128);
/// (subscription, batch, event).
pub type BatchKey = (u32, u128, u128);
/// (account, event, subscription).
pub type OutcomeKey = (u32, u128, u32);
/// (kind, time in ms when it was settled, account, event, subscription).
pub type DueKey = (u8, u64, u32, u128, u32);

/// A key of numbers.
pub trait RowKey: redb::Key + Copy + for<'a> redb::Value<SelfType<'a> = Self> + 'static {}

impl<K: redb::Key + Copy + for<'a> redb::Value<SelfType<'a> = K> + 'static> RowKey for K {}

/// The row as it is stored at that key.
pub fn seal<K: RowKey>(key: K, row: Vec<u8>) -> Vec<u8> {
    digest::sealed(K::as_bytes(&key).as_ref(), row)
}

/// What is stored at that key as the row that it was; an error names it.
pub fn open<K: RowKey>(key: K, bytes: &[u8], name: impl FnOnce() -> String) -> Result<&[u8], StorageError> {
    digest::checked(K::as_bytes(&key).as_ref(), bytes, name)
}

/// (account, job).
pub type JobKey = (u32, u128);

/// (account, record of the audit).
pub type AuditKey = (u32, u128);

/// An operation on every table.
pub trait Visit {
    /// Its error.
    type Error;

    /// Visits one table.
    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), Self::Error>;

    /// Whether what is visited has a table of that name; asked of those that a file of this format may lack.
    fn has(&mut self, name: &str) -> Result<bool, Self::Error>;
}

/// Whether the transaction sees a table of that name.
pub fn has(rows: &ReadTransaction, name: &str) -> Result<bool, StorageError> {
    Ok(rows.list_tables()?.any(|table| table.name() == name))
}

/// Visits every table, always in the same order.
pub fn visit_all<V: Visit>(visitor: &mut V) -> Result<(), V::Error> {
    visitor.table(META)?;
    visitor.table(ACCOUNTS)?;
    visitor.table(KEYS)?;
    visitor.table(SUBSCRIPTIONS)?;
    visitor.table(EVENTS)?;
    visitor.table(RECEIVER_SETS)?;
    visitor.table(RECEIVER_SET_NUMBERS)?;
    visitor.table(RECEIVER_SET_USES)?;
    visitor.table(IDEMPOTENCY)?;
    visitor.table(OUTBOX)?;
    visitor.table(OUTCOMES)?;
    visitor.table(COUNTS)?;
    visitor.table(FRONTS)?;
    visitor.table(KEPT)?;
    visitor.table(DUE)?;
    visitor.table(PURGES)?;
    if visitor.has(JOBS.name())? {
        visitor.table(JOBS)?;
    }
    if visitor.has(TAGS.name())? {
        visitor.table(TAGS)?;
    }
    if visitor.has(AUDIT.name())? {
        visitor.table(AUDIT)?;
    }
    if visitor.has(ORDERS.name())? {
        visitor.table(ORDERS)?;
    }
    if visitor.has(BATCHES.name())? { visitor.table(BATCHES) } else { Ok(()) }
}
