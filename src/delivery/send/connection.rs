//! The connections of deliveries, plain or over TLS, with what has come on them and was not read. Runs on delivery threads.
//!
//! A connection is kept for the next request, and whatever comes on it between two requests answers neither: right before
//! the first byte of a request is sent, every buffer is looked into, the kernel's too. If anything has come, or the
//! connection has ended, nothing is sent, and the request goes out on another connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::Error;

use crate::delivery::send::address::failed::FailedAddresses;
use crate::delivery::send::answer::stray::is_stray;
use crate::delivery::send::budget::{Budget, Permit};
use crate::delivery::send::input::Input;
use crate::delivery::send::kept::{Idle, KeptConnections, ServerName as Server, Waiting};
use crate::delivery::send::limit::Limit;
use crate::delivery::send::tcp::{Socket, Unasked, was_ended};
use crate::delivery::send::tls::stream::TlsStream;
use crate::domain::delivery::outcome::Phase;

/// What can be wrong with a connection beside what the system, TLS or HTTP say of it.
#[derive(Debug, thiserror::Error)]
pub(in crate::delivery) enum ConnectionError {
    /// A kept one ended, or something came on it, before a byte of the request was sent.
    #[error("the connection was no longer usable")]
    Unused,
    /// A kept one ended before a byte of an answer came: most likely it was closed while nothing was under way.
    #[error("the connection ended without an answer: {0}")]
    Unanswered(io::Error),
    /// Something came on a new one before a byte of the request was sent.
    #[error("it was sent before the request")]
    SpokeFirst,
    /// All connections that deliveries may have were in use until the time limit.
    #[error("all connections that deliveries may have are in use")]
    NoneLeft,
}

