//! Persistence in one redb file. [`Opened::open`] returns the handle to the single writer thread and the readers that
//! any thread may use. The only layer that names redb.

pub mod command;
pub mod counts;
pub mod engine;
pub mod error;
pub mod maintenance;
mod random;
pub mod read;
mod redb;
pub mod rows;
mod rules;
#[cfg(test)]
mod test_store;
pub mod write;

pub use crate::storage::engine::Pending;
/// The engine of every store. With a second one this becomes an enum of both.
pub(crate) use crate::storage::redb::engine::RedbEngine as StoreEngine;
pub use crate::storage::redb::file::catch_panic::{catch_redb_panic as catch_damage, expects_panic};
#[cfg(test)]
pub(in crate::storage) use crate::storage::redb::file::folder::DATABASE_FILE;
pub use crate::storage::redb::file::open::{Opened, Store, StoreSettings};
pub use crate::storage::rules::settings::{AlertRule, RetentionRule, Rules};
pub use random::Randomness;
