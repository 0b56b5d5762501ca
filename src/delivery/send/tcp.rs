//! The TCP connections of deliveries, under TLS and HTTP. Runs on delivery threads, which block in it. It keeps an
//! attempt's time limit exactly, where the limits that a socket itself can have are rounded up by an eighth, and it asks as
//! little of the kernel as can be.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use ureq::Error;

use crate::delivery::send::limit::Limit;

/// Longest single receive before the deadline is checked again.
const RECEIVE_FOR: Duration = Duration::from_secs(1);
/// With less time left than this, the kernel's rounding could matter, so an exact timer is used.
const EXACT_TIMER_BELOW: Duration = Duration::from_secs(2);
/// Maximum bytes received for one request; certificates, headers and the part of the body that is read need a quarter of it.
const MOST_BYTES: usize = 1024 * 1024;

/// Does an error of this kind mean that the other side ended the connection?
pub(in crate::delivery) fn was_ended(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(in crate::delivery) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// Bytes received since the last request was begun.
    received: Cell<usize>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What has come on a connection on which nothing is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Unasked {
    /// Nothing.
    Nothing,
    /// Bytes, or a part of what will be bytes.
    Bytes,
    /// Bytes of an answer that nobody asked for.
    Stray,
    /// The other side has ended it.
    End,
}

impl Socket {
    /// A connection that is made already.
    pub(in crate::delivery) fn over(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RECEIVE_FOR))?;
        Ok(Self { stream, peer, received: Cell::new(0) })
    }

    /// The connection itself.
    pub(in crate::delivery) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// The address that it goes to.
    pub(in crate::delivery) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Another request begins: what comes from now on is its answer.
    pub(in crate::delivery) fn begin_request(&self) {
        self.received.set(0);
    }

    /// Counts received bytes. An error beyond the maximum, as with a receiver that sends without end what is no answer.
    fn note_received(&self, bytes: usize) -> Result<(), Error> {
        let received = self.received.get().saturating_add(bytes);
        self.received.set(received);
        if received > MOST_BYTES { Err(Error::LargeResponseHeader(received, MOST_BYTES)) } else { Ok(()) }
    }

    /// Sends what can be sent by now, and fails with [`io::ErrorKind::WouldBlock`] if nothing can.
    pub(in crate::delivery) fn send_at_once(&self, bytes: &[u8]) -> Result<usize, Error> {
        loop {
            match send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(0) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
    }

    /// The same of two parts, one behind the other.
    pub(in crate::delivery) fn send_parts_at_once(&self, parts: [&[u8]; 2]) -> Result<usize, Error> {
        let [first, second] = parts;
        if second.is_empty() {
            return self.send_at_once(first);
        }
        let both = [IoSlice::new(first), IoSlice::new(second)];
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.stream, &both, &mut SendAncillaryBuffer::default(), flags) {
                Ok(0) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
    }

    /// Sends some of it, once some can be sent.
    pub(in crate::delivery) fn send(&self, bytes: &[u8], limit: &mut Limit) -> Result<usize, Error> {
        loop {
            match self.send_at_once(bytes) {
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_until(PollFlags::OUT, limit)?;
                }
                sent => return sent,
            }
        }
    }

    /// Waits until it can be sent to or received from.
    pub(in crate::delivery) fn wait(&self, limit: &mut Limit) -> Result<(), Error> {
        self.wait_until(PollFlags::OUT | PollFlags::IN, limit)
    }

    /// Waits for something to come and takes it; 0 bytes are the end.
    pub(in crate::delivery) fn receive(&self, into: &mut [u8], limit: &mut Limit) -> Result<usize, Error> {
        loop {
            // A blocking receive could take a second longer.
            let flags = if limit.left()?.is_some_and(|left| left < EXACT_TIMER_BELOW) {
                self.wait_until(PollFlags::IN, limit)?;
                RecvFlags::DONTWAIT
            } else {
                RecvFlags::empty()
            };
            match recv(&self.stream, &mut *into, flags) {
                Ok((count, _)) => {
                    self.note_received(count)?;
                    return Ok(count);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
    }

    /// Takes what has come by now, and fails with [`io::ErrorKind::WouldBlock`] if nothing has.
    pub(in crate::delivery) fn receive_at_once(&self, into: &mut [u8]) -> Result<usize, Error> {
        let (count, _) = recv(&self.stream, into, RecvFlags::DONTWAIT).map_err(io::Error::from)?;
        self.note_received(count)?;
        Ok(count)
    }

    /// What has come by now. It is left where it is.
    pub(in crate::delivery) fn unasked(&self) -> Result<Unasked, Error> {
        match recv(&self.stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => Ok(Unasked::Nothing),
            Ok((0, _)) => Ok(Unasked::End),
            Ok(_) => Ok(Unasked::Bytes),
            Err(error) => Err(Error::Io(error.into())),
        }
    }

    /// Waits until the connection can be read from or written to, and fails at the limit.
    fn wait_until(&self, ready: PollFlags, limit: &mut Limit) -> Result<(), Error> {
        let left = limit.left()?.map(Timespec::try_from).transpose();
        let left = left.map_err(|_| Limit::error())?;
        match poll(&mut [PollFd::new(&self.stream, ready)], left.as_ref()) {
            Ok(0) => Err(Limit::error()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Error::Io(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use ureq::Timeout;

    use super::*;

    #[test]
    fn nothing_is_waited_for_beyond_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Socket::over(TcpStream::connect(address).unwrap(), address).unwrap();
        // One of many is enough, because a machine may stand still for a while.
        let mut waits = (0..200).map(|_| {
            let begun = Instant::now();
            let ended = socket.receive(&mut [0; 16], &mut Limit::within(Duration::from_millis(20)));
            let waited = begun.elapsed();
            assert!(matches!(ended, Err(Error::Timeout(Timeout::Global))), "{ended:?}");
            assert!(waited >= Duration::from_millis(20), "{waited:?}");
            waited
        });
        assert!(waits.any(|waited| waited < RECEIVE_FOR / 2), "it always waits for what the system was told");
    }
}
