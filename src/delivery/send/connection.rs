//! The connections of deliveries as the HTTP client (ureq 3.5) uses them: plain or over TLS. Runs on delivery threads.
//!
//! A connection is kept for the next request, and whatever comes on it between two requests answers neither: right before
//! the first byte of a request is sent, every buffer is looked into, the kernel's too. If anything has come, or the
//! connection has ended, nothing is sent, and the request goes out on another connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

use crate::delivery::send::addresses::in_order;
use crate::delivery::send::budget::{Budget, Permit};
use crate::delivery::send::dial::{DialError, Dialler};
use crate::delivery::send::failed_addresses::FailedAddresses;
use crate::delivery::send::guard::Guard;
use crate::delivery::send::kept::{KeptConnections, ServerName as Server};
use crate::delivery::send::phase;
use crate::delivery::send::tcp::{Limit, Socket, Unasked};
use crate::delivery::send::tls::TlsClient;
use crate::delivery::send::tls_stream::TlsStream;
use crate::domain::delivery::outcome::Phase;

/// Does an error of this kind mean that the other side ended the connection?
pub(in crate::delivery) fn was_ended(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// What can be wrong with a connection beside what the system, TLS or HTTP say of it.
#[derive(Debug, thiserror::Error)]
pub(in crate::delivery) enum ConnectionError {
    /// A kept one ended, or something came on it, before a byte of the request was sent.
    #[error("the connection was no longer of use")]
    Unused,
    /// A kept one ended before a byte of an answer came: most likely it was closed while nothing was under way.
    #[error("the connection ended without an answer: {0}")]
    Unanswered(io::Error),
    /// Something came on a new one before a byte of the request was sent.
    #[error("it came before the request was sent")]
    SpokeFirst,
    /// All connections that deliveries may have were in use until the time limit.
    #[error("all connections that deliveries may have are in use")]
    NoneLeft,
}

impl ConnectionError {
    /// What an error of the HTTP client stands for, if it is one of these.
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

/// Makes connections for the HTTP client.
#[derive(Debug)]
pub(in crate::delivery) struct Connections {
    pub(in crate::delivery) guard: Guard,
    pub(in crate::delivery) tls: Arc<TlsClient>,
    pub(in crate::delivery) failed: Arc<FailedAddresses>,
    pub(in crate::delivery) budget: Arc<Budget>,
    pub(in crate::delivery) kept: Arc<KeptConnections<Open>>,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(in crate::delivery) struct Connection {
    /// `None` when it was put away.
    open: Option<Open>,
    buffers: LazyBuffers,
    stage: Stage,
    place: Place,
}

/// An open connection, and the right to it, which ends after it.
#[derive(Debug)]
pub(in crate::delivery) struct Open {
    stream: Stream,
    /// Empty while it is in use.
    buffers: LazyBuffers,
    _permit: Permit,
}

/// Where a connection is kept after its request.
#[derive(Debug)]
struct Place {
    kept: Arc<KeptConnections<Open>>,
    budget: Arc<Budget>,
    failed: Arc<FailedAddresses>,
    server: Server,
    peer: SocketAddr,
    generation: u64,
}

#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream>),
}

/// What stands for buffers that are elsewhere; it allocates nothing.
fn no_buffers() -> LazyBuffers {
    LazyBuffers::new(1, 1)
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Plain(socket) => socket.as_fd(),
            Stream::Tls(stream) => stream.as_fd(),
        }
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

impl Connector for Connections {
    type Out = Connection;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Connection>, Error> {
        let server = Server::of(details.uri).ok_or(Error::HostNotFound)?;
        let generation = self.kept.generation();
        let mut limit = Limit::of(details.timeout);
        phase::enter(Phase::Resolve);
        let addresses = self.guard.addresses(details.uri, &mut limit)?;
        phase::enter(Phase::Connect);
        if let Some((peer, mut open)) = self.kept.take(&server, &addresses) {
            let buffers = std::mem::replace(&mut open.buffers, no_buffers());
            let place = self.place(server, peer, generation);
            return Ok(Some(Connection { open: Some(open), buffers, stage: Stage::Kept, place }));
        }
        let now = Instant::now();
        let ordered = in_order(&addresses, |address| self.failed.failed_at(address, now));
        let make_room = || self.kept.close_oldest();
        let dialler = Dialler { budget: &self.budget, failed: &self.failed, make_room: &make_room };
        let (socket, permit) = dialler.dial(&ordered, &mut limit).map_err(|error| match error {
            DialError::NoneLeft => ConnectionError::NoneLeft.into(),
            DialError::Failed(error) => error,
        })?;
        let peer = socket.peer();
        let place = self.place(server, peer, generation);
        let stream = if details.needs_tls() {
            let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|_| Error::Tls("no certificate can be made for that host name"))?;
            phase::enter(Phase::Handshake);
            let stream = TlsStream::connect(socket, self.tls.config(), name, &mut limit);
            Stream::Tls(Box::new(stream.inspect_err(|_| place.note_silence())?))
        } else {
            Stream::Plain(socket)
        };
        let open = Open { stream, buffers: no_buffers(), _permit: permit };
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Connection { open: Some(open), buffers, stage: Stage::New, place }))
    }
}

