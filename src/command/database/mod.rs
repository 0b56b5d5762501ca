//! Commands on the whole database: backup, restore, verify, compact, encryption of secrets, the move from one engine to the
//! other. Runs on the main thread.

pub(super) mod backup;
mod engine;
pub(super) mod secrets;
pub(super) mod storage;
