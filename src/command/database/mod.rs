//! Commands on the whole database: backup, restore, verify, compact, encryption of secrets. Runs on the main thread.

pub(super) mod backup;
mod engine;
pub(super) mod secrets;
