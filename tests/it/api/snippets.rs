//! What `docs/integrate.md` and the README tell a receiver to do is right. Each program on the page is taken from it,
//! run as the page says, and sent real deliveries of the real server, then the same ones spoilt in every way.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::feed_readers;
use super::programs::{PAGE, Program, Running, block, blocks};
use crate::harness::{PATIENCE, Received, Receiver, Server, WallClock, clock_in, signature_hex, signature_standard};

const README: &str = include_str!("../../../README.md");

/// Where the programs on the page listen.
const HOST: &str = "127.0.0.1";
const PORT: &str = "3000";
/// Compilers come before the first answer.
const START: Duration = PATIENCE.saturating_mul(5);

const GENUINE: u16 = 204;
const REFUSED: u16 = 401;

/// A language of the page: how its block is marked, the first of its own ports, and the names of both checks.
struct Language {
    fence: &'static str,
    first_port: u16,
    simple: &'static str,
    standard: &'static str,
}

const PHP: Language = Language::new("php", 3010, "is_genuine(", "is_genuine_and_recent(");
const PYTHON: Language = Language::new("python", 3020, "is_genuine(", "is_genuine_and_recent(");
const NODE: Language = Language::new("js", 3030, "isGenuine(", "isGenuineAndRecent(");
const C_SHARP: Language = Language::new("csharp", 3040, "IsGenuine(", "IsGenuineAndRecent(");
const JAVA: Language = Language::new("java", 3050, "isGenuine(", "isGenuineAndRecent(");
const GO: Language = Language::new("go", 3060, "isGenuine(", "isGenuineAndRecent(");
const RUBY: Language = Language::new("ruby", 3070, "genuine?(", "genuine_and_recent?(");
const RUN_HERE: [Language; 7] = [PHP, PYTHON, NODE, C_SHARP, JAVA, GO, RUBY];

impl Language {
    const fn new(fence: &'static str, first_port: u16, simple: &'static str, standard: &'static str) -> Self {
        Self { fence, first_port, simple, standard }
    }

    /// The program on the page.
    fn receiver(&self) -> ListeningProgram {
        ListeningProgram { program: Program::of_page(self.fence, "receiver"), port: self.first_port }
    }

    /// The program with the second check in the place of the first.
    fn receiver_with_standard(&self) -> ListeningProgram {
        let ListeningProgram { program, port } = self.receiver();
        let Program { source, .. } = &program;
        let call = source.rfind(self.simple).unwrap();
        let source = format!("{}{}{}", &source[..call], self.standard, &source[call + self.simple.len()..]);
        assert_eq!(source.matches(self.simple).count(), 1, "the first check is only defined: {source}");
        assert_eq!(source.matches(self.standard).count(), 2, "the second check is defined and called: {source}");
        ListeningProgram { program: Program { source, ..program }, port: port + 1 }
    }
}

/// A receiver of the page, not yet run. No port is used twice, because one that was killed may still hold its own.
struct ListeningProgram {
    program: Program,
    port: u16,
}

impl ListeningProgram {
    /// An address that nobody else on this machine takes: it is made of the number of this process.
    fn address(&self) -> SocketAddr {
        let bits = Ipv4Addr::new(127, 64, 0, 0).to_bits() | std::process::id();
        SocketAddr::from((Ipv4Addr::from_bits(bits), self.port))
    }

    /// A text of the page as it has to be here.
    fn here(&self, text: &str) -> String {
        assert!(text.contains(HOST) == text.contains(PORT), "{text}");
        text.replace(HOST, &self.address().ip().to_string()).replace(PORT, &self.port.to_string())
    }
}

/// A receiver of the page that runs.
struct Listener {
    running: Running,
    address: SocketAddr,
}

impl Listener {
    fn launch(listening: &ListeningProgram, secret: Option<&str>) -> Self {
        let Program { file, source, command } = &listening.program;
        let (source, command) = (listening.here(source), listening.here(command));
        let program = Program { file: file.clone(), source, command };
        let running = Running::launch(&program, &[("WEBHOOK_SECRET", secret)]);
        Self { running, address: listening.address() }
    }

