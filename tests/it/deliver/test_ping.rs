//! A test of an endpoint tells the truth: what came back, whether it looks as if nobody took it, and whether signatures are
//! verified. `tests/run` installs the languages.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Client, Received, Receiver, Reply, Server, signature_hex};

fn subscribe(client: &Client, receiver: &Receiver) -> (i64, String) {
    let subscription = client.subscribe(&receiver.url("/hook"), &["clock_in"]);
    (subscription.id, subscription.secret)
}

fn verify(client: &Client, id: i64) -> Value {
    client.post(&format!("/webhooks/{id}/test"), &json!({"verify": true})).expect(200).json
}

#[test]
fn what_came_back_is_shown() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver =
        Receiver::first([Reply::with(202, &[("Content-Type", "text/plain; charset=utf-8")], "taken, thanks")]);
    let (id, _) = subscribe(&client, &receiver);
    let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone();
    assert_eq!(result["response_content_type"], "text/plain; charset=utf-8");
    assert_eq!(result["response_start"], "taken, thanks");
    assert_eq!((&result["remark"], &result["verifies_signatures"]), (&Value::Null, &Value::Null));

    receiver.then([Reply::with(500, &[], &"é".repeat(500))]);
    let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone();
    assert_eq!(result["response_start"], "é".repeat(200));
    // A kept connection that breaks is tried once more, so both are.
    receiver.rule(|_| Reply::Close);
    let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone();
    assert_eq!((&result["response_start"], &result["response_content_type"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_2xx_that_looks_as_if_nobody_took_the_ping_gets_a_remark() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let (id, _) = subscribe(&client, &receiver);
    let html = [("Content-Type", "text/html; charset=UTF-8")];
    let text = [("Content-Type", "text/plain")];
    for (reply, wanted) in [
        (Reply::with(200, &html, "<h1>Welcome</h1>"), "HTML page"),
        (Reply::with(200, &text, "<!DOCTYPE html><p>Sign in"), "HTML page"),
        // adnanh/webhook 2.8.0.
        (Reply::with(200, &text, "Hook rules were not satisfied."), "a rule of the receiver was not met"),
        // Caddy 2.6.2, on a path that it does not know.
        (Reply::with(200, &[], ""), "empty"),
        // n8n that responds immediately.
        (
            Reply::with(200, &[("Content-Type", "application/json")], r#"{"message":"Workflow was started"}"#),
            "workflow",
        ),
    ] {
        receiver.then([reply]);
        let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone();
        assert_eq!(result["success"], true);
        assert!(result["remark"].as_str().is_some_and(|remark| remark.contains(wanted)), "{wanted}: {result}");
    }
    for reply in [
        Reply::with(204, &[], ""),
        Reply::with(200, &text, "OK"),
        // PHP that prints nothing.
        Reply::with(200, &html, ""),
        Reply::with(200, &[("Content-Type", "application/json")], r#"{"ok":true}"#),
        Reply::with(404, &html, "<h1>Not Found</h1>"),
    ] {
        receiver.then([reply]);
        let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone();
        assert_eq!(result["remark"], Value::Null, "{result}");
    }
}

#[test]
fn a_second_ping_with_a_wrong_signature_tells_whether_signatures_are_verified() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let (id, secret) = subscribe(&client, &receiver);
    let is_right = |request: &Received, secret: &str| {
        request.header("x-tempclock-signature") == signature_hex(secret, &request.body)
    };
    let own = secret.clone();
    receiver.rule(move |request| Reply::status(if is_right(request, &own) { 204 } else { 401 }));
    let answer = verify(&client, id);
    assert_eq!((&answer["data"]["success"], &answer["data"]["verifies_signatures"]), (&json!(true), &json!(true)));
    assert!(answer["message"].as_str().unwrap().contains("refused one with a wrong signature"), "{answer}");
    let came = receiver.requests();
    assert_eq!(came.len(), 2);
    assert_eq!([0, 1].map(|number: usize| is_right(&came[number], &secret)), [true, false]);
    assert_ne!(came[0].event_id(), came[1].event_id(), "a receiver may pass over what it has seen");
    assert_eq!(came[0].header("x-tempclock-delivery"), answer["data"]["delivery_id"]);
    assert_eq!(client.subscription(id)["recent_deliveries"].as_array().unwrap().len(), 1, "only the first is recorded");

    receiver.rule(|_| Reply::status(204));
    let answer = verify(&client, id);
    assert_eq!((&answer["data"]["success"], &answer["data"]["verifies_signatures"]), (&json!(true), &json!(false)));
    assert!(answer["message"].as_str().unwrap().contains("does not verify"), "{answer}");

    // Who refuses all is not asked twice, and who breaks off has not refused.
    receiver.rule(|_| Reply::status(401));
    let before = receiver.requests().len();
    assert_eq!(verify(&client, id)["data"]["verifies_signatures"], Value::Null);
    assert_eq!(receiver.requests().len(), before + 1);
    let own = secret.clone();
    receiver.rule(move |request| if is_right(request, &own) { Reply::status(200) } else { Reply::Close });
    assert_eq!(verify(&client, id)["data"]["verifies_signatures"], Value::Null);
}

#[test]
fn a_test_takes_verify_and_nothing_else() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let (id, _) = subscribe(&client, &receiver);
    let path = format!("/webhooks/{id}/test");
    client.post(&path, &json!({"verify": "yes"})).expect_wrong(&["verify"]);
    client.post(&path, &json!({"verfy": true})).expect_wrong(&["verfy"]);
    client.post_text(&path, "[]").expect(400).expect_error("invalid_json");
    assert_eq!(receiver.requests().len(), 0);
    assert_eq!(client.post(&path, &json!({"verify": false})).expect(200).data()["success"], true);
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn the_410_of_a_test_ping_does_not_say_that_it_disables() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(410));
    let (id, _) = subscribe(&client, &receiver);
    let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone();
    let shown = client.subscription(id);
    assert_eq!(shown["active"], true);
    for error in [&result["error"], &shown["recent_deliveries"][0]["error"]] {
        let error = error.as_str().unwrap();
        assert!(error.contains("410") && error.contains("does not disable"), "{error}");
    }
}

#[test]
fn the_command_line_says_whether_signatures_are_verified() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let (id, secret) = subscribe(&client, &receiver);
    let test = ["subscriptions", "test", &id.to_string(), "--verify"];
    let told = server.cli(&test);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("does not verify") && told.stderr.contains("Note: the answer is empty"), "{told:?}");
    receiver.rule(move |request| {
        let is_right = request.header("x-tempclock-signature") == signature_hex(&secret, &request.body);
        Reply::with(if is_right { 200 } else { 403 }, &[("Content-Type", "text/plain")], "as you say")
    });
    let told = server.cli(&test);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("as you say") && told.stdout.contains("text/plain"), "{told:?}");
    assert!(told.stderr.contains("refused one with a wrong signature"), "{told:?}");
}

