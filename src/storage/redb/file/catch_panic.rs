//! Turns the panics with which redb reacts to some kinds of damage into a value. Any thread.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static EXPECTS_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// Runs work on a file that may be damaged; `None` if redb panicked. After `None` read nothing more of the same snapshot.
pub fn catch_redb_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = EXPECTS_PANIC.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    EXPECTS_PANIC.set(before);
    done.ok()
}

/// Whether a panic on this thread now means damage in a file, which is reported as such, and not a bug.
#[must_use]
pub fn expects_panic() -> bool {
    EXPECTS_PANIC.get()
}
