//! The engine on redb: its tables, the file that they lie in, and the operations on that file. The only folder that
//! names redb.

pub(in crate::storage) mod alerts;
pub(in crate::storage) mod audit;
pub(in crate::storage) mod bulk_insert;
pub mod copy;
pub(in crate::storage) mod counts;
pub(in crate::storage) mod engine;
mod event_rows;
pub(in crate::storage) mod file;
mod find_index;
mod found;
pub(in crate::storage) mod jobs;
pub(in crate::storage) mod outbox;
mod pending;
mod receiver_sets;
pub(in crate::storage) mod retained;
mod sessions;
mod small_rows;
pub(in crate::storage) mod tables;
pub(in crate::storage) mod time;
pub(in crate::storage) mod tx;
pub(in crate::storage) mod view;
