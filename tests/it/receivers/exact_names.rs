//! Receivers that look headers up by their exact spelling, or through CGI, verify what is delivered: names are on the wire as
//! they are documented. `tests/run` installs the languages.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::interop::in_repository;
use crate::harness::{PATIENCE, Process, Server, clock_in, write_program};

const SECRET: &str = "a-secret-that-the-receiver-has";

fn program(name: &str) -> String {
    in_repository("tests/interop/exact_names").join(name).display().to_string()
}

/// Panics unless the receiver takes a delivery and a ping, and refuses a ping that is signed wrongly.
#[track_caller]
fn assert_verifies(url: &str) {
    let server = Server::start(&[]);
    let client = server.client();
    let wish = json!({"url": url, "events": ["clock_in"], "secret": SECRET});
    let id = client.post("/webhooks", &wish).expect(201).data()["id"].clone();
    let tested = client.post(&format!("/webhooks/{id}/test"), &json!({"verify": true})).expect(200);
    let Value::Object(told) = tested.data() else { panic!("{}", tested.text) };
    assert_eq!((&told["success"], &told["verifies_signatures"]), (&json!(true), &json!(true)), "{}", tested.text);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
}

/// The same of a program that prints its port.
#[track_caller]
fn assert_program_verifies(command: &mut Command, path: &str) {
    let mut process = Process::spawn(command.env("WEBHOOK_SECRET", SECRET));
    let line = process
        .wait_for_line("where it listens; is it installed? run tests/run", |line| line.starts_with("listening on "));
    let port = line.trim_start_matches("listening on ");
    assert_verifies(&format!("http://127.0.0.1:{port}{path}"));
}

#[test]
fn a_hash_in_perl_finds_the_signature_by_its_exact_name() {
    assert_program_verifies(Command::new("perl").arg(program("receiver.pl")), "/");
}

#[test]
fn an_array_in_tcl_finds_the_signature_by_its_exact_name() {
    assert_program_verifies(Command::new("tclsh").arg(program("receiver.tcl")), "/");
}

#[test]
fn a_dictionary_in_python_finds_the_signature_by_its_exact_name() {
    assert_program_verifies(Command::new("python3").arg(program("receiver.py")), "/");
}

#[test]
fn a_program_of_raw_cgi_finds_the_signature() {
    let folder = tempfile::tempdir().unwrap();
    let cgi = folder.path().join("receiver.cgi");
    write_program(&cgi, &fs::read(program("receiver.cgi")).unwrap());
    fs::write(folder.path().join("secret.txt"), SECRET).unwrap();
    assert_program_verifies(Command::new("ruby").arg(program("cgi_server.rb")).arg(cgi), "/cgi");
}

#[test]
fn getallheaders_of_php_finds_the_signature_by_its_exact_name() {
    // PHP does not tell which port it was given, so the address is one that nobody else takes: it is made of the number of
    // this process.
    let bits = Ipv4Addr::new(127, 64, 0, 0).to_bits() | std::process::id();
    let address = SocketAddr::from((Ipv4Addr::from_bits(bits), 3090));
    let mut php = Command::new("php");
    php.args(["-S", &address.to_string(), &program("receiver.php")]).env("WEBHOOK_SECRET", SECRET);
    let _process = Process::spawn(&mut php);
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < PATIENCE, "PHP does not listen; is it installed? run tests/run");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_verifies(&format!("http://{address}/"));
}
