//! The API as it describes itself, and the calls of other clients.

pub(super) mod compat;
pub(super) mod every_call;
pub(super) mod feed_readers;
pub(super) mod generated_clients;
pub(super) mod openapi;
mod programs;
pub(super) mod snippets;
