//! A receiver of webhooks that keeps every request and answers as a test wishes.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;

use super::{PATIENCE, contract, signature_hex, signature_standard};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Names and values in the order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
    pub wall: Timestamp,
}

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A whole answer.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// No answer until the gate is opened, then a status.
    Held(Gate, u16),
    /// A status, so much later.
    Late(Duration, u16),
    /// No answer, as long as the other side stays.
    Hang,
    /// The connection ends without an answer.
    Close,
    /// A head that promises more than comes before the connection ends.
    CutShort,
    /// A head, then a byte now and then, for ever.
    Drip,
    /// These bytes, then those again and again with a pause before each, as long as the other side stays.
    Endless(&'static [u8], &'static [u8], Duration),
    /// A status and a body of up to so many bytes, as long as the other side stays.
    Flood(u16, u64),
    /// Exactly these bytes, then the end of the connection.
    Raw(Vec<u8>),
}

/// Holds answers back until it is opened.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

type Rule = Box<dyn Fn(&Received) -> Reply + Send + Sync>;

/// A server that receives deliveries.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

struct State {
    requests: Vec<Received>,
    queue: VecDeque<Reply>,
    rule: Arc<Rule>,
    streams: Vec<TcpStream>,
    connections: usize,
    open: usize,
    most_open: usize,
    flooded: u64,
}

impl Reply {
    /// An answer with a status and nothing else.
    pub fn status(status: u16) -> Self {
        Self::with(status, &[], "")
    }

    /// An answer with headers and a body.
    pub fn with(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self::Answer { status, headers, body: body.as_bytes().to_vec() }
    }
}

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open, or until its receiver has stopped.
    pub fn pass(&self, stopped: &AtomicBool) {
        let mut open = self.0.0.lock().unwrap();
        while !*open && !stopped.load(Ordering::Relaxed) {
            open = self.0.1.wait_timeout(open, Duration::from_millis(100)).unwrap().0;
        }
    }
}

impl Received {
    /// The only value of a header; panics when it is missing or given twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(present, _)| present.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(values.len(), 1, "header {name} in {:?}", self.headers);
        values[0]
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }

    /// The event id in the body.
    #[track_caller]
    pub fn event_id(&self) -> String {
        self.json()["id"].as_str().expect("an event id").to_owned()
    }

    /// The number of the attempt that this request is.
    #[track_caller]
    pub fn attempt(&self) -> u32 {
        self.header("x-tempclock-attempt").parse().expect("a number")
    }

    /// Panics unless this is a delivery as the API's description has it, and both signatures are right for the secret.
    #[track_caller]
    pub fn assert_signed_with(&self, secret: &str) {
        contract::check_delivery(self);
        assert_eq!(self.header("x-tempclock-signature"), signature_hex(secret, &self.body));
        let id = self.header("webhook-id");
        let timestamp = self.header("webhook-timestamp");
        let standard = signature_standard(secret, id, timestamp, &self.body);
        assert_eq!(self.header("webhook-signature"), standard);
    }
}

impl Receiver {
    /// A receiver that answers every request with 200.
    pub fn start() -> Self {
        Self::answering(|_| Reply::status(200))
    }

    /// A receiver that answers the first requests with these replies, then with 200.
    pub fn first(replies: impl IntoIterator<Item = Reply>) -> Self {
        let receiver = Self::start();
        receiver.then(replies);
        receiver
    }

    /// A receiver that answers each request by a rule.
    pub fn answering(rule: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::answering_at("127.0.0.1:0", rule)
    }

    /// A receiver at an address of its own that answers every request with 200.
    pub fn at(address: &str) -> Self {
        Self::answering_at(address, |_| Reply::status(200))
    }

