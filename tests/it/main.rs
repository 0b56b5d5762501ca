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

#[path = "../fuzz/changes.rs"]
mod changes;
mod harness;

mod accounts_and_keys;
mod address_rule;
mod backpressure;
mod backup;
mod cli_control;
mod cli_deliveries;
mod cli_doctor;
mod cli_events;
mod cli_listen;
mod cli_output;
mod cli_pages;
mod cli_sign_verify;
mod cli_subscriptions;
mod clients_bodies;
mod clients_hostile;
mod clients_many;
mod clients_pipelining;
mod clients_sources;
mod clock;
mod compat;
mod config;
mod deliveries;
mod demo;
mod disk;
mod doctor_disk;
mod errors;
mod events;
mod events_kept;
mod every_call;
mod failure_words;
mod formats;
mod fuzzed_requests;
mod health;
mod hostile_data;
mod idempotency;
mod interop;
mod island;
mod isolation;
mod keys_guarded;
mod kill;
mod large_answers;
mod limits;
mod memory;
mod metrics;
mod openapi;
mod owner;
mod publishers;
mod pushback;
mod rate_limit;
mod receivers_hostile;
mod receivers_stray;
mod receivers_tls;
mod restart;
mod retries;
mod room;
mod secrets;
mod service;
mod signing;
mod snippets;
mod subscriptions;
mod upgrade;
