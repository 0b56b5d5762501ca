//! What the product is about, as plain values and pure decisions: no I/O, no clock, no randomness. Time and random
//! bits come in as arguments, so every function here gives the same answer to the same question on any thread.

pub mod access;
pub mod address;
pub mod attempt;
pub mod calendar;
pub mod delivery;
pub mod diagnosis;
pub mod endpoint;
pub mod event;
pub mod event_data;
pub mod event_type;
pub mod explanation;
pub mod field_error;
pub mod gaps;
pub mod health;
pub mod ids;
pub mod outage;
pub mod outcome;
pub mod retry;
pub mod signing;
mod special_ranges;
pub mod subscription;
pub mod timestamp;
pub mod tls_fault;
pub mod visible;

pub use field_error::{FieldError, FieldErrors};
pub use ids::{AccountId, AttemptId, DeliveryId, EventId, KeyId, SubscriptionId};
pub use timestamp::Timestamp;
