//! Other people's programs accept what is delivered, and refuse what is not: the published Standard Webhooks
//! libraries for Python and Node, and PHP's own HMAC. `tests/run` installs them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{PUBLISHED_TYPES, Received, Receiver, Server, sample};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Each verifier's name and how it is started.
fn verifiers() -> [(&'static str, Command); 3] {
    let tools = root().join("target/interop");
    let scripts = root().join("tests/interop");
    let command = |program: &Path, script: &str| {
        let mut command = Command::new(program);
        command.arg(scripts.join(script));
        command
    };
    let mut node = command(Path::new("node"), "verify.mjs");
    node.arg(&tools);
    [
        ("Python", command(&tools.join("venv/bin/python"), "verify.py")),
        ("Node", node),
        ("PHP", command(Path::new("php"), "verify.php")),
    ]
}

/// Has one verifier judge all deliveries.
fn judge(name: &str, command: &mut Command, deliveries: &[Value]) -> Vec<String> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{name} cannot be started ({error}); run tests/run"));
    let lines = deliveries.iter().map(Value::to_string).collect::<Vec<_>>().join("\n") + "\n";
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || drop(input.write_all(lines.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let verdicts: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(verdicts.len(), deliveries.len(), "{name} did not judge every delivery; run tests/run");
    verdicts
}

fn as_line(secret: &str, request: &Received, body: &[u8]) -> Value {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature", "x-tempclock-signature"];
    let headers: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), request.header(name).into())).collect();
    json!({"secret": secret, "headers": headers, "body": STANDARD.encode(body)})
}

#[test]
fn published_libraries_accept_every_delivery_and_refuse_what_was_tampered_with() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/"), &["*", "ping"]);
    client.post(&format!("/webhooks/{}/test", subscription.id), &json!({})).expect(200);
    for event in PUBLISHED_TYPES {
        client.publish(event, &sample(event));
    }
    let odd = json!({"worker_id": 1, "worker_name": "Zoë \"Z\" O'Neil \u{1f600} </script>\\"});
    client.publish("worker_created", &odd);

    let came = receiver.wait_for(PUBLISHED_TYPES.len() + 2, "the ping and every type");
    let wrong_secret = subscription.secret.chars().rev().collect::<String>();
    for (name, mut command) in verifiers() {
        let genuine: Vec<Value> =
            came.iter().map(|request| as_line(&subscription.secret, request, &request.body)).collect();
        for (request, verdict) in came.iter().zip(judge(name, &mut command, &genuine)) {
            assert_eq!(verdict, "ok", "{name} does not accept {}", request.text());
        }
        let tampered: Vec<Value> = came
            .iter()
            .flat_map(|request| {
                let mut body = request.body.clone();
                let last = body.len() - 2;
                body[last] ^= 1;
                [as_line(&subscription.secret, request, &body), as_line(&wrong_secret, request, &request.body)]
            })
            .collect();
        for verdict in judge(name, &mut command, &tampered) {
            assert!(verdict.starts_with("refused"), "{name} accepts what was tampered with");
        }
    }
}
