//! The server as a service: what it tells the service manager, what SIGHUP takes over, and how its log looks.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Receiver, Server, clock_in, eventually};

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Has the server read again what it can.
pub fn hang_up(server: &Server) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

/// Waits until the log has so many lines with these words.
#[track_caller]
pub fn logged(server: &Server, words: &str, count: usize) {
    eventually(words, || (server.log().matches(words).count() >= count).then_some(()));
}

/// Puts a new self-signed certificate and its key into the two files.
pub fn exchange(server: &Server) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(server.folder().join("server.pem"), made.cert.pem()).unwrap();
    fs::write(server.folder().join("server.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

/// Has the server speak TLS from its next start.
pub fn with_tls(server: &mut Server) {
    let [certificate, key] = ["server.pem", "server.key"].map(|name| quoted(&server.folder().join(name)));
    server.configure(&[("server.tls_certificate", &certificate), ("server.tls_key", &key)]);
}

/// Connects, with these certificates as roots.
pub fn connect(server: &Server, trusted: &[&CertificateDer<'static>]) -> TlsStream {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add((*certificate).clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let client = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(client, socket)
}

/// Asks over this connection and leaves it open.
#[track_caller]
pub fn ask(stream: &mut TlsStream) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut part = [0; 1024];
        let count = stream.read(&mut part).unwrap();
        assert_ne!(count, 0, "the connection was closed");
        answer.extend_from_slice(&part[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

fn shown(stream: &TlsStream) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn sighup_takes_over_a_new_certificate_and_drops_no_connection() {
    let mut server = Server::stopped(&[]);
    with_tls(&mut server);
    let first = exchange(&server);
    server.launch();
    let mut before = connect(&server, &[&first]);
    ask(&mut before);

    let second = exchange(&server);
    hang_up(&server);
    logged(&server, "certificates reloaded", 1);
    let mut after = connect(&server, &[&first, &second]);
    ask(&mut after);
    assert_eq!(shown(&after), second);
    ask(&mut before);
    assert_eq!(shown(&before), first);

    // A renewal that went wrong takes nothing away.
    fs::write(server.folder().join("server.pem"), "no certificate").unwrap();
    hang_up(&server);
    logged(&server, "the old certificates stay in use", 1);
    let mut later = connect(&server, &[&second]);
    ask(&mut later);
    ask(&mut before);
    assert!(server.terminate().success());
}

#[test]
fn sighup_takes_over_the_log_level_and_names_what_it_does_not_take_over() {
    let mut server = Server::start(&[("log.level", "\"warn\"")]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    assert!(!server.log().contains("POST /api/v1/webhooks"), "{}", server.log());
    server.configure(&[("log.level", "\"debug\"")]);
    hang_up(&server);
    logged(&server, "log level, event types and certificates reloaded", 1);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
    logged(&server, "delivered dlv_", 1);
    assert!(!server.log().contains("take effect at the next start"));

    server.configure(&[("delivery.threads", "3"), ("delivery.max_in_flight_per_endpoint", "2")]);
    hang_up(&server);
    logged(&server, "take effect at the next start", 1);
    server.configure(&[("delivery.threads", "\"many\"")]);
    hang_up(&server);
    logged(&server, "the configuration is invalid", 1);
    assert!(server.terminate().success());
}

#[test]
fn the_service_manager_is_told_ready_alive_reloading_and_stopping() {
    let mut server = Server::stopped(&[]);
    let socket = server.folder().join("notify.sock");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    server.environment("NOTIFY_SOCKET", socket.to_str().unwrap());
    server.environment("WATCHDOG_USEC", "300000");
    let next = |wanted: &str| {
        eventually(wanted, || {
            let mut message = [0; 4096];
            let count = manager.recv(&mut message).unwrap();
            let message = String::from_utf8_lossy(&message[..count]).into_owned();
            message.lines().any(|line| line == wanted).then_some(message)
        })
    };
    server.launch();
    let starting = next("STATUS=opening the database");
    assert!(starting.contains("EXTEND_TIMEOUT_USEC="), "{starting}");
    let ready = next("READY=1");
    assert!(ready.contains(&format!("STATUS=listening on http://{}", server.address())), "{ready}");
    next("WATCHDOG=1");
    next("WATCHDOG=1");
    hang_up(&server);
    let reloading = next("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    next("READY=1");
    server.ask_to_stop();
    next("STOPPING=1");
    assert!(server.wait_for_exit().success());
}

#[test]
fn a_json_log_is_one_object_a_line_with_the_fields_of_the_text() {
    let mut server = Server::start(&[("log.level", "\"info\""), ("log.format", "\"json\"")]);
    let client = server.client();
    let receiver = Receiver::first([crate::harness::Reply::status(500)]);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
    client.post("/webhooks", &json!({})).expect(400);
    assert!(server.terminate().success());
    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let failed = lines.iter().find(|line| line["message"].as_str().unwrap().starts_with("attempt failed")).unwrap();
    assert!(failed["message"].as_str().unwrap().contains("the endpoint answered 500; "), "{failed:#}");
    assert_eq!(failed["level"], "INFO");
    assert_eq!((&failed["cause"], &failed["response_code"]), (&json!("http_status"), &json!(500)), "{failed:#}");
    for field in ["delivery", "event", "next_attempt_at"] {
        assert!(failed[field].is_string(), "{field}: {failed:#}");
    }
    for field in ["subscription", "attempt", "duration_ms"] {
        assert!(failed[field].is_u64(), "{field}: {failed:#}");
    }
    assert!(failed["time"].as_str().unwrap().ends_with('Z'));
    assert!(lines.iter().any(|line| line["request_id"].is_string()), "{log}");
}

/// Starts the server as systemd does, with the name of stderr in `JOURNAL_STREAM`.
fn under_the_journal(settings: &[(&str, &str)]) -> Server {
    let mut server = Server::stopped(settings);
    let named = "export JOURNAL_STREAM=$(stat --dereference --format=%d:%i /dev/fd/2); exec \"$@\"";
    server.through(&["sh", "-c", named, "sh"]);
    server.launch();
    server
}

#[test]
fn under_the_journal_a_line_has_a_priority_and_no_date_of_its_own() {
    let mut server = under_the_journal(&[("log.level", "\"info\""), ("delivery.retry_schedule", "[]")]);
    let client = server.client();
    let receiver = Receiver::first([crate::harness::Reply::status(500)]);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.settled(&client.publish("clock_in", &clock_in(1)), "exhausted");
    logged(&server, "<4>[WARN ] attempt failed: dlv_", 1);
    assert!(server.terminate().success());
    let log = server.log();
    let line = log.lines().find(|line| line.contains("stopping")).unwrap();
    assert_eq!(line, "<6>[INFO ] stopping");
}

#[test]
fn under_the_journal_every_line_of_a_json_log_is_an_object_behind_its_priority() {
    let mut server = under_the_journal(&[("log.level", "\"info\""), ("log.format", "\"json\"")]);
    assert!(server.terminate().success());
    for line in server.log().lines() {
        let object: Value = serde_json::from_str(&line[3..]).expect(line);
        let priority = if object["level"] == "WARN" { "<4>" } else { "<6>" };
        assert!(line.starts_with(priority) && object["message"].is_string(), "{line}");
    }
}

#[test]
fn an_inherited_name_of_the_journal_changes_nothing() {
    let mut server = Server::stopped(&[("log.level", "\"info\"")]);
    server.environment("JOURNAL_STREAM", "8:12345");
    server.launch();
    assert!(server.terminate().success());
    assert!(server.log().lines().all(|line| !line.starts_with('<')), "{}", server.log());
}

#[test]
fn a_crash_leaves_no_copy_of_the_memory() {
    let server = Server::start(&[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}
