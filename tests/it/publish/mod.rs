//! Publishing: events, idempotency, limits.

pub(super) mod backpressure;
pub(super) mod data;
mod event_types;
mod events;
pub(super) mod events_kept;
pub(super) mod find;
mod formatters;
pub(super) mod idempotency;
pub(super) mod limits;
mod long_lists;
mod partial;
pub(super) mod publishers;
