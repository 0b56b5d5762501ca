//! Knows how far the attempt has come that runs on this thread, so that a time limit for the whole can be told by the
//! phase in which it ran out. The HTTP client works on the thread that calls it; what it calls on the way, the
//! [`super::guard`] and the [`super::connection`], notes where it is.

use std::cell::Cell;
use std::time::Duration;

use ureq::Error;

use crate::domain::outcome::Phase;

thread_local! {
    static PHASE: Cell<Phase> = const { Cell::new(Phase::Resolve) };
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static RECEIVED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// No answer has more than this on the wire: certificates, headers and as much of a body as is read come to a quarter.
const MOST_BYTES: usize = 1024 * 1024;

/// An attempt begins on this thread.
pub(super) fn begin() {
    enter(Phase::Resolve);
    WAITED.set(Duration::ZERO);
    RECEIVED_BYTES.set(0);
}

/// So many bytes more have come in the attempt of this thread. An error when it is more than any answer has, as of a
/// receiver that sends preliminary answers without end, to each of which the client's own limits apply anew.
pub(super) fn note_received(bytes: usize) -> Result<(), Error> {
    let received = RECEIVED_BYTES.get().saturating_add(bytes);
    RECEIVED_BYTES.set(received);
    if received > MOST_BYTES { Err(Error::LargeResponseHeader(received, MOST_BYTES)) } else { Ok(()) }
}

/// The attempt of this thread has come so far.
pub(super) fn enter(phase: Phase) {
    PHASE.set(phase);
}

/// How far the attempt of this thread has come.
pub(super) fn current() -> Phase {
    PHASE.get()
}

/// The attempt of this thread waited so long because of others.
pub(super) fn set_wait(wait: Duration) {
    WAITED.set(wait);
}

/// How long the attempt of this thread waited because of others.
pub(super) fn waited() -> Duration {
    WAITED.get()
}