/// What these print for a parsed and rewritten body, with the switches that people use; one text a line, in quotes.
const REWRITERS: [(&str, &str, &str); 4] = [
    (
        "python3",
        "-c",
        "import json,sys\nt=sys.stdin.read()\nv=json.loads(t)\n\
         for s in [None,(',',':'),(', ',':'),(',',': ')]:\n for a in [True,False]:\n  for i in [None,1,2,4]:\n   \
         print(json.dumps(json.dumps(v,separators=s,ensure_ascii=a,indent=i)))",
    ),
    (
        "node",
        "-e",
        "const v=JSON.parse(require('fs').readFileSync(0,'utf8'));\
         for (const i of [0,1,2,4,'\\t']) console.log(JSON.stringify(JSON.stringify(v,null,i)))",
    ),
    (
        "php",
        "-r",
        "$v=json_decode(file_get_contents('php://stdin'));\
         foreach ([0,64,128,256,192,320,448,1024] as $f) echo json_encode(json_encode($v,$f)),\"\\n\";",
    ),
    (
        "ruby",
        "-e",
        "require 'json'; v=JSON.parse($stdin.read); \
         [JSON.generate(v),JSON.pretty_generate(v),v.to_json].each { |t| puts JSON.generate([t])[1..-2] }",
    ),
];

/// A receiver that verifies what it parsed and wrote again passes the test of a body that is written the same way, and
/// fails at the first event.
#[test]
fn nobody_writes_the_bytes_of_a_ping_again_from_its_value() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let (id, _) = subscribe(&client, &receiver);
    client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    let ping = receiver.requests().remove(0);
    for (program, flag, code) in REWRITERS {
        let mut child = Command::new(program)
            .args([flag, code])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; run the tests with tests/run"));
        child.stdin.take().unwrap().write_all(&ping.body).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program}");
        let written: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{program}: {line}: {error}")))
            .collect();
        assert!(written.len() >= 3, "{program} wrote {written:?}");
        for text in written {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), ping.json(), "{program} lost something");
            assert_ne!(text.as_bytes(), ping.body, "{program} writes the same bytes again");
        }
    }
}
