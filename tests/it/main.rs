//! Black-box tests: the real binary, a real receiver, one promise a file.
//!
//! No test sleeps for a fixed time: each one waits for something it can see, under a guard of
//! [`harness::PATIENCE`]. That nothing more arrives is shown by what the server says of its outbox,
//! or by a later event that overtakes the one that must not come.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as promised"
)]

mod access;
mod api;
#[path = "../fuzz/changes.rs"]
mod changes;
mod cli;
mod clients;
mod dashboard;
mod deliver;
mod harness;
mod operate;
mod options;
mod people;
mod postgres;
mod publish;
mod receivers;
mod storage;
