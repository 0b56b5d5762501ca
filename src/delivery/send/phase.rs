//! Knows how far the attempt has come that runs on this thread, so that a time limit for the whole can be told by the
//! phase in which it ran out. The HTTP client works on the thread that calls it; what it calls on the way, the
//! [`crate::delivery::send::address::guard`] and the [`crate::delivery::send::connection`], notes where it is.

use std::cell::Cell;
use std::time::Duration;

use ureq::Error;

use crate::domain::delivery::outcome::Phase;

thread_local! {
    static PHASE: Cell<Phase> = const { Cell::new(Phase::Resolve) };
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static RECEIVED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Maximum bytes received in one attempt; certificates, headers and the part of the body that is read need a quarter of
/// it.
const MOST_BYTES: usize = 1024 * 1024;

/// Starts an attempt on this thread.
pub(in crate::delivery) fn begin() {
    enter(Phase::Resolve);
    WAITED.set(Duration::ZERO);
    RECEIVED_BYTES.set(0);
}

/// Counts received bytes. An error beyond the maximum, as with a receiver that sends interim responses without end, to
/// each of which the client's limits apply separately.
pub(in crate::delivery) fn note_received(bytes: usize) -> Result<(), Error> {
    let received = RECEIVED_BYTES.get().saturating_add(bytes);
    RECEIVED_BYTES.set(received);
    if received > MOST_BYTES { Err(Error::LargeResponseHeader(received, MOST_BYTES)) } else { Ok(()) }
}

/// Records the phase of this thread's attempt.
pub(in crate::delivery) fn enter(phase: Phase) {
    PHASE.set(phase);
}

/// The phase of this thread's attempt.
pub(in crate::delivery) fn current() -> Phase {
    PHASE.get()
}

/// Records how long this thread's attempt waited because of others.
pub(in crate::delivery) fn set_wait(wait: Duration) {
    WAITED.set(wait);
}

/// How long this thread's attempt waited because of others.
pub(in crate::delivery) fn waited() -> Duration {
    WAITED.get()
}
