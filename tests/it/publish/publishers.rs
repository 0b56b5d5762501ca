//! The clients of `docs/publish.md`, as they stand there, publish each event exactly once, whatever becomes of the
//! server, of its answers and of the network between. `tests/run` installs Python and PHP.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{ALL_SCOPES, Server, clock_in, eventually, wait_guarded};

/// What becomes of a connection.
enum Fate {
    /// The server gets the request, the client no answer.
    AnswerLost,
    /// Nobody but this answers.
    Answered(&'static str),
}

/// A wire with a fixed end, as a server's name has it, that leads to wherever the server listens now.
#[derive(Clone)]
struct Wire {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    server: SocketAddr,
    fates: VecDeque<Fate>,
    /// When each connection came.
    tries: Vec<Instant>,
}

impl Wire {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State { server, fates: VecDeque::new(), tries: Vec::new() };
        let wire = Self { address: listener.local_addr().unwrap(), state: Arc::new(Mutex::new(state)) };
        let carrier = wire.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let carrier = carrier.clone();
                thread::spawn(move || carrier.carry(client.unwrap()));
            }
        });
        wire
    }

    fn carry(&self, mut client: TcpStream) {
        let (fate, server) = {
            let mut state = self.state.lock().unwrap();
            state.tries.push(Instant::now());
            (state.fates.pop_front(), state.server)
        };
        if let Some(Fate::Answered(text)) = fate {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(text.as_bytes());
            return;
        }
        // Where nobody listens, the client's connection ends without an answer.
        let Ok(mut server) = TcpStream::connect(server) else { return };
        let (mut sender, mut there) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut sender, &mut there));
        if let Some(Fate::AnswerLost) = fate {
            let _ = server.read(&mut [0; 4096]);
        } else {
            let _ = io::copy(&mut server, &mut client);
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }

    fn next(&self, fate: Fate) {
        self.state.lock().unwrap().fates.push_back(fate);
    }

    fn leads_to(&self, server: SocketAddr) {
        self.state.lock().unwrap().server = server;
    }

    fn tries(&self) -> Vec<Instant> {
        self.state.lock().unwrap().tries.clone()
    }
}

/// A client of the documentation at work.
struct Publisher {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Publisher {
    fn start(program: &str, language: &str, folder: &Path, wire: &Wire, key: &str) -> Self {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/publish.md");
        let page = fs::read_to_string(page).unwrap();
        let code = page.split(&format!("```{language}\n")).nth(1).expect("a client").split("```").next().unwrap();
        let file = folder.join("client");
        fs::write(&file, code).unwrap();
        let mut child = Command::new(program)
            .arg(file)
            .env("TEMPCLOCK_URL", format!("http://{}", wire.address))
            .env("TEMPCLOCK_KEY", key)
            .env("no_proxy", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; run the tests with tests/run"));
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn give(&mut self, entry: u64) {
        self.give_this(&json!({"event": "clock_in", "id": format!("entry-{entry}"), "data": clock_in(entry)}));
    }

    fn give_this(&mut self, event: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{event}").unwrap();
    }

    /// What the client prints when an event is stored.
    #[track_caller]
    fn stored(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the client ended: {}", self.said()))
    }

    fn said(&mut self) -> String {
        let status = wait_guarded(&mut self.child, "the client");
        assert!(!status.success());
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        // PHP tells of an exception on stdout unless it is configured otherwise.
        self.answers.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn each_event_is_stored_once(program: &str, language: &str) {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let wire = Wire::to(server.address());
    let mut publisher = Publisher::start(program, language, server.folder(), &wire, &key);

    publisher.give(1);
    assert_eq!(publisher.stored()["duplicate"], false);

    wire.next(Fate::AnswerLost);
    publisher.give(2);
    assert_eq!(publisher.stored()["duplicate"], true);

    wire.next(Fate::Answered(
        "HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    ));
    let before = wire.tries().len();
    publisher.give(3);
    assert_eq!(publisher.stored()["duplicate"], false);
    let tries = wire.tries().split_off(before);
    assert_eq!(tries.len(), 2);
    assert!(tries[1] - tries[0] >= Duration::from_secs(2), "{tries:?}");

    server.kill_9();
    let before = wire.tries().len();
    publisher.give(4);
    eventually("a try while there is no server", || (wire.tries().len() > before).then_some(()));
    server.launch();
    wire.leads_to(server.address());
    assert_eq!(publisher.stored()["duplicate"], false);

    let before = wire.tries().len();
    publisher.give_this(&json!({"event": "clock_in", "id": "entry-5", "data": {"entry_id": 5}}));
    let said = publisher.said();
    assert!(said.contains("data.worker_id"), "{said}");
    assert_eq!(wire.tries().len(), before + 1, "what is refused was sent again");
    assert_eq!(server.client_with(&key).total("/events"), 4);
}

#[test]
fn the_python_client_stores_each_event_once() {
    each_event_is_stored_once("python3", "python");
}

#[test]
fn the_php_client_stores_each_event_once() {
    each_event_is_stored_once("php", "php");
}
