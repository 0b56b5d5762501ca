//! On a network of its own, where every address really answers, the server connects to none that it must not.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use serde_json::json;

use crate::harness::{
    ALL_SCOPES, NameServer, PATIENCE, PUBLIC, PUBLIC_V6, Receiver, Server, Strace, clock_in, eventually, hosts,
    on_an_island,
};

const PORT: u16 = 8080;
const ONCE: (&str, &str) = ("delivery.retry_schedule", "[]");
const CLOSED: (&str, &str) = ("delivery.allow_networks", "[]");
const MANY: (&str, &str) = ("limits.subscriptions_per_account", "10000");

/// First addresses of the registries' ranges and others from within; [`guarded_addresses`] writes them in all forms.
const V4: &str = "0.0.0.0 0.1.2.3 10.0.0.0 10.0.0.1 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 \
    127.0.0.0 127.0.0.1 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 \
    172.31.255.255 192.0.0.0 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.171 192.0.0.192 192.0.2.0 \
    192.31.196.0 192.52.193.0 192.88.99.0 192.168.0.0 192.168.255.255 192.175.48.0 198.18.0.0 198.19.255.255 \
    198.51.100.0 203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255";
const V6: &str = ":: ::1 64:ff9b:1::1 100::1 100:0:0:1::1 2001::1 2001:1::1 2001:1::2 2001:1::3 2001:2::1 2001:3::1 \
    2001:4:112::1 2001:10::1 2001:20::1 2001:30::1 2001:db8::1 2002::1 2620:4f:8000::1 3fff::1 5f00::1 fc00::1 \
    fd00:ec2::254 fd20:ce::254 fdff::1 fe80::1 febf::1 fec0::1 ff02::1 4000::1 8000::1";

fn guarded_addresses() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = V6.split_whitespace().map(|text| text.parse().unwrap()).collect();
    for text in V4.split_whitespace() {
        let address: std::net::Ipv4Addr = text.parse().unwrap();
        let [a, b, c, d] = address.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        all.push(address.into());
        for form in [
            format!("::ffff:{text}"),
            format!("64:ff9b::{text}"),
            format!("::{text}"),
            format!("64:ff9b:1::{text}"),
            format!("2002:{high:x}:{low:x}::1"),
            format!("2001:0:801:101::{:x}:{:x}", !high, !low),
        ] {
            all.push(form.parse().unwrap());
        }
    }
    all
}

