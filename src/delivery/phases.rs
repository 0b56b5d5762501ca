//! Knows how far the attempt has come that runs on this thread, so that a time limit for the whole can be told by the
//! phase in which it ran out. The HTTP client works on the thread that calls it; what it calls on the way, the
//! [`super::guard`] and the connection wrapped here, notes where it is.

use std::cell::Cell;
use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

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

/// The last link of a chain of connectors: wraps each new connection.
#[derive(Debug)]
pub(super) struct Noting;

/// A connection that notes whether it sends, waits or reads.
#[derive(Debug)]
pub(super) struct Noted<T>(T);

impl<In: Transport> Connector<In> for Noting {
    type Out = Noted<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(Noted))
    }
}

impl<T: Transport> Transport for Noted<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        enter(Phase::Send);
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if current() == Phase::Send {
            enter(Phase::Wait);
        }
        let has_come = self.0.await_input(timeout)?;
        if has_come {
            enter(Phase::Read);
        }
        Ok(has_come)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
