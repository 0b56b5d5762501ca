//! The domain: plain values and pure decisions, without I/O, clock or randomness. Time and random bits are arguments,
//! so every function here is deterministic and may run on any thread.

pub mod access;
pub mod alert;
pub mod audit;
pub mod calendar;
pub mod delivery;
pub mod endpoint;
pub mod escape;
pub mod event;
pub mod feed;
pub mod field_error;
pub mod gaps;
pub mod ids;
pub mod job;
pub mod json_fault;
pub mod options;
pub mod outage;
pub mod secret_text;
pub mod signing;
pub mod signing_keys;
pub mod smtp;
pub mod subscription;
pub mod time_text;
pub mod timestamp;

pub use field_error::{FieldError, FieldErrors};
pub use ids::{AccountId, AttemptId, AuditId, BatchId, DeliveryId, EventId, JobId, KeyId, SubscriptionId};
pub use timestamp::Timestamp;