    /// Waits until it accepts connections; `false` if it ends before that.
    #[track_caller]
    fn starts(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < START {
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            if self.running.has_ended() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it neither listens nor ends; {}", self.said());
    }

    fn said(&self) -> String {
        format!("it said: {}", self.running.said())
    }

    fn url(&self) -> String {
        format!("http://{}/hooks/tempclock", self.address)
    }

    /// The status that it answers a request with.
    #[track_caller]
    fn answer(&self, headers: &[(String, String)], body: &[u8]) -> u16 {
        let mut stream = self.send(headers, body, body.len());
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no answer but {answer:?} ({end:?}) to {headers:?}; {}", self.said()))
    }

    fn send(&self, headers: &[(String, String)], body: &[u8], length: usize) -> TcpStream {
        let first = format!("POST /hooks/tempclock HTTP/1.1\r\nhost: {}\r\n", self.address);
        let length = format!("content-length: {length}\r\nconnection: close\r\n");
        let lines: String =
            headers.iter().flat_map(|(name, value)| [name, ": ", value.as_str(), "\r\n"].map(str::to_owned)).collect();
        let head = [first, length, lines].concat();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[head.as_bytes(), b"\r\n", body].concat()).unwrap();
        stream
    }
}

/// A request that may be spoilt.
#[derive(Clone)]
struct Request {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn new(delivered: &Received) -> Self {
        let of_the_connection = ["host", "content-length", "connection"];
        let mut headers = delivered.headers.clone();
        headers.retain(|(name, _)| !of_the_connection.contains(&name.to_lowercase().as_str()));
        Self { headers, body: delivered.body.clone() }
    }

    fn with(&self, name: &str, value: &str) -> Self {
        let mut changed = self.without(name);
        changed.headers.push((name.to_owned(), value.to_owned()));
        changed
    }

    fn without(&self, name: &str) -> Self {
        let mut changed = self.clone();
        changed.headers.retain(|(present, _)| !present.eq_ignore_ascii_case(name));
        assert_eq!(changed.headers.len() + 1, self.headers.len(), "{name} in {:?}", self.headers);
        changed
    }

    fn with_body(&self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.body);
        changed
    }
}

/// What is no signature of the kind that a header has, whatever the secret.
fn spoilt(signature: &str) -> Vec<String> {
    let last = if signature.ends_with('0') { '1' } else { '0' };
    let shorter = &signature[..signature.len() - 1];
    [
        format!("{shorter}{last}"),
        shorter.to_owned(),
        format!("{signature}0"),
        "é".repeat(signature.len()),
        String::new(),
    ]
    .into()
}

/// Requests of which the body or the signature is not what was sent.
fn tampered(request: &Request, header: &'static str, signature: &str) -> Vec<(String, Request)> {
    let mut cases = vec![
        ("a byte changed".to_owned(), request.with_body(|body| body[20] ^= 1)),
        ("a newline added".to_owned(), request.with_body(|body| body.push(b'\n'))),
        ("no body".to_owned(), request.with_body(Vec::clear)),
        (format!("no {header}"), request.without(header)),
    ];
    cases.extend(
        spoilt(signature).into_iter().map(|wrong| (format!("{header}: {wrong}"), request.with(header, &wrong))),
    );
    cases
}

const SIMPLE: &str = "X-TempClock-Signature";
const ID: &str = "webhook-id";
const TIME: &str = "webhook-timestamp";
const STANDARD: &str = "webhook-signature";
/// Not that of any subscription.
const FOREIGN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn simple_refusals(delivered: &Received) -> Vec<(String, Request)> {
    let request = Request::new(delivered);
    let mut cases = tampered(&request, SIMPLE, delivered.header(SIMPLE));
    let foreign = signature_hex(FOREIGN, &delivered.body);
    cases.push(("another secret".to_owned(), request.with(SIMPLE, &foreign)));
    let keyless = signature_hex("", &delivered.body);
    cases.push(("an empty secret".to_owned(), request.with(SIMPLE, &keyless)));
    cases
}

