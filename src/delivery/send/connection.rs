//! The connections of deliveries as the HTTP client (ureq 3.5) uses them: plain or over TLS. Runs on delivery threads.
//!
//! A connection is kept for the next request, and whatever comes on it between two requests answers neither: right before
//! the first byte of a request is sent, every buffer is looked into, the kernel's too. If anything has come, or the
//! connection has ended, nothing is sent, and the request goes out on another connection.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

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
    pub(in crate::delivery) tls: Arc<TlsClient>,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(in crate::delivery) struct Connection {
    stream: Stream,
    buffers: LazyBuffers,
    stage: Stage,
}

#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream>),
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
        let mut limit = Limit::of(details.timeout);
        let socket = Socket::connect(&details.addrs, &mut limit)?;
        let stream = if details.needs_tls() {
            let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|_| Error::Tls("no certificate can be made for that host name"))?;
            Stream::Tls(Box::new(TlsStream::connect(socket, self.tls.config(), name, &mut limit)?))
        } else {
            Stream::Plain(socket)
        };
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Connection { stream, buffers, stage: Stage::New }))
    }
}

impl Connection {
    /// Fails unless nothing has come since the last answer ended.
    fn check_silence(&mut self) -> Result<(), Error> {
        let unasked = match &mut self.stream {
            _ if !self.buffers.input().is_empty() => Ok(Unasked::Bytes),
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
        let sent = match &mut self.stream {
            Stream::Plain(socket) => socket.send(output, &mut Limit::of(timeout)),
            Stream::Tls(stream) => stream.send(output, &mut Limit::of(timeout)),
        };
        sent.map_err(|error| self.failed(error))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if phase::current() == Phase::Send {
            phase::enter(Phase::Wait);
        }
        let into = self.buffers.input_append_buf();
        let received = match &mut self.stream {
            Stream::Plain(socket) => socket.receive(into, &mut Limit::of(timeout)),
            Stream::Tls(stream) => stream.receive(into, &mut Limit::of(timeout)),
        };
        match received {
            Ok(0) if self.stage != Stage::Answered => Err(self.failed(Error::Io(io::ErrorKind::UnexpectedEof.into()))),
            Ok(count) => {
                if count > 0 {
                    self.stage = Stage::Answered;
                    phase::enter(Phase::Read);
                }
                self.buffers.input_appended(count);
                Ok(count > 0)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The client asks when it puts a connection away, at the end of an answer, and again when it takes it out. What has
    /// come to the kernel meanwhile is looked at when the request is sent.
    fn is_open(&mut self) -> bool {
        self.stage = Stage::Kept;
        self.buffers.input().is_empty()
            && match &mut self.stream {
                Stream::Plain(_) => true,
                Stream::Tls(stream) => matches!(stream.held(), Ok(Unasked::Nothing)),
            }
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use ureq::Timeout;

    use super::*;

    #[test]
    fn a_kept_connection_that_ended_or_got_more_than_an_answer_is_not_used() {
        for more in [Some(&b"HTTP/1.1 200 OK\r\n"[..]), Some(b""), None] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let seen = stream.try_clone().unwrap();
            let stream = Stream::Plain(Socket::over(stream).unwrap());
            let mut connection = Connection { stream, buffers: LazyBuffers::new(1024, 1024), stage: Stage::New };
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"answer").unwrap();
            let after = Duration::from_secs(10).into();
            let timeout = NextTimeout { after, reason: Timeout::Global, per_read: None, per_write: None };
            assert!(connection.await_input(timeout).unwrap());
            let count = connection.buffers().input().len();
            connection.buffers().input_consume(count);
            assert!(connection.is_open(), "when it is put away");
            assert!(connection.is_open(), "when it is taken out");
            match more {
                None => {
                    connection.transmit_output(1, timeout).unwrap();
                    continue;
                }
                Some(b"") => drop(peer),
                Some(bytes) => peer.write_all(bytes).unwrap(),
            }
            // Until it has arrived.
            while seen.peek(&mut [0]).is_err() {}
            let refused = connection.transmit_output(1, timeout).unwrap_err();
            assert!(matches!(ConnectionError::of(&refused), Some(ConnectionError::Unused)), "{refused:?}");
        }
    }
}
