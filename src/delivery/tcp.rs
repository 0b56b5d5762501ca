//! The TCP connections of deliveries, under the HTTP client and TLS. Runs on delivery threads, which block in it. It
//! keeps an attempt's time limit exactly, where the limits that a socket itself can have are rounded up by an eighth, and
//! it asks as little of the kernel as can be: a request on a connection that is at hand is one call to send and one to
//! receive.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};
use ureq::{Error, Timeout};

use super::phases;

/// How long a thread sleeps in one receive before it looks at the clock again.
const RECEIVE_FOR: Duration = Duration::from_secs(1);
/// With less time left than this, the kernel's rounding could matter, and the thread waits by a timer that is exact.
const NEARLY_OVER: Duration = Duration::from_secs(2);
/// Whatever is left, an address gets this long.
const LEAST_PER_ADDRESS: Duration = Duration::from_millis(10);

/// Makes connections: the first link of a chain of connectors.
#[derive(Debug)]
pub(super) struct Tcp;

/// A connection to an endpoint.
#[derive(Debug)]
pub(super) struct TcpConnection {
    stream: TcpStream,
    buffers: LazyBuffers,
    /// Something was received, and since then nobody asked whether the connection is open.
    is_fresh: bool,
}

/// Until when something has to be done, and what the client calls that limit.
#[derive(Clone, Copy)]
struct Limit {
    at: Option<Instant>,
    reason: Timeout,
}

impl Limit {
    fn of(timeout: NextTimeout) -> Self {
        // A limit too far away to be told is none.
        Self { at: Instant::now().checked_add(*timeout.after), reason: timeout.reason }
    }

    /// How much time is left, if there is a limit.
    fn left(self) -> Result<Option<Duration>, Error> {
        let Some(at) = self.at else { return Ok(None) };
        match at.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::Timeout(self.reason)),
            left => Ok(Some(left)),
        }
    }
}

impl Connector for Tcp {
    type Out = TcpConnection;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<TcpConnection>, Error> {
        let stream = connect(&details.addrs, Limit::of(details.timeout))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RECEIVE_FOR))?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(TcpConnection { stream, buffers, is_fresh: false }))
    }
}

/// Tries one address after the other, each for an equal share of the time that is left. Gives the last error.
fn connect(addresses: &[SocketAddr], limit: Limit) -> Result<TcpStream, Error> {
    let mut failed = Error::ConnectionFailed;
    for (tried, address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let connected = match limit.left()? {
            Some(left) => TcpStream::connect_timeout(address, (left / untried).max(LEAST_PER_ADDRESS)),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => failed = Error::Timeout(limit.reason),
            Err(error) => failed = Error::Io(error),
        }
    }
    Err(failed)
}

impl TcpConnection {
    /// Waits until the connection can be read from or written to, and fails at the limit.
    fn wait_until(&self, ready: PollFlags, limit: Limit) -> Result<(), Error> {
        let left = limit.left()?.map(Timespec::try_from).transpose();
        let left = left.map_err(|_| Error::Timeout(limit.reason))?;
        match poll(&mut [PollFd::new(&self.stream, ready)], left.as_ref()) {
            Ok(0) => Err(Error::Timeout(limit.reason)),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Error::Io(error.into())),
        }
    }
}

impl Transport for TcpConnection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let mut limit = None;
        let mut sent = 0;
        while sent < amount {
            let rest = self.buffers.output().get(sent..amount).unwrap_or_default();
            match send(&self.stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(0) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                Ok(count) => sent += count,
                // Nothing before this has waited.
                Err(Errno::AGAIN) => {
                    let limit = *limit.get_or_insert_with(|| Limit::of(timeout.for_write()));
                    self.wait_until(PollFlags::OUT, limit)?;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let limit = Limit::of(timeout);
        let mut left = Some(*timeout.after);
        loop {
            // A receive of its own would go on for a second more.
            let flags = if left.is_some_and(|left| left < NEARLY_OVER) {
                self.wait_until(PollFlags::IN, limit)?;
                RecvFlags::DONTWAIT
            } else {
                RecvFlags::empty()
            };
            match recv(&self.stream, self.buffers.input_append_buf(), flags) {
                Ok((count, _)) => {
                    phases::note_received(count)?;
                    self.buffers.input_appended(count);
                    self.is_fresh = count > 0;
                    return Ok(count > 0);
                }
                Err(Errno::AGAIN | Errno::INTR) => left = limit.left()?,
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // The client asks when it puts a connection away and again when it takes it out. What has come by then is seen then.
        if std::mem::take(&mut self.is_fresh) {
            return true;
        }
        // Nothing may have come: neither an end nor bytes that nobody asked for.
        let mut byte = [0; 1];
        recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) == Err(Errno::AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_that_ended_or_got_more_than_an_answer_is_not_open_when_it_is_taken_out() {
        for more in [&b"HTTP/1.1 200 OK\r\n"[..], b""] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut connection = TcpConnection { stream, buffers: LazyBuffers::new(1024, 1024), is_fresh: false };
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"answer").unwrap();
            let after = Duration::from_secs(10).into();
            let timeout = NextTimeout { after, reason: Timeout::Global, per_read: None, per_write: None };
            assert!(connection.await_input(timeout).unwrap());
            assert!(connection.is_open(), "when it is put away");
            assert!(connection.is_open(), "when it is taken out, with nothing more");
            if more.is_empty() {
                drop(peer);
            } else {
                peer.write_all(more).unwrap();
            }
            connection.wait_until(PollFlags::IN, Limit::of(timeout)).unwrap();
            assert!(!connection.is_open());
        }
    }

    #[test]
    fn nothing_is_waited_for_beyond_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(RECEIVE_FOR)).unwrap();
        let mut connection = TcpConnection { stream, buffers: LazyBuffers::new(1024, 1024), is_fresh: false };
        // One of many is enough, because a machine may stand still for a while.
        let mut waits = (0..200).map(|_| {
            let begun = Instant::now();
            let after = Duration::from_millis(20).into();
            let ended =
                connection.await_input(NextTimeout { after, reason: Timeout::Global, per_read: None, per_write: None });
            let waited = begun.elapsed();
            assert!(matches!(ended, Err(Error::Timeout(Timeout::Global))), "{ended:?}");
            assert!(waited >= Duration::from_millis(20), "{waited:?}");
            waited
        });
        assert!(waits.any(|waited| waited < RECEIVE_FOR / 2), "it always waits for what the system was told");
    }
}