fn standard_refusals(secret: &str, delivered: &Received) -> Vec<(String, Request)> {
    let request = Request::new(delivered);
    let (id, sent) = (delivered.header(ID), delivered.header(TIME));
    let mut cases = tampered(&request, STANDARD, delivered.header(STANDARD));
    let foreign = signature_standard(FOREIGN, id, sent, &delivered.body);
    cases.push(("another secret".to_owned(), request.with(STANDARD, &foreign)));
    cases.push(("another id".to_owned(), request.with(ID, "evt_1")));
    cases.push(("no id".to_owned(), request.without(ID)));
    cases.push(("no time".to_owned(), request.without(TIME)));
    let sent_s: i64 = sent.parse().unwrap();
    cases.push(("another time".to_owned(), request.with(TIME, &(sent_s + 1).to_string())));
    // Signed rightly, so that the time alone can be the reason.
    let long = "9".repeat(400);
    for time in [(sent_s - 3600).to_string(), (sent_s + 3600).to_string(), format!("-{sent}"), "now".into(), long] {
        let signature = signature_standard(secret, id, &time, &delivered.body);
        cases.push((format!("sent at {time}"), request.with(TIME, &time).with(STANDARD, &signature)));
    }
    cases
}

/// Runs the program of the page in both its forms on a delivery that the server makes to it, on one that it made
/// elsewhere, and on that one spoilt.
#[track_caller]
fn assert_receives(language: &Language) {
    let mut server = Server::stopped(&[]);
    if language.fence == GO.fence {
        // Programs in Go ask the kernel for the time, and their server has to agree with them.
        WallClock::never_moved(&mut server);
    }
    server.launch();
    let client = server.client();
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/"), &["worker_created", "clock_in"]);
    let odd = json!({"worker_id": 1, "worker_name": "Zoë \"Z\" O'Neil \u{1f600} </script>\\"});
    client.publish("worker_created", &odd);
    let delivered = receiver.wait_for(1, "a delivery").remove(0);
    let genuine = Request::new(&delivered);
    let secret = subscription.secret.as_str();
    let signature = delivered.header(STANDARD);
    let rotated = genuine.with(STANDARD, &format!("v1,{} v2,{} {signature}", "A".repeat(43), &signature[3..]));

    for (what, program, accepted, refused) in [
        ("the first check", language.receiver(), vec![&genuine], simple_refusals(&delivered)),
        (
            "the second check",
            language.receiver_with_standard(),
            vec![&genuine, &rotated],
            standard_refusals(secret, &delivered),
        ),
    ] {
        let mut running = Listener::launch(&program, Some(secret));
        assert!(running.starts(), "{what} does not run: is the language installed? run tests/run; {}", running.said());
        client.change(subscription.id, &json!({"url": running.url()})).expect(200);
        let event = client.publish("clock_in", &clock_in(1));
        let id = client.delivery_ids(&event).remove(0);
        let delivery = client.wait_for_delivery(&id, "was attempted", |delivery| delivery["attempt_count"] != 0);
        assert_eq!(delivery["response_code"], GENUINE, "{delivery:#}");
        // A client that goes away in the middle takes nobody with it.
        drop(running.send(&genuine.headers, b"{", 100));
        for request in accepted {
            assert_eq!(running.answer(&request.headers, &request.body), GENUINE, "{what}; {}", running.said());
        }
        for (case, request) in &refused {
            let answer = running.answer(&request.headers, &request.body);
            assert_eq!(answer, REFUSED, "{what} on {case}; {}", running.said());
        }
        let answer = running.answer(&genuine.headers, &genuine.body);
        assert_eq!(answer, GENUINE, "{what} after all refusals; {}", running.said());
    }

    let mut keyless =
        Listener::launch(&ListeningProgram { port: language.first_port + 2, ..language.receiver() }, None);
    if keyless.starts() {
        let signed = genuine.with(SIMPLE, &signature_hex("", &genuine.body));
        assert_eq!(keyless.answer(&signed.headers, &signed.body), 500, "{}", keyless.said());
    }
    assert!(keyless.said().contains("WEBHOOK_SECRET"), "{}", keyless.said());
}