    fn answering_at(address: &str, rule: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                requests: Vec::new(),
                queue: VecDeque::new(),
                rule: Arc::new(Box::new(rule)),
                streams: Vec::new(),
                connections: 0,
                open: 0,
                most_open: 0,
                flooded: 0,
            }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let mut state = accepting.state.lock().unwrap();
                state.connections += 1;
                state.streams.push(stream.try_clone().unwrap());
                drop(state);
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(&stream));
            }
        });
        Self { address, shared }
    }

    /// Puts replies in front of the rule, for the next requests in turn.
    pub fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.state.lock().unwrap().queue.extend(replies);
    }

    /// Changes the rule for all requests to come.
    pub fn rule(&self, rule: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        self.shared.state.lock().unwrap().rule = Arc::new(Box::new(rule));
    }

    /// The URL of a path here.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What has come so far.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// What has come to a path so far.
    pub fn requests_to(&self, path: &str) -> Vec<Received> {
        self.requests().into_iter().filter(|request| request.path == path).collect()
    }

    /// How many connections were ever made.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    /// The most requests that were ever here at the same time.
    pub fn most_open(&self) -> usize {
        self.shared.state.lock().unwrap().most_open
    }

    /// How many bytes of all [`Reply::Flood`] could be sent.
    pub fn flooded(&self) -> u64 {
        self.shared.state.lock().unwrap().flooded
    }

    /// Waits until so many requests have come, and gives all that have.
    #[track_caller]
    pub fn wait_for(&self, count: usize, what: &str) -> Vec<Received> {
        self.wait_until(what, |requests| requests.len() >= count)
    }

    /// Waits until what has come is as wished, and gives it.
    #[track_caller]
    pub fn wait_until(&self, what: &str, wish: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let begun = Instant::now();
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if wish(&state.requests) {
                return state.requests.clone();
            }
            let Some(left) = PATIENCE.checked_sub(begun.elapsed()) else {
                let seen: Vec<String> = state
                    .requests
                    .iter()
                    .take(50)
                    .map(|r| format!("{} {} {}", r.method, r.path, String::from_utf8_lossy(&r.body)))
                    .collect();
                let count = state.requests.len();
                drop(state);
                panic!("never came: {what}; {count} requests came: {seen:#?}");
            };
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Ok(mut state) = self.shared.state.lock() {
            for stream in state.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Shared {
    /// Answers the requests of one connection until it ends.
    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            let reply = self.note(request);
            if let Reply::Held(gate, _) = &reply {
                gate.pass(&self.stopped);
            }
            let hangs = matches!(reply, Reply::Hang | Reply::Drip | Reply::Endless(..) | Reply::Flood(..));
            if !hangs {
                self.state.lock().unwrap().open -= 1;
            }
            let stays = self.answer(stream, reply);
            if hangs {
                self.state.lock().unwrap().open -= 1;
            }
            if !stays {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn note(&self, request: Received) -> Reply {
        let mut state = self.state.lock().unwrap();
        state.open += 1;
        state.most_open = state.most_open.max(state.open);
        let queued = state.queue.pop_front();
        let rule = Arc::clone(&state.rule);
        let reply = queued.unwrap_or_else(|| rule(&request));
        state.requests.push(request);
        drop(state);
        self.changed.notify_all();
        reply
    }

    /// Sends a reply; `false` when the connection is to end.
    fn answer(&self, mut stream: &TcpStream, reply: Reply) -> bool {
        match reply {
            Reply::Answer { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} Answer\r\n");
                for (name, value) in headers {
                    let _ = write!(head, "{name}: {value}\r\n");
                }
                if status != 204 && status != 304 {
                    let _ = write!(head, "Content-Length: {}\r\n", body.len());
                }
                head.push_str("\r\n");
                let whole = [head.as_bytes(), &body].concat();
                stream.write_all(&whole).is_ok()
            }
            Reply::Held(_, status) => self.answer(stream, Reply::status(status)),
            Reply::Late(wait, status) => {
                thread::sleep(wait);
                self.answer(stream, Reply::status(status))
            }
            Reply::Hang => {
                let _ = stream.read(&mut [0]);
                false
            }
            Reply::Close => false,
            Reply::CutShort => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
                false
            }
            Reply::Drip => {
                let mut alive = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").is_ok();
                while alive && !self.stopped.load(Ordering::Relaxed) {
                    alive = stream.write_all(b".").is_ok();
                    thread::sleep(Duration::from_millis(50));
                }
                false
            }
            Reply::Endless(first, again, pause) => {
                let mut alive = stream.write_all(first).is_ok();
                while alive && !self.stopped.load(Ordering::Relaxed) {
                    thread::sleep(pause);
                    alive = stream.write_all(again).is_ok();
                }
                false
            }
            Reply::Flood(status, most) => {
                let head = format!("HTTP/1.1 {status} Answer\r\nContent-Length: {most}\r\n\r\n");
                let mut alive = stream.write_all(head.as_bytes()).is_ok();
                let chunk = [b'x'; 16 << 10];
                let mut sent = 0;
                while alive && sent < most {
                    let next = chunk.len().min(usize::try_from(most - sent).unwrap());
                    alive = stream.write_all(&chunk[..next]).is_ok();
                    if alive {
                        sent += next as u64;
                    }
                }
                self.state.lock().unwrap().flooded += sent;
                self.changed.notify_all();
                alive
            }
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes);
                false
            }
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Received> {
    let first = read_line(reader)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').expect("a header with a colon");
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let find = |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    assert!(find("transfer-encoding").is_none(), "a body whose length is known goes out in chunks");
    let length: usize = find("content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { method, path, headers, body, at: Instant::now(), wall: Timestamp::now() })
}

fn read_line(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}
