//! Runs every fuzz target over its corpus and over changed copies of it, always the same ones, so that a failure can be
//! looked at again. `FUZZ_CASES` makes it longer; `tests/fuzz` has the same targets for libFuzzer.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as promised"
)]

#[path = "fuzz/changes.rs"]
mod changes;
#[path = "fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use changes::{Numbers, cases, changed, corpus};
use targets::{TARGETS, Target};

/// Changed copies for each target, unless the environment says otherwise.
const CASES: u64 = 5_000;
fn run(name: &str, target: Target) {
    let seeds = corpus(name);
    assert!(seeds.len() >= 4, "the corpus of {name} has {} files", seeds.len());
    let mut numbers = Numbers::of_lane(0);
    let copies = (0..cases(CASES)).map(|_| changed(&seeds, &mut numbers));
    for data in seeds.iter().cloned().chain(copies) {
        let holds = catch_unwind(AssertUnwindSafe(|| target(&data))).is_ok();
        assert!(holds, "{name} fails on {:?}", String::from_utf8_lossy(&data));
    }
}

#[track_caller]
fn run_named(name: &str) {
    let (name, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    run(name, *target);
}

#[test]
fn no_published_body_breaks_a_promise() {
    run_named("publish");
}

#[test]
fn no_body_of_a_subscription_breaks_a_promise() {
    run_named("subscription");
}

#[test]
fn no_url_breaks_a_promise() {
    run_named("url");
}

#[test]
fn no_stored_row_breaks_a_promise() {
    run_named("record");
}

#[test]
fn no_configuration_breaks_a_promise() {
    run_named("configuration");
}

#[test]
fn no_retry_after_breaks_a_promise() {
    run_named("retry_after");
}