impl Connections {
    fn place(&self, server: Server, peer: SocketAddr, generation: u64) -> Place {
        let (kept, budget, failed) = (Arc::clone(&self.kept), Arc::clone(&self.budget), Arc::clone(&self.failed));
        Place { kept, budget, failed, server, peer, generation }
    }
}

impl Place {
    /// The peer took the connection, and gave no answer. The next one goes elsewhere if it can; and a receiver that serves
    /// one connection at a time may wait on another one.
    fn note_silence(&self) {
        self.failed.note(self.peer, Instant::now());
        self.kept.close_all_of(&self.server);
    }
}

impl Connection {
    fn stream(&mut self) -> Result<&mut Stream, Error> {
        match &mut self.open {
            Some(open) => Ok(&mut open.stream),
            None => Err(ConnectionError::Unused.into()),
        }
    }

    /// Fails unless nothing has come since the last answer ended.
    fn check_silence(&mut self) -> Result<(), Error> {
        let has_input = !self.buffers.input().is_empty();
        let unasked = match self.stream()? {
            _ if has_input => Ok(Unasked::Bytes),
            Stream::Plain(socket) => socket.unasked(),
            Stream::Tls(stream) => stream.unasked(),
        };
        match unasked {
            Ok(Unasked::Nothing) => Ok(()),
            _ if self.stage == Stage::Kept => Err(ConnectionError::Unused.into()),
            Ok(Unasked::Bytes) => Err(ConnectionError::SpokeFirst.into()),
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
        match error {
            Error::Io(error) if self.stage == (Stage::Asked { was_kept: true }) && was_ended(error.kind()) => {
                ConnectionError::Unanswered(error).into()
            }
            error => error,
        }
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        phase::enter(Phase::Send);
        if matches!(self.stage, Stage::New | Stage::Kept) {
            self.check_silence()?;
            self.stage = Stage::Asked { was_kept: self.stage == Stage::Kept };
        }
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        let sent = match self.open.as_mut().map(|open| &mut open.stream) {
            Some(Stream::Plain(socket)) => socket.send(output, &mut Limit::of(timeout)),
            Some(Stream::Tls(stream)) => stream.send(output, &mut Limit::of(timeout)),
            None => Err(ConnectionError::Unused.into()),
        };
        sent.map_err(|error| self.failed(error))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if phase::current() == Phase::Send {
            phase::enter(Phase::Wait);
        }
        let into = self.buffers.input_append_buf();
        let received = match self.open.as_mut().map(|open| &mut open.stream) {
            Some(Stream::Plain(socket)) => socket.receive(into, &mut Limit::of(timeout)),
            Some(Stream::Tls(stream)) => stream.receive(into, &mut Limit::of(timeout)),
            None => Err(ConnectionError::Unused.into()),
        };
        match received {
            Ok(0) if self.stage != Stage::Answered => Err(self.failed(Error::Io(io::ErrorKind::UnexpectedEof.into()))),
            Ok(count) => {
                if count > 0 {
                    if self.stage != Stage::Answered {
                        self.place.failed.forget(self.place.peer);
                    }
                    self.stage = Stage::Answered;
                    phase::enter(Phase::Read);
                }
                self.buffers.input_appended(count);
                Ok(count > 0)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The client asks at the end of an answer, when it would put the connection away. It is kept here instead, and the
    /// client has none. What has come to the kernel meanwhile is looked at when the next request is sent.
    fn is_open(&mut self) -> bool {
        let is_clean = self.buffers.input().is_empty()
            && match self.stream() {
                Ok(Stream::Plain(_)) => true,
                Ok(Stream::Tls(stream)) => matches!(stream.held(), Ok(Unasked::Nothing)),
                Err(_) => false,
            };
        if is_clean && let Some(mut open) = self.open.take() {
            open.buffers = std::mem::replace(&mut self.buffers, no_buffers());
            let Place { kept, budget, server, peer, generation, .. } = &self.place;
            kept.put(server, *peer, *generation, open);
            // Whoever waits may have looked before it was there.
            if budget.is_short() {
                kept.close_oldest();
            }
        }
        false
    }

    fn is_tls(&self) -> bool {
        matches!(&self.open, Some(Open { stream: Stream::Tls(_), .. }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use ureq::Timeout;

    use super::*;
    use crate::delivery::send::tls::client_config;
    use crate::domain::endpoint::address::AddressRule;

    fn connections() -> Connections {
        let guard = Guard::new(AddressRule::default(), 1);
        let tls = Arc::new(TlsClient::new(client_config(Vec::new()).unwrap()));
        let (failed, kept) = (Arc::default(), Arc::new(KeptConnections::new(1)));
        Connections { guard, tls, failed, budget: Budget::new(1), kept }
    }

    #[test]
    fn a_kept_connection_that_ended_or_got_more_than_an_answer_is_not_used() {
        for more in [Some(&b"HTTP/1.1 200 OK\r\n"[..]), Some(b""), None] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let seen = stream.try_clone().unwrap();
            let peer = stream.peer_addr().unwrap();
            let connections = connections();
            let server = Server::of(&"http://crm.example/".parse().unwrap()).unwrap();
            let stream = Stream::Plain(Socket::over(stream, peer).unwrap());
            let permit = connections.budget.try_acquire().unwrap();
            let open = Some(Open { stream, buffers: no_buffers(), _permit: permit });
            let (buffers, place) = (LazyBuffers::new(1024, 1024), connections.place(server.clone(), peer, 0));
            let mut connection = Connection { open, buffers, stage: Stage::New, place };
            let (mut peer_end, _) = listener.accept().unwrap();
            peer_end.write_all(b"answer").unwrap();
            let after = Duration::from_secs(10).into();
            let timeout = NextTimeout { after, reason: Timeout::Global, per_read: None, per_write: None };
            assert!(connection.await_input(timeout).unwrap());
            let count = connection.buffers().input().len();
            connection.buffers().input_consume(count);
            assert!(!connection.is_open(), "the client keeps none");
            let (peer, mut open) = connections.kept.take(&server, &[peer]).expect("it is kept");
            let buffers = std::mem::replace(&mut open.buffers, no_buffers());
            let place = connections.place(server, peer, 0);
            let mut connection = Connection { open: Some(open), buffers, stage: Stage::Kept, place };
            match more {
                None => {
                    connection.transmit_output(1, timeout).unwrap();
                    continue;
                }
                Some(b"") => drop(peer_end),
                Some(bytes) => peer_end.write_all(bytes).unwrap(),
            }
            // Until it has arrived.
            while seen.peek(&mut [0]).is_err() {}
            let refused = connection.transmit_output(1, timeout).unwrap_err();
            assert!(matches!(ConnectionError::of(&refused), Some(ConnectionError::Unused)), "{refused:?}");
        }
    }
}
