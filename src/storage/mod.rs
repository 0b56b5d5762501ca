//! Persistence in one redb file or in a PostgreSQL database. [`Opened::open`] returns the handle to the single writer thread
//! and the readers that any thread may use. The only layer that names either.

pub mod command;
pub mod copy;
pub mod counts;
pub mod engine;
pub mod error;
mod holder;
pub mod lease;
pub mod maintenance;
pub mod nodes;
mod open;
mod opened;
mod pairing;
mod postgres;
mod random;
pub mod read;
mod redb;
pub mod relay;
pub mod rows;
mod rules;
pub mod sealing;
mod store_engine;
#[cfg(test)]
mod test_store;
pub mod write;

pub use crate::storage::engine::Pending;
pub use crate::storage::opened::{Opened, PostgresSettings, Store, StoreSettings};
pub use crate::storage::postgres::connection::reach::{HostLook, HostRole};
pub use crate::storage::postgres::look::{DatabaseLook, StandbysLook, look_at_database};
pub use crate::storage::postgres::relay::{Answering, Asking};
pub use crate::storage::postgres::standby::Standby;
#[cfg(test)]
pub(in crate::storage) use crate::storage::redb::engine::RedbEngine;
pub use crate::storage::redb::file::catch_panic::{catch_redb_panic as catch_damage, expects_panic};
#[cfg(test)]
pub(in crate::storage) use crate::storage::redb::file::folder::DATABASE_FILE;
pub use crate::storage::rules::settings::{AlertRule, RetentionRule, Rules};
pub use random::Randomness;
