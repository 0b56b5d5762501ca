//! What a check of a whole store has found.

use std::collections::BTreeMap;

use crate::domain::{AccountId, SubscriptionId};
use crate::storage::error::StorageError;

/// Subscriptions with their accounts.
pub(super) type Subscriptions = BTreeMap<SubscriptionId, AccountId>;

/// The result.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Number of rows checked.
    pub rows: u64,
    /// How many deliveries are pending.
    pub pending: u64,
    /// Descriptions of the first errors.
    pub faults: Vec<String>,
    /// Number of further errors.
    pub more_faults: u64,
}

/// Maximum number of described errors.
const LISTED_FAULTS_MAX: usize = 20;

impl VerifyReport {
    pub(super) fn fault(&mut self, text: String) {
        if self.faults.len() < LISTED_FAULTS_MAX {
            self.faults.push(text);
        } else {
            self.more_faults += 1;
        }
    }

    pub(super) fn check<T>(&mut self, what: impl std::fmt::Display, result: Result<T, StorageError>) -> Option<T> {
        self.rows += 1;
        match result {
            Ok(found) => Some(found),
            // It names the row itself.
            Err(StorageError::Damaged(name)) => {
                self.fault(format!("{name}: it does not match its digest"));
                None
            }
            Err(error) => {
                self.fault(format!("{what}: {error}"));
                None
            }
        }
    }
}
