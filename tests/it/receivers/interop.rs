//! Other people's programs accept what is delivered, and refuse what was tampered with: the published Standard
//! Webhooks libraries for Python and Node, and the HMAC of Python, Node and PHP. `tests/run` installs them.

use std::collections::BTreeSet;
use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{PUBLISHED_TYPES, Received, Receiver, Server, sample, signature_standard, wait_guarded};

pub(super) const OK: &str = "ok";
/// What both Standard Webhooks libraries say, in the version that `tests/run` installs.
const NO_MATCH: &str = "refused: No matching signature found";
const TOO_OLD: &str = "refused: Message timestamp too old";
/// What the programs in `tests/interop` say.
const NO_FIT: &str = "refused: X-TempClock-Signature does not fit";

/// A delivery as a verifier reads it, and what it has to say of it. The reason counts: a refusal for another one could
/// be a fault of the test.
pub(super) struct Case {
    what: String,
    line: String,
    verdict: &'static str,
}

impl Case {
    pub(super) fn new(what: &str, scheme: &str, secret: &str, request: &Received, verdict: &'static str) -> Self {
        let what = format!("{} ({scheme}, {what})", request.header("webhook-id"));
        let headers: serde_json::Map<String, Value> =
            request.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let body = STANDARD.encode(&request.body);
        let line = json!({"scheme": scheme, "secret": secret, "headers": headers, "body": body}).to_string();
        Self { what, line, verdict }
    }
}

/// Everything that the server delivers: the seven types, and text that is easily spoilt on the way.
fn every_delivery() -> (String, Vec<Received>) {
    let mut server = Server::stopped(&[]);
    server.environment("RUST_BACKTRACE", "0");
    server.launch();
    let client = server.client();
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/"), &["*", "ping"]);
    client.post_nothing(&format!("/webhooks/{}/test", subscription.id)).expect(200);
    for event in PUBLISHED_TYPES {
        client.publish(event, &sample(event));
    }
    let odd = json!({"worker_id": 1, "worker_name": "Zoë \"Z\" O'Neil \u{1f600} </script>\\"});
    client.publish("worker_created", &odd);

    let came = receiver.wait_for(PUBLISHED_TYPES.len() + 2, "the ping and every type");
    let types: BTreeSet<&str> = came.iter().map(|request| request.header("x-tempclock-event")).collect();
    assert_eq!(types, PUBLISHED_TYPES.into_iter().chain(["ping"]).collect());
    (subscription.secret, came)
}

/// The request with another value of one header.
fn with_header(request: &Received, name: &str, value: &str) -> Received {
    let mut changed = request.clone();
    for (present, old) in &mut changed.headers {
        if present.eq_ignore_ascii_case(name) {
            value.clone_into(old);
        }
    }
    changed
}

/// The request as it came, with each byte of its body changed in turn, and under a wrong secret.
pub(super) fn genuine_and_tampered(scheme: &str, secret: &str, request: &Received, refusal: &'static str) -> Vec<Case> {
    let mut cases = vec![Case::new("as it came", scheme, secret, request, OK)];
    for at in 0..request.body.len() {
        // The lowest bit: what was UTF-8 stays UTF-8, so that the signature alone can be the reason.
        let mut changed = request.clone();
        changed.body[at] ^= 1;
        cases.push(Case::new(&format!("byte {at} changed"), scheme, secret, &changed, refusal));
    }
    let last = if secret.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{last}", &secret[..secret.len() - 1]);
    cases.push(Case::new("last character of the secret changed", scheme, &wrong, request, refusal));
    cases
}

fn tempclock_cases(secret: &str, request: &Received) -> Vec<Case> {
    genuine_and_tampered("tempclock", secret, request, NO_FIT)
}

fn standard_cases(secret: &str, request: &Received) -> Vec<Case> {
    let id = request.header("webhook-id");
    let signed_at: i64 = request.header("webhook-timestamp").parse().unwrap();
    let moved = with_header(request, "webhook-timestamp", &(signed_at - 1).to_string());
    let renamed = with_header(request, "webhook-id", &format!("{id}0"));
    // The libraries allow for five minutes. Signed rightly, so that the time alone can be the reason.
    let hour_ago = (signed_at - 3600).to_string();
    let signature = signature_standard(secret, id, &hour_ago, &request.body);
    let old = with_header(request, "webhook-timestamp", &hour_ago);
    let old = with_header(&old, "webhook-signature", &signature);

    let mut cases = genuine_and_tampered("standard", secret, request, NO_MATCH);
    cases.extend([
        Case::new("secret with the prefix whsec_", "standard", &format!("whsec_{secret}"), request, OK),
        Case::new("another time", "standard", secret, &moved, NO_MATCH),
        Case::new("another id", "standard", secret, &renamed, NO_MATCH),
        Case::new("an hour old", "standard", secret, &old, TOO_OLD),
    ]);
    cases
}

fn every_case(of: &[fn(&str, &Received) -> Vec<Case>]) -> Vec<Case> {
    let (secret, came) = every_delivery();
    came.iter().flat_map(|request| of.iter().flat_map(|cases| cases(&secret, request))).collect()
}

pub(super) fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read_in_background(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    })
}

/// Starts a verifier once, has it judge every case, and panics at the first one that it judges wrongly.
#[track_caller]
pub(super) fn assert_judges(name: &str, command: &mut Command, cases: &[Case]) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{name} cannot be started ({error}); run tests/run"));
    let lines: String = cases.iter().flat_map(|case| [case.line.as_str(), "\n"]).collect();
    let mut input = child.stdin.take().unwrap();
    // A verifier that ends early is told by its verdicts, not by the broken pipe.
    let writer = thread::spawn(move || drop(input.write_all(lines.as_bytes())));
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (stdout, stderr) = (read_in_background(stdout), read_in_background(stderr));
    let status = wait_guarded(&mut child, name);
    writer.join().unwrap();
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());

    let verdicts: Vec<&str> = stdout.lines().collect();
    let judged = verdicts.len();
    assert_eq!(judged, cases.len(), "{name} did not judge every delivery ({status}); run tests/run\n{stdout}{stderr}");
    for (case, verdict) in cases.iter().zip(verdicts) {
        assert_eq!(verdict, case.verdict, "{name} on {}: {}", case.what, case.line);
    }
    let refuses_any = cases.iter().any(|case| case.verdict != OK);
    assert_eq!(status.code(), Some(i32::from(refuses_any)), "{name}: {stderr}");
}

#[test]
fn python_accepts_every_delivery_and_refuses_what_was_tampered_with() {
    let mut python = Command::new(in_repository("target/interop/venv/bin/python"));
    python.arg(in_repository("tests/interop/verify.py"));
    assert_judges("Python", &mut python, &every_case(&[standard_cases, tempclock_cases]));
}

#[test]
fn node_accepts_every_delivery_and_refuses_what_was_tampered_with() {
    let mut node = Command::new("node");
    node.arg(in_repository("tests/interop/verify.mjs")).arg(in_repository("target/interop"));
    assert_judges("Node", &mut node, &every_case(&[standard_cases, tempclock_cases]));
}

#[test]
fn php_accepts_every_delivery_and_refuses_what_was_tampered_with() {
    let mut php = Command::new("php");
    php.arg(in_repository("tests/interop/verify.php"));
    assert_judges("PHP", &mut php, &every_case(&[tempclock_cases]));
}
