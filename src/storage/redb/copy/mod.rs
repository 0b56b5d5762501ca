//! Whole-store operations: backup, restore, verify, reseal, inspect. Runs in a command or on a thread of its own.

pub mod backup;
pub mod backup_file;
pub mod dump;
pub mod error;
pub mod inspect;
pub mod new_file;
pub(in crate::storage) mod portable;
pub(in crate::storage) mod read_backup;
pub mod reseal;
pub mod restore;
pub mod verify;
