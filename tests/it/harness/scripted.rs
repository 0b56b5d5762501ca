//! A receiver, plain or over TLS, that does to each connection exactly what a test says, byte for byte.

use std::{
    io::{Read, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::{Gate, PATIENCE};

/// What is done on a connection.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends these bytes, over TLS as one record.
    Send(Vec<u8>),
    /// Sends several pieces in one write, over TLS each as a record of its own.
    Together(Vec<Vec<u8>>),
    /// Sends these bytes; over TLS only the first half of their record, and the rest before whatever is sent next.
    Torn(Vec<u8>),
    /// Keeps these bytes, and sends them in one write with what is sent next.
    BeforeNext(Vec<u8>),
    /// Waits until something more comes, and ends the connection if nothing does before the other side ends it.
    AwaitMore,
    /// Renews the keys of the connection, if it is one over TLS.
    RenewKeys,
    /// Waits until the gate is open.
    Wait(Gate),
    /// Ends the connection.
    Close,
}

type Rule = Box<dyn Fn(u64) -> Vec<Step> + Send + Sync>;

/// The receiver.
pub struct ScriptedReceiver {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    rule: Rule,
    seen: Mutex<Seen>,
    changed: Condvar,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Seen {
    /// The `entry_id` of the event in each request.
    requests: Vec<u64>,
    /// How many of them everything was done for.
    done: usize,
    connections: usize,
    /// How many of them went on with the session of an earlier one.
    resumed: usize,
}

impl ScriptedReceiver {
    /// One that does for each request what the rule says of the `entry_id` of its event, over TLS if it has what is needed for it.
    pub fn start(tls: Option<Arc<ServerConfig>>, rule: impl Fn(u64) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/hook", listener.local_addr().unwrap().port());
        let shared = Arc::new(Shared {
            tls,
            rule: Box::new(rule),
            seen: Mutex::default(),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { url, shared }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many connections were ever made.
    pub fn connections(&self) -> usize {
        self.shared.seen.lock().unwrap().connections
    }

    /// How many connections went on with the TLS session of an earlier one.
    pub fn resumed(&self) -> usize {
        self.shared.seen.lock().unwrap().resumed
    }

    /// Waits until everything was done for so many requests, and gives the `entry_id` of every request.
    #[track_caller]
    pub fn wait_until_done(&self, count: usize) -> Vec<u64> {
        self.wait_until("requests for which everything was done", |seen| seen.done >= count)
    }

    /// Waits until so many requests have come.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        self.wait_until("requests", |seen| seen.requests.len() >= count);
    }

    #[track_caller]
    fn wait_until(&self, what: &str, wish: impl Fn(&Seen) -> bool) -> Vec<u64> {
        let seen = self.shared.seen.lock().unwrap();
        let (seen, waited) = self.shared.changed.wait_timeout_while(seen, PATIENCE, |seen| !wish(seen)).unwrap();
        assert!(!waited.timed_out(), "too few {what}: {:?}", seen.requests);
        seen.requests.clone()
    }
}

impl Drop for ScriptedReceiver {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        self.seen.lock().unwrap().connections += 1;
        stream.set_nodelay(true).unwrap();
        let mut peer = match &self.tls {
            None => Peer::Plain(stream, Vec::new()),
            Some(config) => {
                let mut session = ServerConnection::new(Arc::clone(config)).unwrap();
                if config.send_half_rtt_data {
                    // Goes out together with the end of its own part of the handshake.
                    session.writer().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                }
                Peer::Tls(Box::new(StreamOwned::new(session, stream)), Vec::new())
            }
        };
        let mut is_first = true;
        while let Some(entry) = read_request(peer.reader()) {
            let steps = (self.rule)(entry);
            let mut seen = self.seen.lock().unwrap();
            seen.requests.push(entry);
            seen.resumed += usize::from(std::mem::take(&mut is_first) && peer.is_resumed());
            drop(seen);
            self.changed.notify_all();
            let is_open = steps.into_iter().all(|step| self.take(&mut peer, step).is_ok());
            let note_done = || {
                self.seen.lock().unwrap().done += 1;
                self.changed.notify_all();
            };
            if !is_open {
                // Whoever waits for that finds the connection ended.
                drop(peer);
                return note_done();
            }
            note_done();
        }
    }

    fn take(&self, peer: &mut Peer, step: Step) -> std::io::Result<()> {
        match step {
            Step::Send(bytes) => peer.send(&[bytes], false),
            Step::Together(pieces) => peer.send(&pieces, false),
            Step::Torn(bytes) => peer.send(&[bytes], true),
            Step::BeforeNext(bytes) => peer.keep(&bytes),
            Step::AwaitMore => match peer.socket().peek(&mut [0])? {
                0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            },
            Step::RenewKeys => peer.renew_keys(),
            Step::Wait(gate) => {
                gate.pass(&self.stopped);
                Ok(())
            }
            Step::Close => Err(std::io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// A connection, with what is still to be sent.
enum Peer {
    Plain(TcpStream, Vec<u8>),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>, Vec<u8>),
}

impl Peer {
    fn reader(&mut self) -> &mut dyn Read {
        match self {
            Self::Plain(stream, _) => stream,
            Self::Tls(stream, _) => stream,
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream, _) => stream,
            Self::Tls(stream, _) => &stream.sock,
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(_, held) => held.extend_from_slice(bytes),
            Self::Tls(stream, held) => {
                stream.conn.writer().write_all(bytes)?;
                while stream.conn.wants_write() {
                    stream.conn.write_tls(held)?;
                }
            }
        }
        Ok(())
    }

    fn is_resumed(&self) -> bool {
        matches!(self, Self::Tls(stream, _) if stream.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    fn send(&mut self, pieces: &[Vec<u8>], is_torn: bool) -> std::io::Result<()> {
        for piece in pieces {
            self.keep(piece)?;
        }
        match self {
            Self::Plain(stream, held) => stream.write_all(&std::mem::take(held)),
            Self::Tls(stream, held) => {
                let now = if is_torn { held.len() / 2 } else { held.len() };
                let now: Vec<u8> = held.drain(..now).collect();
                stream.sock.write_all(&now)
            }
        }
    }

    fn renew_keys(&mut self) -> std::io::Result<()> {
        if let Self::Tls(stream, _) = self {
            stream.conn.refresh_traffic_keys().unwrap();
        }
        self.keep(&[])?;
        self.send(&[], false)
    }
}

/// The `entry_id` of the event in the next request, 0 for a ping; `None` when no request comes.
fn read_request(stream: &mut dyn Read) -> Option<u64> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    let event: Value = serde_json::from_slice(&body).unwrap();
    Some(event["data"]["entry_id"].as_u64().unwrap_or(0))
}
