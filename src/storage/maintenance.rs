//! What is done to a store that is one file, and to no other kind: backup, restore, verify, reseal, inspect. Runs in a
//! command or on a thread of its own.

pub use crate::storage::redb::copy::{backup, dump, inspect, reseal, restore, verify};