#[test]
fn the_php_of_the_page_accepts_what_is_genuine_and_nothing_else() {
    assert_receives(&PHP);
}

#[test]
fn the_python_of_the_page_accepts_what_is_genuine_and_nothing_else() {
    assert_receives(&PYTHON);
}

#[test]
fn the_node_of_the_page_accepts_what_is_genuine_and_nothing_else() {
    assert_receives(&NODE);
}

#[test]
fn the_c_sharp_of_the_page_accepts_what_is_genuine_and_nothing_else() {
    assert_receives(&C_SHARP);
}

#[test]
fn the_java_of_the_page_accepts_what_is_genuine_and_nothing_else() {
    assert_receives(&JAVA);
}

#[test]
fn the_go_of_the_page_accepts_what_is_genuine_and_nothing_else() {
    assert_receives(&GO);
}

#[test]
fn the_ruby_of_the_page_accepts_what_is_genuine_and_nothing_else() {
    assert_receives(&RUBY);
}

#[test]
fn every_program_on_the_page_is_run_here_but_the_one_that_says_it_is_not() {
    let receivers = RUN_HERE.map(|language| language.fence);
    let marks: BTreeSet<&str> = blocks(PAGE).into_iter().map(|(mark, _)| mark).collect();
    let wanted: BTreeSet<&str> = receivers.into_iter().chain(["apex", "http", "sh", "toml"]).collect();
    assert_eq!(marks, wanted);
    let programs = blocks(PAGE).into_iter().filter(|(mark, _)| receivers.contains(mark)).count();
    assert_eq!(programs, receivers.len() + feed_readers::RUN_HERE.len());
    let (_, after) = PAGE.split_once("```apex\n").unwrap();
    assert!(after.contains("not run by the tests"));
}

#[test]
fn the_request_on_the_page_is_one_that_the_server_could_have_sent() {
    let (head, body) = block("http").split_once("\n\n").unwrap();
    let headers: Vec<(&str, &str)> = head.lines().skip(1).map(|line| line.split_once(": ").unwrap()).collect();
    let value = |name: &str| headers.iter().find(|(present, _)| present.eq_ignore_ascii_case(name)).unwrap().1;
    let (_, secret) = PAGE.split_once("signed with the secret `").unwrap();
    let (secret, _) = secret.split_once('`').unwrap();
    assert_eq!(value("x-tempclock-signature"), signature_hex(secret, body.as_bytes()));
    let standard = signature_standard(secret, value(ID), value(TIME), body.as_bytes());
    assert_eq!(value(STANDARD), standard);
    assert_eq!(value("content-length"), body.len().to_string());

    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let shown: Value = serde_json::from_str(body).unwrap();
    let (_, data) = body.strip_suffix('}').unwrap().split_once("\"data\":").unwrap();
    client.post_text("/events", &format!("{{\"event\":\"clock_in\",\"data\":{data}}}")).expect(202);
    let delivered = receiver.wait_for(1, "a delivery").remove(0);
    let names: Vec<String> = delivered.headers.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(headers.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>(), names);
    assert_eq!(value("user-agent"), delivered.header("user-agent"));
    assert_eq!(value(ID).len(), delivered.header(ID).len());
    assert_eq!(value("x-tempclock-delivery").len(), delivered.header("x-tempclock-delivery").len());
    // The same but for what is new each time, to the order of the fields.
    let came = delivered.json();
    let same = delivered.text().replace(came["id"].as_str().unwrap(), shown["id"].as_str().unwrap());
    let same = same.replace(came["timestamp"].as_str().unwrap(), shown["timestamp"].as_str().unwrap());
    assert_eq!(same, body);
}

#[test]
fn what_the_readme_shows_of_a_check_is_in_the_program_that_is_run() {
    let (_, section) = README.split_once("\n## Verify a signature\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let shown = blocks(section);
    let code: Vec<_> = shown.iter().filter(|(mark, _)| *mark != "sh").collect();
    assert_eq!(code.len(), 1, "{shown:?}");
    let (mark, text) = code[0];
    assert_eq!(*mark, PYTHON.fence);
    assert!(Program::of_page(mark, "receiver").source.contains(text), "{text}");
}