fn in_url(address: &IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

/// Every network in which a guarded address can be, so that it can be subscribed before the rule is closed.
fn everything_open() -> String {
    let mut blocks: BTreeSet<String> = ["0.0.0.0/0", "::/0"].map(str::to_owned).into();
    blocks.extend(["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "fe80::/10", "::1/128", "::/128"].map(str::to_owned));
    blocks.extend(["100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"].map(str::to_owned));
    blocks.extend(["fd00:ec2::254/128", "fd20:ce::254/128"].map(str::to_owned));
    json!(blocks).to_string()
}

/// Where the traced process opened connections to, from the lines of `connect` with their sockets' kind. What the C
/// library does to sort addresses (a datagram socket that sends nothing) is no connection.
fn connected(trace: &str) -> BTreeSet<String> {
    let calls = trace.lines().filter(|line| line.contains("connect(") && line.contains("<TCP"));
    calls
        .map(|line| {
            let marks = ["inet_addr(\"", "inet_pton(AF_INET6, \""];
            let rest = marks.iter().find_map(|mark| line.split_once(mark)).unwrap_or_else(|| panic!("{line}")).1;
            rest.split('"').next().unwrap().to_owned()
        })
        .collect()
}

fn trace(server: &Server) -> Strace {
    Strace::attach(server, &["-yy", "-e", "trace=connect"])
}

#[test]
fn no_forbidden_address_is_ever_connected_to() {
    on_an_island("receivers::island::no_forbidden_address_is_ever_connected_to", || {
        let addresses = guarded_addresses();
        let behind_names = addresses.clone();
        let _name_server = NameServer::start(move |name, _| {
            let number = name.strip_suffix(".guarded.example").and_then(|number| number.parse::<usize>().ok());
            match number {
                Some(number) => Some(vec![behind_names[number]]),
                None if name == "good.example" => Some(vec![PUBLIC.parse().unwrap()]),
                None => Some(Vec::new()),
            }
        });
        hosts("10.0.0.1 in-hosts.example\n127.0.0.1 localhost me\n");
        let everywhere = [Receiver::at(&format!("0.0.0.0:{PORT}")), Receiver::at(&format!("[::1]:{PORT}"))];

        let mut server = Server::stopped(&[ONCE, MANY]);
        server.configure(&[("delivery.allow_networks", &everything_open())]);
        server.launch();
        let key = server.key(ALL_SCOPES);
        let client = server.client_with(&key);
        let literals = addresses.iter().map(in_url);
        let named = (0..addresses.len()).map(|number| format!("{number}.guarded.example"));
        let further = ["localhost", "in-hosts.example", "me"].map(str::to_owned);
        let hosts: Vec<String> = literals.chain(named).chain(further).collect();
        for host in &hosts {
            client.subscribe(&format!("http://{host}:{PORT}/"), &["clock_in"]);
        }
        client.subscribe(&format!("http://good.example:{PORT}/good"), &["clock_in"]);

        server.configure(&[CLOSED]);
        server.restart();
        let client = server.client_with(&key);
        let strace = trace(&server);
        let event = client.publish("clock_in", &clock_in(1));
        let attempts = client.first_attempts(&event);
        let seen = connected(&strace.detach());

        assert_eq!(seen, BTreeSet::from([PUBLIC.to_owned()]));
        assert_eq!(attempts.len(), hosts.len() + 1);
        assert!(attempts.len() > 600, "{}", attempts.len());
        let refused = attempts.iter().filter(|attempt| attempt["status"] == "failed");
        let mut count = 0;
        for attempt in refused {
            let cause = attempt["error"].as_str().unwrap();
            assert!(cause.contains("which is not allowed"), "{attempt:#}");
            count += 1;
        }
        assert_eq!(count, hosts.len());
        let came: usize = everywhere.iter().map(Receiver::connections).sum();
        assert_eq!(came, 1, "besides the one that is allowed");
    });
}

#[test]
fn a_name_that_turns_to_a_forbidden_address_reaches_nobody_there() {
    const NAMES: usize = 100;
    on_an_island("receivers::island::a_name_that_turns_to_a_forbidden_address_reaches_nobody_there", || {
        // The first answer is good, every later one leads to this machine.
        let name_server = NameServer::start(|_, count| {
            Some(vec![if count == 0 { PUBLIC.parse().unwrap() } else { "127.0.0.1".parse().unwrap() }])
        });
        let good = Receiver::at(&format!("{PUBLIC}:{PORT}"));
        let bad = Receiver::at(&format!("127.0.0.1:{PORT}"));
        let server = Server::start(&[ONCE, MANY, CLOSED]);
        let client = server.client();
        for number in 0..NAMES {
            client.subscribe(&format!("http://{number}.turning.example:{PORT}/"), &["clock_in"]);
        }
        let first = client.publish("clock_in", &clock_in(0));
        assert!(client.first_attempts(&first).iter().all(|attempt| attempt["status"] == "delivered"));
        assert_eq!(good.requests().len(), NAMES);
        for number in 0..NAMES {
            // Had it looked the name up again to connect, it would have met the second answer.
            assert_eq!(name_server.asked(&format!("{number}.turning.example")), 1);
        }
        // The connections to the good receiver are kept, but the name no longer leads there.
        let mut entry = 0;
        eventually("every name has turned", || {
            entry += 1;
            let event = client.publish("clock_in", &clock_in(entry));
            let attempts = client.first_attempts(&event);
            attempts.iter().all(|attempt| attempt["status"] == "failed").then_some(())
        });
        let before = good.requests().len();
        let event = client.publish("clock_in", &clock_in(entry + 1));
        for attempt in client.first_attempts(&event) {
            let cause = attempt["error"].as_str().unwrap();
            assert!(cause.contains("127.0.0.1") && cause.contains("turning.example"), "{cause}");
        }
        assert_eq!(good.requests().len(), before, "a kept connection was used without a look at the name");
        assert_eq!(bad.connections(), 0);
    });
}

#[test]
fn one_forbidden_address_among_good_ones_refuses_the_host() {
    on_an_island("receivers::island::one_forbidden_address_among_good_ones_refuses_the_host", || {
        let (good, good_v6): (IpAddr, IpAddr) = (PUBLIC.parse().unwrap(), PUBLIC_V6.parse().unwrap());
        let bad: Vec<IpAddr> =
            ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254"].map(|a| a.parse().unwrap()).into();
        let answers: Vec<Vec<IpAddr>> = bad
            .iter()
            .flat_map(|bad| {
                let many = [vec![good; 16], vec![*bad]].concat();
                [vec![good, *bad], vec![*bad, good], vec![good_v6, *bad], vec![good, *bad, good_v6], many]
            })
            .collect();
        let count = answers.len();
        let _name_server = NameServer::start(move |name, _| {
            let number = name.strip_suffix(".mixed.example").and_then(|number| number.parse::<usize>().ok());
            Some(number.map_or_else(|| vec![good, good_v6], |number| answers[number].clone()))
        });
        let receivers = [Receiver::at(&format!("0.0.0.0:{PORT}")), Receiver::at(&format!("[::1]:{PORT}"))];
        let server = Server::start(&[ONCE, CLOSED]);
        let client = server.client();
        for number in 0..count {
            client.subscribe(&format!("http://{number}.mixed.example:{PORT}/"), &["clock_in"]);
        }
        let strace = trace(&server);
        let event = client.publish("clock_in", &clock_in(1));
        for attempt in client.first_attempts(&event) {
            assert_eq!(attempt["status"], "failed", "{attempt:#}");
            assert!(attempt["error"].as_str().unwrap().contains("which is not allowed"), "{attempt:#}");
        }
        assert_eq!(connected(&strace.detach()), BTreeSet::new());
        // The good addresses alone are fit to be connected to: it was the bad ones that stood in the way.
        client.subscribe(&format!("http://all-good.example:{PORT}/"), &["worker_created"]);
        let event = client.publish("worker_created", &crate::harness::sample("worker_created"));
        client.settled(&event, "delivered");
        assert_eq!(receivers.iter().map(|receiver| receiver.requests().len()).sum::<usize>(), 1);
    });
}

#[test]
fn a_test_ping_meets_the_same_rule() {
    on_an_island("receivers::island::a_test_ping_meets_the_same_rule", || {
        let _name_server = NameServer::start(|name, count| {
            let turns = name == "turning.example" && count == 0;
            Some(vec![if turns { PUBLIC.parse().unwrap() } else { "10.0.0.1".parse().unwrap() }])
        });
        let receiver = Receiver::at(&format!("0.0.0.0:{PORT}"));
        let server = Server::start(&[ONCE, CLOSED]);
        let client = server.client();
        let inside = client.subscribe(&format!("http://inside.example:{PORT}/"), &["ping"]).id;
        let turning = client.subscribe(&format!("http://turning.example:{PORT}/"), &["ping"]).id;
        let ping = |id: i64| client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone();
        assert_eq!(ping(turning)["success"], true);
        eventually("the name has turned", || (ping(turning)["success"] == false).then_some(()));
        let refused = ping(inside);
        assert_eq!(refused["success"], false);
        let cause = refused["error"].as_str().unwrap();
        assert!(cause.contains("inside.example") && cause.contains("10.0.0.0/8"), "{cause}");
        assert!(receiver.requests().iter().all(|request| request.header("host").starts_with("turning.example")));
    });
}

#[test]
fn a_silent_name_server_costs_no_more_than_the_time_limit() {
    on_an_island("receivers::island::a_silent_name_server_costs_no_more_than_the_time_limit", || {
        let _name_server = NameServer::start(|name, _| (name == "good.example").then(|| vec![PUBLIC.parse().unwrap()]));
        let _receiver = Receiver::at(&format!("{PUBLIC}:{PORT}"));
        let limit = Duration::from_secs(1);
        let server = Server::start(&[CLOSED, ("delivery.timeout", r#""1s""#)]);
        let client = server.client();
        client.subscribe(&format!("http://silent.example:{PORT}/"), &["clock_in"]);
        let event = client.publish("clock_in", &clock_in(1));
        let id = client.delivery_ids(&event).remove(0);
        let delivery = client.wait_for_delivery(&id, "was tried", |delivery| delivery["attempt_count"] != 0);
        let attempt = &delivery["attempts"][0];
        let duration = Duration::from_millis(attempt["duration_ms"].as_u64().unwrap());
        assert!(duration >= limit && duration < PATIENCE, "{attempt:#}");
        assert!(attempt["error"].as_str().unwrap().contains("looking up"), "{attempt:#}");
        client.subscribe(&format!("http://good.example:{PORT}/"), &["worker_created"]);
        let event = client.publish("worker_created", &crate::harness::sample("worker_created"));
        client.settled(&event, "delivered");
    });
}
