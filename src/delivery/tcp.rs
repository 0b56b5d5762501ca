//! The TCP connections of deliveries, under TLS and the HTTP client. Runs on delivery threads, which block in it. It
//! keeps an attempt's time limit exactly, where the limits that a socket itself can have are rounded up by an eighth, and
//! it asks as little of the kernel as can be.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use super::phases;

/// How long a thread sleeps in one receive before it looks at the clock again.
const RECEIVE_FOR: Duration = Duration::from_secs(1);
/// With less time left than this, the kernel's rounding could matter, and the thread waits by a timer that is exact.
const NEARLY_OVER: Duration = Duration::from_secs(2);
/// Whatever is left, an address gets this long.
const LEAST_PER_ADDRESS: Duration = Duration::from_millis(10);

/// A connection to an endpoint.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
}

/// What has come on a connection on which nothing is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// Nothing.
    Nothing,
    /// Bytes, or a part of what will be bytes.
    Bytes,
    /// The other side has ended it.
    End,
}

/// Until when something has to be done, and what the client calls that limit. The time runs from the first wait on, so
/// that what does not wait asks no clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    after: Duration,
    /// Known from the first wait on.
    at: Option<Instant>,
    reason: Timeout,
}

impl Limit {
    pub(super) fn of(timeout: NextTimeout) -> Self {
        Self { after: *timeout.after, at: None, reason: timeout.reason }
    }

    /// No wait at all.
    pub(super) fn at_once() -> Self {
        Self { after: Duration::ZERO, at: None, reason: Timeout::Global }
    }

    /// How much time is left, if there is a limit.
    fn left(&mut self) -> Result<Option<Duration>, Error> {
        let now = Instant::now();
        // A limit too far away to be told is none.
        let Some(at) = self.at.or_else(|| now.checked_add(self.after)) else { return Ok(None) };
        self.at = Some(at);
        match at.saturating_duration_since(now) {
            Duration::ZERO => Err(Error::Timeout(self.reason)),
            left => Ok(Some(left)),
        }
    }
}

impl Socket {
    /// Connects to one of the addresses: tries one after the other, each for an equal share of the time that is left.
    /// Gives the last error.
    pub(super) fn connect(addresses: &[SocketAddr], limit: &mut Limit) -> Result<Self, Error> {
        let mut failed = Error::ConnectionFailed;
        for (tried, address) in addresses.iter().enumerate() {
            let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let connected = match limit.left()? {
                Some(left) => TcpStream::connect_timeout(address, (left / untried).max(LEAST_PER_ADDRESS)),
                None => TcpStream::connect(address),
            };
            match connected {
                Ok(stream) => return Ok(Self::over(stream)?),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => failed = Error::Timeout(limit.reason),
                Err(error) => failed = Error::Io(error),
            }
        }
        Err(failed)
    }

    pub(super) fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RECEIVE_FOR))?;
        Ok(Self { stream })
    }

    /// Sends all of it.
    pub(super) fn send(&self, mut bytes: &[u8], limit: &mut Limit) -> Result<(), Error> {
        while !bytes.is_empty() {
            match send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(0) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait_until(PollFlags::OUT, limit)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
        Ok(())
    }

    /// Waits for something to come and takes it; 0 bytes are the end.
    pub(super) fn receive(&self, into: &mut [u8], limit: &mut Limit) -> Result<usize, Error> {
        loop {
            // A receive of its own would go on for a second more.
            let flags = if limit.left()?.is_some_and(|left| left < NEARLY_OVER) {
                self.wait_until(PollFlags::IN, limit)?;
                RecvFlags::DONTWAIT
            } else {
                RecvFlags::empty()
            };
            match recv(&self.stream, &mut *into, flags) {
                Ok((count, _)) => {
                    phases::note_received(count)?;
                    return Ok(count);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
    }

    /// Takes what has come by now, and fails with [`io::ErrorKind::WouldBlock`] if nothing has.
    pub(super) fn receive_at_once(&self, into: &mut [u8]) -> Result<usize, Error> {
        let (count, _) = recv(&self.stream, into, RecvFlags::DONTWAIT).map_err(io::Error::from)?;
        phases::note_received(count)?;
        Ok(count)
    }

    /// What has come by now. It is left where it is.
    pub(super) fn unasked(&self) -> Result<Unasked, Error> {
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
        let left = left.map_err(|_| Error::Timeout(limit.reason))?;
        match poll(&mut [PollFd::new(&self.stream, ready)], left.as_ref()) {
            Ok(0) => Err(Error::Timeout(limit.reason)),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Error::Io(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn nothing_is_waited_for_beyond_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Socket::over(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
        // One of many is enough, because a machine may stand still for a while.
        let mut waits = (0..200).map(|_| {
            let begun = Instant::now();
            let after = Duration::from_millis(20).into();
            let timeout = NextTimeout { after, reason: Timeout::Global, per_read: None, per_write: None };
            let ended = socket.receive(&mut [0; 16], &mut Limit::of(timeout));
            let waited = begun.elapsed();
            assert!(matches!(ended, Err(Error::Timeout(Timeout::Global))), "{ended:?}");
            assert!(waited >= Duration::from_millis(20), "{waited:?}");
            waited
        });
        assert!(waits.any(|waited| waited < RECEIVE_FOR / 2), "it always waits for what the system was told");
    }
}
