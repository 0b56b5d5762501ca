//! Some kinds of damage end in a panic of redb; here they become a value. Any thread.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Does something with a file that may be damaged; `None` if redb gave up. The work must not be gone on with after that.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = IS_EXPECTED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_EXPECTED.set(before);
    done.ok()
}

/// Is a panic on this thread now a finding about a file, which is told in words, and no fault of the program?
#[must_use]
pub fn is_expected() -> bool {
    IS_EXPECTED.get()
}
