//! The database as a file: opening, checking, upgrading, and what lies beside it. Runs on the thread that opens a
//! store, before anything else uses it.

pub mod catch_panic;
pub(super) mod database_file;
pub(super) mod folder;
pub(super) mod formats;
pub(super) mod holder;
pub(super) mod identity;
pub(super) mod migrate;
pub(super) mod newest_commit;
pub(super) mod open;
pub(super) mod owner;
