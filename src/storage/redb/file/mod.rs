//! The database as a file: opening, checking, upgrading, and what lies beside it. Runs on the thread that opens a
//! store, before anything else uses it.

pub(in crate::storage) mod catch_panic;
pub(in crate::storage) mod database_file;
pub(in crate::storage) mod disk;
pub(in crate::storage) mod durable;
pub(in crate::storage) mod folder;
pub(in crate::storage) mod format_3;
pub(in crate::storage) mod formats;
pub(in crate::storage) mod identity;
mod last_commit;
pub(in crate::storage) mod migrate;
pub(in crate::storage) mod newest_commit;
pub(in crate::storage) mod open;
pub(in crate::storage) mod owner;
pub(in crate::storage) mod progress;
