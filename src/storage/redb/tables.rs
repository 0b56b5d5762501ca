//! Every table with its key and value. Constants only.
//!
//! [`OUTBOX`] says whether a delivery is pending. A delivery has a row in [`DELIVERIES`] from its first attempt on;
//! before that, everything about it follows from its event's row. Tables of earlier formats are in `migrate`.

use redb::{ReadTransaction, TableDefinition, TableHandle as _};

use crate::storage::error::StorageError;

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
/// (account, digest of an idempotency key) → the response to repeat.
pub const IDEMPOTENCY: TableDefinition<(u32, u128), &[u8]> = TableDefinition::new("idempotency");
/// (subscription, due time in ms, event) → pending deliveries and each subscription's history; see `outbox`.
pub const OUTBOX: TableDefinition<OutboxKey, &[u8]> = TableDefinition::new("outbox");
/// (subscription, event) → delivery with its attempts.
pub const DELIVERIES: TableDefinition<(u32, u128), &[u8]> = TableDefinition::new("deliveries");
/// Deleted subscriptions whose rows are still being removed.
pub const PURGES: TableDefinition<u32, ()> = TableDefinition::new("purges");

/// (account, job) → a job with its progress. Files and backups of format 2 may lack it.
pub const JOBS: TableDefinition<JobKey, &[u8]> = TableDefinition::new("jobs");

/// (account, event) → its tags, if it has any. Files and backups of format 2 may lack it.
pub const TAGS: TableDefinition<(u32, u128), &[u8]> = TableDefinition::new("tags");
/// (account, record) → who changed what. Files and backups of format 2 may lack it.
pub const AUDIT: TableDefinition<AuditKey, &[u8]> = TableDefinition::new("audit");

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

/// The version of this layout. A store with a newer one is refused, one with an older one upgraded (`migrate`).
pub const FORMAT_VERSION: u128 = 2;

/// (subscription, due time in ms, event).
pub type OutboxKey = (u32, u64, u128);

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
    visitor.table(IDEMPOTENCY)?;
    visitor.table(OUTBOX)?;
    visitor.table(DELIVERIES)?;
    visitor.table(PURGES)?;
    if visitor.has(JOBS.name())? {
        visitor.table(JOBS)?;
    }
    if visitor.has(TAGS.name())? {
        visitor.table(TAGS)?;
    }
    if visitor.has(AUDIT.name())? { visitor.table(AUDIT) } else { Ok(()) }
}
