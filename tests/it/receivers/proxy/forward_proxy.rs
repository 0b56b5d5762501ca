//! A forward proxy: tunnels for CONNECT, absolute form for plain http, with a login if it wants one, and with what a test
//! has it do instead.

use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::harness::Gate;

/// What it does with a request instead of its work.
#[derive(Clone, Debug)]
pub enum Instead {
    /// Sends these bytes and ends the connection.
    Answer(&'static str),
    /// Ends the connection.
    Close,
    /// Sends nothing until the gate is open, then ends the connection.
    Hang(Gate),
    /// Connects, and ends both connections once so many bytes have gone each way.
    Die(usize),
}

/// The proxy.
pub struct ForwardProxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The value of `Proxy-Authorization` that it wants.
    login: Option<String>,
    /// The head of each request.
    heads: Vec<String>,
    instead: VecDeque<Instead>,
}

impl ForwardProxy {
    /// One that serves everybody.
    pub fn start() -> Self {
        Self::run(None)
    }

    /// One that wants a login such as `user:password`.
    pub fn with_login(login: &str) -> Self {
        Self::run(Some(format!("Basic {}", STANDARD.encode(login))))
    }

    fn run(login: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stopped = AtomicBool::new(false);
        let shared = Arc::new(Shared { state: Mutex::new(State { login, ..State::default() }), stopped });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { port, shared }
    }

    /// The value of `delivery.proxy`.
    pub fn setting(&self) -> String {
        format!("\"http://127.0.0.1:{}\"", self.port)
    }

    /// Serves everybody from now on, and hands on what they sign in with.
    pub fn want_no_login(&self) {
        self.shared.state.lock().unwrap().login = None;
    }

    /// Does something else with the next requests.
    pub fn then(&self, instead: impl IntoIterator<Item = Instead>) {
        self.shared.state.lock().unwrap().instead.extend(instead);
    }

    /// The head of every request.
    pub fn heads(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().heads.clone()
    }

    /// The first line of every request.
    pub fn lines(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.lines().next().unwrap().to_owned()).collect()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        while let Some(head) = read_head(&mut stream) {
            let mut state = self.state.lock().unwrap();
            state.heads.push(head.clone());
            let instead = state.instead.pop_front();
            drop(state);
            if !self.answer(&mut stream, &head, instead) {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Whether the connection goes on.
    fn answer(&self, stream: &mut TcpStream, head: &str, instead: Option<Instead>) -> bool {
        let body = read_body(stream, head);
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let most = match instead {
            Some(Instead::Answer(bytes)) => {
                let _ = stream.write_all(bytes.as_bytes());
                return false;
            }
            Some(Instead::Close) => return false,
            Some(Instead::Hang(gate)) => {
                gate.pass(&self.stopped);
                return false;
            }
            Some(Instead::Die(bytes)) => Some(bytes),
            None => None,
        };
        let login = self.state.lock().unwrap().login.clone();
        if let Some(wanted) = &login
            && header(head, "proxy-authorization") != Some(wanted)
        {
            let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\
                Content-Length: 0\r\n\r\n";
            return stream.write_all(refusal).is_ok();
        }
        let host = target.trim_start_matches("http://").split('/').next().unwrap();
        let Ok(mut far) = TcpStream::connect(host) else {
            let refusal = b"HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n";
            let _ = stream.write_all(refusal);
            return false;
        };
        if method == "CONNECT" {
            let _ = stream.write_all(b"HTTP/1.0 200 Connection established\r\n\r\n");
            splice(stream, &far, most);
            return false;
        }
        let path = &target["http://".len() + host.len()..];
        let lines = head.lines().skip(1).filter(|line| login.is_none() || !line.starts_with("Proxy-Authorization"));
        let rest: Vec<&str> = lines.collect();
        let _ = far.write_all(format!("{method} {path} HTTP/1.1\r\n{}\r\n", rest.join("\r\n")).as_bytes());
        let _ = far.write_all(&body);
        let Some(answer) = read_head(&mut far) else { return false };
        let answer = [answer.as_bytes(), &read_body(&mut far, &answer)].concat();
        let sent = most.unwrap_or(answer.len()).min(answer.len());
        stream.write_all(&answer[..sent]).is_ok() && sent == answer.len()
    }
}

/// Passes on what comes from each side until one ends, or until so many bytes have gone one way.
fn splice(near: &TcpStream, far: &TcpStream, most: Option<usize>) {
    let pass = |mut from: &TcpStream, mut to: &TcpStream| {
        let (mut buffer, mut left) = ([0; 4096], most.unwrap_or(usize::MAX));
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let count = count.min(left);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
            left -= count;
            if left == 0 {
                break;
            }
        }
        for stream in [near, far] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| pass(near, far));
        pass(far, near);
    });
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn read_body(stream: &mut TcpStream, head: &str) -> Vec<u8> {
    let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    let _ = stream.read_exact(&mut body);
    body
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
