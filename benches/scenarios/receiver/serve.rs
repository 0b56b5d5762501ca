//! Connections of the receiver, with and without TLS, all on one thread.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

use super::Behaviour;
use super::tally::Tally;
use crate::Result;
use crate::wire::{self, Extent};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
const NGINX: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 02 Mar 2026 07:58:12 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";
const ERROR: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno";

const TOKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 79\r\n\r\n\
    {\"access_token\": \"benchmark-token\", \"token_type\": \"Bearer\", \"expires_in\": 3600}";

const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";

/// One endpoint.
#[derive(Clone)]
struct Endpoint {
    origin: usize,
    behaviour: Behaviour,
    tally: Rc<RefCell<Tally>>,
    /// What one that is limited may still take, and as of when.
    bucket: Rc<Cell<(f64, Instant)>>,
}

/// Serves an endpoint until the process ends.
pub fn listen(
    listener: TcpListener,
    origin: usize,
    behaviour: Behaviour,
    tally: &Rc<RefCell<Tally>>,
    tls: Option<Arc<ServerConfig>>,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let bucket = Rc::new(Cell::new((f64::INFINITY, Instant::now())));
    let endpoint = Endpoint { origin, behaviour, tally: Rc::clone(tally), bucket };
    tokio::task::spawn_local(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, most likely: give connections time to close.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            tokio::task::spawn_local(endpoint.clone().connection(stream, tls.clone()));
        }
    });
    Ok(())
}

impl Endpoint {
    async fn connection(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        self.tally.borrow_mut().opened(self.origin);
        let _ = stream.set_nodelay(true);
        // A connection may end in any way the other side likes; what counts has been counted by then.
        let _ = match tls {
            Some(config) => self.encrypted(stream, config).await,
            None => self.plain(stream).await,
        };
        self.tally.borrow_mut().closed(self.origin);
    }

    async fn plain(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut inbox = Vec::with_capacity(4 * 1024);
        loop {
            while let Some(answer) = self.take(&mut inbox)? {
                wire::write(&mut stream, answer).await?;
            }
            if wire::read(&mut stream, &mut inbox).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn encrypted(&self, stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
        let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut inbox = Vec::with_capacity(4 * 1024);
        let mut chunk = [0; 4 * 1024];
        loop {
            while let Some(answer) = self.take(&mut inbox)? {
                session.writer().write_all(answer)?;
            }
            while session.wants_write() {
                match session.write_tls(&mut Socket(&stream)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
                    other => drop(other?),
                }
            }
            match session.read_tls(&mut Socket(&stream)) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await?,
                other => drop(other?),
            }
            session.process_new_packets().map_err(io::Error::other)?;
            loop {
                match session.reader().read(&mut chunk) {
                    Ok(0) => return Ok(()),
                    Ok(count) => inbox.extend_from_slice(&chunk[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Takes one request out of the inbox, once it is there, and says what to answer.
    fn take(&self, inbox: &mut Vec<u8>) -> io::Result<Option<&'static [u8]>> {
        let Some(extent) = Extent::of(inbox)? else {
            return Ok(None);
        };
        let (takes, answer) = match self.behaviour {
            Behaviour::Refusing(worker) if is_of(worker, &inbox[extent.head..extent.total()]) => (false, ERROR),
            Behaviour::Healthy | Behaviour::Down | Behaviour::Refusing(_) => (true, OK),
            Behaviour::Nginx => (true, NGINX),
            Behaviour::Limited(a_second) if self.has_token(a_second.into()) => (true, OK),
            Behaviour::Limited(_) => (false, TOO_MANY),
            Behaviour::Tokens => (false, TOKEN),
            Behaviour::Failing => (false, ERROR),
            Behaviour::Hanging => (false, &[][..]),
        };
        self.tally.borrow_mut().arrived(self.origin, takes, &inbox[extent.head..extent.total()]);
        inbox.drain(..extent.total());
        Ok(Some(answer))
    }

    /// Takes one out of the bucket, if there is one.
    fn has_token(&self, a_second: f64) -> bool {
        let (left, at) = self.bucket.get();
        let now = Instant::now();
        let tokens = (left + (now - at).as_secs_f64() * a_second).min(a_second);
        let has_one = tokens >= 1.0;
        self.bucket.set((if has_one { tokens - 1.0 } else { tokens }, now));
        has_one
    }
}

/// Whether an event is of that worker.
fn is_of(worker: u64, body: &[u8]) -> bool {
    wire::behind(body, b"\"worker_id\":").and_then(wire::number).is_some_and(|(found, _)| found == worker)
}

/// A socket of the executor as rustls wants it: it never waits, it says that it would have to.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.try_write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
