//! File descriptors are divided: whatever deliveries and callers take, the others have theirs.

use std::{fs, net::TcpStream};

use serde_json::Value;

use crate::harness::{Receiver, Server, clock_in, eventually};

const LIMITED: &str = "--nofile=256:256";
/// The kernel's numbers of two states of a connection.
const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";
const MANY: (&str, &str) = ("limits.subscriptions_per_account", "1000");

fn limited() -> Server {
    let mut server = Server::stopped(&[MANY]);
    server.through(&["prlimit", LIMITED]);
    server.launch();
    server
}

/// How many connections to this port this machine has in that state, as the kernel numbers it.
fn connections(port: u16, state: &str) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{port:04X}");
    let columns = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    columns.filter(|columns| columns[2].ends_with(&to) && columns[3] == state).count()
}

#[test]
fn more_endpoints_than_descriptors_are_all_delivered_to_while_the_api_and_commands_answer() {
    const ENDPOINTS: usize = 300;
    let server = limited();
    let client = server.client();
    let receiver = Receiver::at("0.0.0.0:0");
    let port = receiver.port();
    for number in 0..ENDPOINTS {
        let host = format!("127.1.{}.{}", number / 200, number % 200 + 1);
        client.subscribe(&format!("http://{host}:{port}/hook"), &["clock_in"]);
    }
    client.publish("clock_in", &clock_in(1));
    receiver.wait_for(ENDPOINTS, "every delivery");
    client.get("/healthz").expect(200);
    assert_eq!(server.cli(&["keys", "list"]).code, Some(0));
    client.wait_for_total("/deliveries?status=pending", 0);
    let failed = client.get("/deliveries?limit=100").expect(200);
    let all_at_once = failed.rows().iter().all(|row| row["attempt_count"] == 1);
    assert!(all_at_once, "a lack of the server's own made attempts fail: {:#}", failed.rows()[0]);
    assert!(!server.log().contains("Too many open files"), "{}", server.log());
}

#[test]
fn callers_that_take_all_connections_of_the_api_take_none_of_deliveries_and_commands() {
    let server = limited();
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let open = format!("/proc/{}/fd", server.pid());
    let before = fs::read_dir(&open).unwrap().count();
    let callers: Vec<TcpStream> = (0..256).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    eventually("the callers are there", || (fs::read_dir(&open).unwrap().count() > before + 40).then_some(()));
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    assert_eq!(server.cli(&["keys", "list"]).code, Some(0));
    drop(callers);
    client.settled(&client.publish("clock_in", &clock_in(2)), "delivered");
    assert!(!server.log().contains("Too many open files"), "{}", server.log());
}

#[test]
fn the_soft_limit_is_raised_and_doctor_tells_a_low_hard_one() {
    let mut server = Server::stopped(&[]);
    server.through(&["prlimit", "--nofile=200:4096"]);
    server.launch();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("4096"), "{line}");
    let found = |server: &Server| {
        let printed: Value = serde_json::from_str(&server.cli(&["doctor", "--json"]).stdout).unwrap();
        let findings = printed["data"].as_array().unwrap().clone();
        findings.into_iter().find(|finding| finding["check"] == "descriptors").expect("a finding")
    };
    assert_eq!(found(&server)["level"], "ok");
    let finding = found(&limited());
    let message = finding["message"].as_str().unwrap();
    assert!(finding["level"] == "warning" && message.contains("limit of 256 open files"), "{finding:#}");
}

#[test]
fn a_connection_that_the_receiver_closes_is_closed_at_once_without_another_event() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let port = receiver.port();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    assert_eq!(connections(port, ESTABLISHED), 1, "it is kept");
    drop(receiver);
    eventually("the connection has ended on this side", || {
        (connections(port, ESTABLISHED) + connections(port, CLOSE_WAIT) == 0).then_some(())
    });
}
