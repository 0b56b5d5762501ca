//! What each command does to the store, inside the open write transaction. Runs on the writer thread; never commits.

pub(super) mod alerts;
pub(super) mod apply;
pub(super) mod audit;
pub(super) mod backlog;
pub(super) mod batches;
pub(super) mod budget;
pub(super) mod erase;
mod feed;
pub(super) mod find;
pub(super) mod jobs;
pub(super) mod kept;
pub(super) mod keys;
pub(super) mod manage;
pub(super) mod outbox;
pub(super) mod outcomes;
mod replay;
pub(super) mod retain;
pub(super) mod service_time;
pub(super) mod sessions;
pub mod settings;
