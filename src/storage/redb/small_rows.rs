//! Reads the rows of the small tables, of which all are in memory while a server runs: accounts, keys, subscriptions. Any
//! thread.

use crate::domain::access::ApiKey;
use crate::domain::{AccountId, KeyId, SubscriptionId};
use crate::storage::error::StorageError;
use crate::storage::redb::tables;
use crate::storage::rows::subscription_record::SubscriptionRow;
use crate::storage::rows::{digest, key_record};

/// The name of an account.
pub fn account_name(id: AccountId, row: &[u8]) -> Result<String, StorageError> {
    let row = tables::open::<u32>(id.0, row, digest::named("account", id))?;
    Ok(String::from_utf8_lossy(row).into_owned())
}

/// An API key.
pub fn key_row(id: KeyId, row: &[u8]) -> Result<ApiKey, StorageError> {
    key_record::decode(id, tables::open::<u32>(id.0, row, digest::named("key", id))?)
}

/// A subscription, its secret as it is stored.
pub fn subscription_row(id: SubscriptionId, row: &[u8]) -> Result<SubscriptionRow, StorageError> {
    SubscriptionRow::decode(tables::open::<u32>(id.0, row, digest::named("subscription", id))?)
}
