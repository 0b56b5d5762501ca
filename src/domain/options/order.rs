//! The option `order`: which deliveries of a subscription wait for one another. Pure; any thread.

use std::num::NonZeroU64;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::domain::FieldError;

/// Which deliveries of a subscription wait for one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// None.
    #[default]
    None,
    /// Those of one worker.
    Worker,
    /// All of them.
    Subscription,
}

/// The names of all orders.
pub const ORDERS: [&str; 3] = ["none", "worker", "subscription"];

/// What the deliveries of a subscription have in common that go one after the other. Two workers whose ids have the same
/// digest would wait for one another, and no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(pub NonZeroU64);

impl OrderKey {
    /// Of all deliveries of a subscription.
    pub const SUBSCRIPTION: Self = Self(NonZeroU64::MIN);

    /// Of those of a worker, by the text of its id.
    #[must_use]
    pub fn of_worker(id: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        let first = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self(NonZeroU64::new(first).unwrap_or(NonZeroU64::MAX))
    }
}

impl Order {
    /// Reads the option.
    pub fn read(value: &Value) -> Result<Self, Vec<FieldError>> {
        match value.as_str() {
            Some("none") => Ok(Self::None),
            Some("worker") => Ok(Self::Worker),
            Some("subscription") => Ok(Self::Subscription),
            _ => Err(vec![FieldError::new("order", "must be \"none\", \"worker\" or \"subscription\"")]),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Worker => "worker",
            Self::Subscription => "subscription",
        }
    }

    /// The key of an event, of which `worker` tells the worker's; none: it goes unordered.
    pub fn key(self, worker: impl FnOnce() -> Option<OrderKey>) -> Option<OrderKey> {
        match self {
            Self::None => None,
            Self::Worker => worker(),
            Self::Subscription => Some(OrderKey::SUBSCRIPTION),
        }
    }
}
