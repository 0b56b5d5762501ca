//! Reading: snapshots as of one commit, the registry in memory, point reads and pages of lists. Any thread; readers
//! never wait for the writer.

mod event;
pub mod feed;
pub mod filter;
mod find;
pub mod page;
pub mod reader;
pub mod registry;
pub mod row_check;
pub(super) mod snapshot;