impl ConnectionError {
    /// What an error stands for, if it is one of these.
    pub(in crate::delivery) fn of(error: &Error) -> Option<&Self> {
        match error {
            Error::Other(inner) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl From<ConnectionError> for Error {
    fn from(error: ConnectionError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(in crate::delivery) struct Connection {
    open: Open,
    stage: Stage,
    place: Place,
    /// Until the first answer on a new one.
    waiting: Option<Waiting<Open>>,
    /// Why it took no more of the request.
    refused: Option<io::Error>,
}

/// An open connection, and the right to it, which ends after it.
#[derive(Debug)]
pub(in crate::delivery) struct Open {
    stream: Stream,
    input: Input,
    _permit: Permit,
}

/// Where a connection is kept after its request.
#[derive(Debug)]
pub(in crate::delivery) struct Place {
    pub(in crate::delivery) kept: Arc<KeptConnections<Open>>,
    pub(in crate::delivery) budget: Arc<Budget>,
    pub(in crate::delivery) failed: Arc<FailedAddresses>,
    pub(in crate::delivery) server: Server,
    pub(in crate::delivery) peer: SocketAddr,
    pub(in crate::delivery) generation: u64,
}

/// Plain or over TLS.
#[derive(Debug)]
pub(in crate::delivery) enum Stream {
    /// Plain.
    Plain(Socket),
    /// Over TLS.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Has everything been sent that it took?
    fn has_sent(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.has_sent(),
        }
    }
}

impl Open {
    fn socket(&self) -> &Socket {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.socket(),
        }
    }

    /// What has come since the last answer ended. After bytes it is of no use any more.
    fn unasked(&mut self) -> Result<Unasked, Error> {
        let unasked = match &mut self.stream {
            Stream::Plain(socket) => socket.unasked()?,
            Stream::Tls(stream) => stream.unasked()?,
        };
        Ok(if unasked == Unasked::Bytes && self.has_stray() { Unasked::Stray } else { unasked })
    }

    /// Takes what has come by now behind what was not read. Does it belong to an answer that nobody asked for?
    fn has_stray(&mut self) -> bool {
        let room = self.input.room();
        let taken = match &mut self.stream {
            Stream::Plain(socket) => socket.receive_at_once(room),
            Stream::Tls(stream) => stream.receive_at_once(room),
        };
        // On an error nothing more has come.
        self.input.came(taken.unwrap_or_default());
        is_stray(self.input.bytes())
    }
}

impl Idle for Open {
    fn unasked(&mut self) -> Unasked {
        Self::unasked(self).unwrap_or(Unasked::End)
    }
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

/// What has happened on a connection since it was made or kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing; it is a new one.
    New,
    /// Nothing; an answer was received to its end before.
    Kept,
    /// A part of a request was sent, or all of it, and nothing has come.
    Asked { was_kept: bool },
    /// The answer has begun.
    Answered,
}

impl Place {
    /// The peer took the connection, and gave no answer. The next one goes elsewhere if it can; and a receiver that serves
    /// one connection at a time may wait on another one.
    pub(in crate::delivery) fn note_silence(&self) {
        self.failed.note(self.peer, Instant::now());
        self.kept.close_all_of(&self.server);
    }
}

impl Connection {
    /// A new one; `waiting` stands for it until its first answer.
    pub(in crate::delivery) fn new(stream: Stream, permit: Permit, place: Place, waiting: Waiting<Open>) -> Self {
        let open = Open { stream, input: Input::default(), _permit: permit };
        Self { open, stage: Stage::New, place, waiting: Some(waiting), refused: None }
    }

    /// One that was kept.
    pub(in crate::delivery) fn kept(open: Open, place: Place) -> Self {
        Self { open, stage: Stage::Kept, place, waiting: None, refused: None }
    }

    /// Begins a request, unless something has come.
    pub(in crate::delivery) fn begin(&mut self, limit: &mut Limit) -> Result<(), Error> {
        limit.enter(Phase::Send);
        self.check_silence()?;
        self.open.socket().begin_request();
        self.stage = Stage::Asked { was_kept: self.stage == Stage::Kept };
        Ok(())
    }

    /// Sends what can be sent by now of the parts of a request, and takes that out of them. Returns whether nothing is left to
    /// send: if the other side ends the connection it takes no more, but may have answered before, so that is no error yet.
    pub(in crate::delivery) fn send(&mut self, unsent: &mut [&[u8]; 2]) -> Result<bool, Error> {
        while !(unsent.iter().all(|part| part.is_empty()) && self.open.stream.has_sent()) {
            let sent = match &mut self.open.stream {
                Stream::Plain(socket) => socket.send_parts_at_once(*unsent),
                Stream::Tls(stream) => stream.send_at_once(*unsent),
            };
            match sent {
                Ok(count) => advance(unsent, count),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(Error::Io(error)) if was_ended(error.kind()) => {
                    self.refused = Some(error);
                    return Ok(true);
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(true)
    }

    /// Waits until more can be sent, or something comes, which is taken; `false` at the end.
    pub(in crate::delivery) fn wait(&mut self, limit: &mut Limit) -> Result<bool, Error> {
        let waited = match &self.open.stream {
            Stream::Plain(socket) => socket.wait(limit),
            Stream::Tls(stream) => stream.wait(limit),
        };
        waited.map_err(|error| self.failed(error))?;
        let room = self.open.input.room();
        let received = match &mut self.open.stream {
            Stream::Plain(socket) => socket.receive_at_once(room),
            Stream::Tls(stream) => stream.receive_at_once(room),
        };
        match received {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            received => self.received(received, limit),
        }
    }

    /// The request is sent, and nothing has come.
    pub(in crate::delivery) fn await_answer(&self, limit: &mut Limit) {
        if self.stage != Stage::Answered {
            limit.enter(Phase::Wait);
        }
    }

    /// What has come and was not read.
    pub(in crate::delivery) fn input(&self) -> &[u8] {
        self.open.input.bytes()
    }

    /// So much of it has been read.
    pub(in crate::delivery) fn consume(&mut self, count: usize) {
        self.open.input.consume(count);
    }

    /// Waits for more input, for which there has to be room; `false` at the end.
    pub(in crate::delivery) fn receive(&mut self, limit: &mut Limit) -> Result<bool, Error> {
        let room = self.open.input.room();
        let received = match &mut self.open.stream {
            Stream::Plain(socket) => socket.receive(room, limit),
            Stream::Tls(stream) => stream.receive(room, limit),
        };
        self.received(received, limit)
    }

    fn received(&mut self, received: Result<usize, Error>, limit: &mut Limit) -> Result<bool, Error> {
        match received {
            Ok(0) if self.stage != Stage::Answered => {
                let error = self.refused.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                Err(self.failed(Error::Io(error)))
            }
            Ok(count) => {
                if count > 0 && self.stage != Stage::Answered {
                    self.place.failed.forget(self.place.peer);
                    self.stage = Stage::Answered;
                    self.waiting = None;
                    limit.enter(Phase::Read);
                }
                self.open.input.came(count);
                Ok(count > 0)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Keeps it for the next request, after a whole answer, unless there is more than that. What has come to the kernel
    /// meanwhile is looked at when the next request is sent.
    pub(in crate::delivery) fn put_away(mut self, closed_after: Option<Duration>) {
        let is_clean = self.refused.is_none()
            && self.input().is_empty()
            && match &mut self.open.stream {
                Stream::Plain(_) => true,
                Stream::Tls(stream) => matches!(stream.held(), Ok(Unasked::Nothing)),
            };
        if !is_clean {
            if self.open.has_stray() {
                self.place.kept.distrust(&self.place.server);
            }
            return;
        }
        // Of many servers each may have one that is kept.
        self.open.input = Input::default();
        let Place { kept, budget, server, peer, generation, .. } = self.place;
        kept.put(&server, (peer, generation), closed_after, self.open);
        // Whoever waits may have looked before it was there.
        if budget.is_short() {
            kept.close_oldest();
        }
    }

    /// Fails unless nothing has come since the last answer ended.
    fn check_silence(&mut self) -> Result<(), Error> {
        let unasked = self.open.unasked();
        if matches!(unasked, Ok(Unasked::Stray)) {
            self.place.kept.distrust(&self.place.server);
        }
        match unasked {
            Ok(Unasked::Nothing) => Ok(()),
            _ if self.stage == Stage::Kept => Err(ConnectionError::Unused.into()),
            Ok(Unasked::Bytes | Unasked::Stray) => Err(ConnectionError::SpokeFirst.into()),
            Ok(Unasked::End) => Err(Error::Io(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(error),
        }
    }

    /// An error that came up while an answer is awaited.
    fn failed(&self, error: Error) -> Error {
        let is_silent = match self.stage {
            Stage::Asked { was_kept } => !was_kept || matches!(error, Error::Timeout(_)),
            _ => false,
        };
        if is_silent {
            self.place.note_silence();
        }
        // A part of a record is a part of an answer.
        let has_begun = matches!(&self.open.stream, Stream::Tls(stream) if stream.is_in_record());
        let is_unanswered = self.stage == Stage::Asked { was_kept: true } && !has_begun;
        match error {
            Error::Io(error) if is_unanswered && was_ended(error.kind()) => ConnectionError::Unanswered(error).into(),
            error => error,
        }
    }
}

/// Takes that many bytes out of the front of the parts.
fn advance(parts: &mut [&[u8]], mut count: usize) {
    for part in parts {
        let taken = count.min(part.len());
        *part = part.get(taken..).unwrap_or_default();
        count -= taken;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_sent_is_taken_out_of_the_parts_in_order() {
        for (count, left) in [(0, ["ab", "cd"]), (1, ["b", "cd"]), (2, ["", "cd"]), (3, ["", "d"]), (4, ["", ""])] {
            let mut parts = [&b"ab"[..], b"cd"];
            advance(&mut parts, count);
            assert_eq!(parts, left.map(str::as_bytes));
        }
    }

    #[test]
    fn a_kept_connection_that_ended_or_got_more_than_an_answer_is_not_used() {
        for more in [Some(&b"HTTP/1.1 200 OK\r\n"[..]), Some(b""), None] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let seen = stream.try_clone().unwrap();
            let peer = stream.peer_addr().unwrap();
            let (budget, all) = (Budget::new(1), Arc::new(KeptConnections::new(1)));
            let server = Server::of(&"http://crm.example/".parse().unwrap(), None).unwrap();
            let stream = Stream::Plain(Socket::over(stream, peer).unwrap());
            let permit = budget.try_acquire().unwrap();
            let place = |peer| {
                let (kept, budget) = (Arc::clone(&all), Arc::clone(&budget));
                Place { kept, budget, failed: Arc::default(), server: server.clone(), peer, generation: 0 }
            };
            let waiting = all.wait(&server, Instant::now());
            let mut connection = Connection::new(stream, permit, place(peer), waiting);
            let (mut peer_end, _) = listener.accept().unwrap();
            peer_end.write_all(b"answer").unwrap();
            let mut limit = Limit::within(Duration::from_secs(10));
            assert!(connection.receive(&mut limit).unwrap());
            connection.consume(connection.input().len());
            connection.put_away(None);
            let (peer, open) = all.take(&server, &[peer]).expect("it is kept");
            let mut connection = Connection::kept(open, place(peer));
            match more {
                None => {
                    connection.begin(&mut limit).unwrap();
                    assert!(connection.send(&mut [&b"x"[..], b"y"]).unwrap());
                    continue;
                }
                Some(b"") => drop(peer_end),
                Some(bytes) => peer_end.write_all(bytes).unwrap(),
            }
            // Until it has arrived.
            while seen.peek(&mut [0]).is_err() {}
            let refused = connection.begin(&mut limit).unwrap_err();
            assert!(matches!(ConnectionError::of(&refused), Some(ConnectionError::Unused)), "{refused:?}");
        }
    }
}
