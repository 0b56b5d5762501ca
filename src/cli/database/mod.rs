//! Arguments of the commands on a whole store.

pub mod secrets;
pub mod storage;
