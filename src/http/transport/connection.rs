//! The state of one connection, shared by its stream and its requests. actix-http takes version and keep-alive from the
//! latest parsed request, and executes requests that were pipelined behind `Connection: close`. So it sees a request only
//! when the response to the one before is made, and none when that one was the last. Runs on one HTTP worker.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use actix_http::{ConnectionType, HttpMessage as _, Request};
use actix_web::http::header::CONTENT_LENGTH;

use super::framing::RequestPart;

/// What the polls of a connection, its stream and its requests share.
pub struct ConnectionState {
    /// Bytes read since the present poll began.
    read_bytes: Cell<usize>,
    /// Whether input was withheld from actix-http.
    has_withheld: Cell<bool>,
    /// What actix-http sees next.
    request_part: Cell<RequestPart>,
    /// Whether a request was read whose response is not made yet.
    is_request_in_flight: Cell<bool>,
    /// Whether the request in flight is the last one of the connection.
    is_last: Cell<bool>,
    /// Whether a time limit ended the connection.
    is_timed_out: Cell<bool>,
}

impl ConnectionState {
    /// The state of a new connection.
    pub fn new() -> Self {
        Self {
            read_bytes: Cell::new(0),
            has_withheld: Cell::new(false),
            request_part: Cell::new(RequestPart::FIRST),
            is_request_in_flight: Cell::new(false),
            is_last: Cell::new(false),
            is_timed_out: Cell::new(false),
        }
    }

    /// Begins the next poll.
    pub fn begin_poll(&self) {
        self.read_bytes.set(0);
        self.has_withheld.set(false);
    }

    /// Whether input that this poll withheld may be passed now.
    pub fn can_continue(&self) -> bool {
        self.has_withheld.get() && self.may_pass()
    }

    /// Takes note of input that may not be passed to actix-http yet.
    pub fn withhold(&self) {
        self.has_withheld.set(true);
    }

    /// Returns how many of these bytes actix-http may see now.
    pub fn pass(&self, bytes: &[u8]) -> usize {
        let mut request_part = self.request_part.get();
        let passed = request_part.pass(bytes);
        self.request_part.set(request_part);
        self.begin_next();
        passed
    }

    /// Whether actix-http may see further input.
    pub fn may_pass(&self) -> bool {
        !matches!(self.request_part.get(), RequestPart::Unknown | RequestPart::End)
    }

    /// Counts bytes that were read in this poll.
    pub fn add_read(&self, bytes: usize) {
        self.read_bytes.update(|read| read + bytes);
    }

    /// Bytes that were read in this poll.
    pub fn read_bytes(&self) -> usize {
        self.read_bytes.get()
    }

    /// Whether a request is in flight.
    pub fn is_request_in_flight(&self) -> bool {
        self.is_request_in_flight.get()
    }

    /// Whether the input so far is complete heads, which actix-http parses in this poll.
    pub fn is_complete(&self) -> bool {
        self.is_request_in_flight.get() || self.request_part.get() == RequestPart::Unknown
    }

    /// Whether no response is in flight and no pipelined bytes are buffered.
    pub fn is_idle(&self) -> bool {
        self.request_part.get() == RequestPart::FIRST && !self.is_last.get() && !self.has_withheld.get()
    }

    /// Ends the connection for a time limit. The caller is owed nothing more.
    pub fn time_out(&self) -> io::Error {
        self.is_timed_out.set(true);
        io::ErrorKind::TimedOut.into()
    }

    /// Whether a time limit ended the connection.
    pub fn is_timed_out(&self) -> bool {
        self.is_timed_out.get()
    }

    /// A request that is over and answered is followed by the next one.
    fn begin_next(&self) {
        if self.request_part.get() == RequestPart::End && !self.is_request_in_flight.get() {
            self.request_part.set(RequestPart::FIRST);
        }
    }
}

/// A request's handle on its connection.
#[derive(Clone)]
pub struct Connection(Rc<ConnectionState>);

impl Connection {
    /// The connection with this state.
    pub fn new(state: Rc<ConnectionState>) -> Self {
        Self(state)
    }

    /// Marks a request as in flight until the returned value is dropped. There is never more than one.
    #[must_use]
    pub fn begin(&self, request: &Request) -> RequestInFlight {
        let length = || request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok();
        let is_chunked = request.chunked().unwrap_or(false);
        self.0.request_part.set(if is_chunked {
            RequestPart::CHUNKS
        } else {
            RequestPart::sized(length().unwrap_or(0))
        });
        self.0.is_request_in_flight.set(true);
        self.0.is_last.set(request.head().connection_type() != ConnectionType::KeepAlive);
        RequestInFlight(Rc::clone(&self.0))
    }
}

/// A request in flight.
pub struct RequestInFlight(Rc<ConnectionState>);

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.is_request_in_flight.set(false);
        self.0.begin_next();
    }
}
