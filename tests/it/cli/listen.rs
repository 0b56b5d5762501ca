//! `listen` receives deliveries, checks them, says why one is wrong, and leaves no subscription behind.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Nobody, Process, Receiver, Reply, Server, clock_in, run, signature_hex};

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A listener that waits for deliveries, and where.
fn listener(arguments: &[&str]) -> (Process, SocketAddr) {
    let mut process = Process::start(&[&["listen", "--json"], arguments].concat());
    let line = process.wait_for_line("where it listens", |line| line.starts_with('{'));
    let url = json_of(&line)["listening"].as_str().expect("a URL").to_owned();
    let address = url.trim_start_matches("http://").trim_end_matches('/').parse().expect("an address");
    (process, address)
}

fn json_of(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))
}

/// Posts a body with a header line of its own, and gives the answer's status line.
fn post(address: SocketAddr, headers: &[u8], body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    let request = [b"POST /hook HTTP/1.1\r\nHost: x\r\n", length.as_bytes(), headers, b"\r\n", body].concat();
    stream.write_all(&request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

fn signed(body: &[u8]) -> Vec<u8> {
    format!("X-TempClock-Event: ping\r\nX-TempClock-Signature: {}\r\n", signature_hex(SECRET, body)).into_bytes()
}

#[test]
fn a_subscription_lasts_as_long_as_the_command_and_its_deliveries_are_valid() {
    let server = Server::start(&[]);
    let client = server.client();
    let (url, key) = (format!("http://{}", server.address()), server.key("webhooks:write"));
    for signal in [Signal::TERM, Signal::INT] {
        let (mut process, _) = listener(&["--api-url", &url, "--api-key", &key, "--events", "clock_in"]);
        let begun = json_of(&process.seen[0]);
        assert_eq!(client.get("/webhooks").expect(200).json["data"][0]["id"], begun["subscription_id"]);
        let event = client.publish("clock_in", &clock_in(1));
        let line = json_of(&process.wait_for_line("the delivery", |line| line.contains(&event)));
        assert_eq!(
            (&line["event"], &line["event_id"], &line["attempt"], &line["verified"], &line["answered"]),
            (&json!("clock_in"), &json!(event), &json!(1), &json!(true), &json!(200)),
            "{line}"
        );
        assert_eq!(line["causes"], json!([]));
        assert_eq!(json_of(line["body"].as_str().unwrap())["data"]["entry_id"], 1);
        let ping = client.post_nothing(&format!("/webhooks/{}/test", begun["subscription_id"])).expect(200);
        assert_eq!((&ping.data()["success"], &ping.data()["remark"]), (&json!(true), &Value::Null), "{}", ping.text);
        let end = process.stop(signal);
        assert!(end.status.success(), "{end:?}");
        assert_eq!(client.total("/webhooks"), 0, "the subscription is still there");
    }
}

#[test]
fn without_an_api_key_it_names_what_is_wrong_with_a_request() {
    let (mut process, address) = listener(&["--secret", SECRET]);
    let body = br#"{"id":"evt_1","event":"ping","timestamp":"2026-03-02T08:00:00.000Z","data":{}}"#;
    let lined = [&body[..], b"\n"].concat();
    let foreign = format!("X-TempClock-Signature: {}\r\n", signature_hex(&SECRET.replace('0', "1"), body));
    for (headers, body, wanted) in [
        (signed(body), &body[..], None),
        (signed(body), &lined, Some("newline_added")),
        (foreign.into_bytes(), body, Some("unknown")),
        (Vec::new(), body, Some("not_signed")),
    ] {
        assert!(post(address, &headers, body).contains(" 200 "), "{wanted:?}");
        let line = json_of(&process.wait_for_line("a request", |line| line.contains("verified")));
        assert_eq!(line["verified"], wanted.is_none(), "{line}");
        assert_eq!(line["causes"][0]["code"].as_str(), wanted, "{line}");
    }
    assert!(process.stop(Signal::TERM).status.success());
}

#[test]
fn lines_for_people_show_nothing_that_could_control_a_terminal() {
    let mut process = Process::start(&["listen", "--secret", SECRET]);
    let line = process.wait_for_line("where it listens", |line| line.starts_with("Listening on http://"));
    let address = line.trim_start_matches("Listening on http://").trim_end_matches('/').parse().unwrap();
    let hostile = [&b"X-TempClock-Delivery: dlv_"[..], "\u{202e}\u{9b}2J".as_bytes(), b"\r\n"].concat();
    post(address, &[hostile, signed(b"{}")].concat(), b"{}");
    let line = process.wait_for_line("the request", |line| line.contains("attempt"));
    assert!(line.contains("dlv_\\u{202e}\\u{9b}2J"), "{line:?}");
    assert!(line.contains("ping") && line.contains("signature valid") && line.contains("answered 200"), "{line:?}");
    let end = process.stop(Signal::TERM);
    assert!(!end.stdout.concat().contains('\u{1b}'), "colour without a terminal: {end:?}");
}

#[test]
fn it_answers_the_status_it_is_told_and_not_before_the_delay() {
    let (mut process, address) = listener(&["--secret", SECRET, "--status", "503", "--delay", "300ms"]);
    let begun = Instant::now();
    assert!(post(address, &signed(b"{}"), b"{}").contains(" 503 "));
    assert!(begun.elapsed() >= Duration::from_millis(300), "answered after {:?}", begun.elapsed());
    let line = json_of(&process.wait_for_line("the request", |line| line.contains("verified")));
    assert_eq!(line["answered"], 503);
}

#[test]
fn requests_are_passed_on_with_their_headers_and_the_answer_comes_back() {
    let target = Receiver::first([Reply::with(418, &[], "short and stout")]);
    let (mut process, address) = listener(&["--secret", SECRET, "--forward-to", &target.url("/app")]);
    assert!(post(address, &signed(b"{\"a\" : 1}"), b"{\"a\" : 1}").contains(" 418 "));
    let passed = target.wait_for(1, "the request").remove(0);
    assert_eq!((passed.method.as_str(), passed.path.as_str(), passed.text()), ("POST", "/app", "{\"a\" : 1}"));
    assert_eq!(passed.header("x-tempclock-signature"), signature_hex(SECRET, &passed.body));
    assert_eq!(json_of(&process.wait_for_line("the request", |line| line.contains("verified")))["answered"], 418);
    let foreign = format!("X-TempClock-Signature: {}\r\n", signature_hex(&SECRET.replace('0', "1"), b"{}"));
    for headers in [foreign.as_bytes(), b""] {
        assert!(post(address, headers, b"{}").contains(" 401 "));
        let line = json_of(&process.wait_for_line("the request", |line| line.contains("verified")));
        assert_eq!(line["verified"], false, "{line}");
        assert!(line["error"].as_str().is_some_and(|error| error.contains("not forwarded")), "{line}");
    }
    assert_eq!(target.requests().len(), 1, "a forged request was passed on");
    let nobody = Nobody::new();
    let gone = nobody.url("/app");
    let (mut process, address) = listener(&["--secret", SECRET, "--forward-to", &gone]);
    assert!(post(address, &signed(b"{}"), b"{}").contains(" 502 "));
    let line = json_of(&process.wait_for_line("the request", |line| line.contains("verified")));
    assert_eq!(line["answered"], 502);
    assert!(line["error"].as_str().is_some_and(|error| error.contains(&gone)), "{line}");
}

#[test]
fn a_refusal_of_the_server_is_told_with_what_to_do() {
    let server = Server::start(&[("delivery.allow_networks", "")]);
    let (url, key) = (format!("http://{}", server.address()), server.key("webhooks:write"));
    let refused = run(&["listen", "--api-url", &url, "--api-key", &key], &[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("delivery.allow_networks"), "{refused:?}");
    let reader = server.key("webhooks:read");
    let forbidden = run(&["listen", "--api-url", &url, "--api-key", &reader], &[]);
    assert_eq!(forbidden.code, Some(1), "{forbidden:?}");
    assert!(forbidden.stderr.contains("webhooks:write") && !forbidden.stderr.contains(&reader), "{forbidden:?}");
    let unreachable = run(&["listen", "--api-url", "http://127.0.0.1:1", "--api-key", &key], &[]);
    assert_eq!(unreachable.code, Some(1), "{unreachable:?}");
    assert!(unreachable.stderr.contains("--api-url"), "{unreachable:?}");
    let everywhere = run(&["listen", "--api-url", &url, "--api-key", &key, "--listen", "0.0.0.0:0"], &[]);
    assert_eq!(everywhere.code, Some(2), "{everywhere:?}");
    assert!(everywhere.stderr.contains("--url"), "{everywhere:?}");
    let nothing = run(&["listen"], &[]);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
}

#[test]
fn advice_is_given_only_for_the_cause_that_it_fits() {
    let server = Server::start(&[]);
    let (url, key) = (format!("http://{}", server.address()), server.key("webhooks:write"));
    let unknown = run(&["listen", "--api-url", &url, "--api-key", "tc_live_0"], &[]);
    assert!(unknown.stderr.contains("keys list") && !unknown.stderr.contains("scope"), "{unknown:?}");
    let wrong = run(&["listen", "--api-url", &url, "--api-key", &key, "--events", "clock_im"], &[]);
    assert!(wrong.stderr.contains("clock_in") && !wrong.stderr.contains("allow_networks"), "{wrong:?}");
    let other = Receiver::start();
    for status in [409, 429, 500, 503] {
        other.rule(move |_| Reply::with(status, &[], r#"{"error": true, "message": "not now"}"#));
        let refused = run(&["listen", "--api-url", other.url("").as_str(), "--api-key", &key], &[]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let said = format!("no subscription was created: the server responded with {status}: not now\n");
        assert_eq!(refused.stderr, said, "{refused:?}");
    }
}

#[test]
fn a_subscription_that_cannot_be_removed_is_named() {
    let mut server = Server::start(&[]);
    let (url, key) = (format!("http://{}", server.address()), server.key("webhooks:write"));
    let (process, _) = listener(&["--api-url", &url, "--api-key", &key]);
    let id = json_of(&process.seen[0])["subscription_id"].to_string();
    server.kill_9();
    let end = process.stop(Signal::TERM);
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    assert!(end.stderr.contains(&format!("subscription {id} could not be deleted")), "{end:?}");
}
