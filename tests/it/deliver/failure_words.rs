//! Whoever looks into a failure reads the same words everywhere: what happened, what to do, when the next attempt comes.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::harness::{
    ALL_SCOPES, Client, Gate, NAME_SERVER, NameAnswer, NameServer, Nobody, PUBLIC, Receiver, Reply, Server, Strace,
    clock_in, eventually, on_an_island, sample,
};

const ONCE: (&str, &str) = ("delivery.retry_schedule", "[]");

fn words(attempt: &Value) -> &str {
    attempt["error"].as_str().expect("a failed attempt says why")
}

/// Publishes one event for one more subscription, and gives its failed attempt.
fn failed_attempt(client: &Client, url: &str) -> Value {
    let id = client.subscribe(url, &["clock_in"]).id;
    let event = client.publish("clock_in", &clock_in(1));
    let attempt = client.settled(&event, "exhausted")["attempts"][0].clone();
    client.delete(&format!("/webhooks/{id}")).expect(200);
    attempt
}

#[test]
fn api_command_and_log_tell_a_failure_in_the_same_words() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1h"]"#), ("log.level", r#""info""#)]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(413));
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let event = client.publish("clock_in", &clock_in(1));
    let id = client.delivery_ids(&event).remove(0);
    let delivery = client.wait_for_delivery(&id, "has failed", |delivery| delivery["attempt_count"] == 1);
    let attempt = &delivery["attempts"][0];
    let (cause, advice) = words(attempt).split_once("; ").expect("cause and advice");
    assert_eq!(delivery["error"], attempt["error"]);
    assert_eq!(client.subscription(subscription)["recent_deliveries"][0]["error"], attempt["error"]);

    let shown = server.cli(&["deliveries", "show", &id]).stdout;
    assert!(shown.contains(cause) && shown.contains(advice), "{shown}");
    let next = attempt["next_attempt_at"].as_str().unwrap();
    let wanted = format!("attempt failed: {id}: {cause}; {advice}; next attempt at {next}");
    eventually("the log has the same words", || server.log().contains(&wanted).then_some(()));
}

#[test]
fn the_log_says_when_no_attempt_follows() {
    let server = Server::start(&[ONCE, ("log.level", r#""info""#)]);
    let client = server.client();
    let receiver = Receiver::answering(|request| Reply::status(request.path[1..].parse().unwrap()));
    client.subscribe(&receiver.url("/500"), &["clock_in"]);
    client.publish("clock_in", &clock_in(1));
    eventually("the end is told", || {
        server.log().contains("; no further attempt, the retry schedule is exhausted").then_some(())
    });

    let server = Server::start(&[("log.level", r#""info""#)]);
    server.client().subscribe(&receiver.url("/410"), &["clock_in"]);
    server.client().publish("clock_in", &clock_in(1));
    let held = "; held until the subscription is enabled";
    eventually("the hold is told", || server.log().contains(held).then_some(()));
}

#[test]
fn a_refused_address_is_told_with_host_and_rule_everywhere() {
    let mut server = Server::start(&[ONCE, ("log.level", r#""info""#)]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    client.subscribe("http://localhost:9/hook", &["clock_in"]);
    server.configure(&[("delivery.allow_networks", "[]")]);
    server.restart();
    let client = server.client_with(&key);
    let event = client.publish("clock_in", &clock_in(1));
    let attempt = client.settled(&event, "exhausted")["attempts"][0].clone();
    for part in ["localhost", "127.0.0.1", "127.0.0.0/8", "not allowed; ", "delivery.allow_networks"] {
        assert!(words(&attempt).contains(part), "{attempt:#}");
    }
    eventually("the log has it", || server.log().contains(words(&attempt)).then_some(()));
}

#[test]
fn a_redirect_names_where_it_leads_without_what_may_be_secret() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let long = "x".repeat(3000);
    let receiver = Receiver::answering(move |_| {
        let headers = [("Content-Security-Policy", long.as_str()), ("Location", "/login?token=secret#top")];
        Reply::with(302, &headers, "")
    });
    let attempt = failed_attempt(&client, &receiver.url("/hook"));
    let wanted =
        format!("the endpoint answered 302, a redirect to {}, which is not followed; ", receiver.url("/login"));
    assert!(words(&attempt).starts_with(&wanted), "{attempt:#}");
    assert!(!words(&attempt).contains("secret"), "{attempt:#}");
}

#[test]
fn what_the_system_says_is_put_into_words_of_our_own() {
    let server = Server::start(&[ONCE, ("delivery.allow_networks", r#"["127.0.0.0/8", "255.255.255.255/32"]"#)]);
    let client = server.client();
    let nobody = Nobody::new();
    for (url, wanted) in [
        (nobody.url("/"), "no connection to the endpoint (connection refused); "),
        // No system has a way to there.
        ("http://255.255.255.255:9/".to_owned(), "no connection to the endpoint ("),
    ] {
        let attempt = failed_attempt(&client, &url);
        assert!(words(&attempt).starts_with(wanted), "{attempt:#}");
        assert!(!words(&attempt).contains("os error"), "{attempt:#}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_a_failure_with_its_cause() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/close" => Reply::Close,
        "/short" => Reply::CutShort,
        "/half-a-head" => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        _ => Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec()),
    });
    let paths = ["/close", "/short", "/half-a-head", "/not-http"];
    for id in client.deliver_to_each(&receiver, &paths) {
        let attempt = client.wait_for_status(&id, "exhausted")["attempts"][0].clone();
        assert_eq!(attempt["status"], "failed");
        let (error, path) = (attempt["error"].as_str().unwrap(), attempt["request"]["url"].as_str().unwrap());
        let path = &path[path.rfind('/').unwrap()..];
        let (code, words) = match path {
            "/short" => {
                (json!(200), "the endpoint answered 200, but the connection broke before the answer was complete; ")
            }
            "/not-http" => (json!(null), "the answer is not valid HTTP ("),
            _ => (json!(null), "the connection broke before the answer was complete (the other side closed it); "),
        };
        assert!(error.starts_with(words), "{attempt:#}");
        assert_eq!(attempt["response_code"], code, "{attempt:#}");
    }
}

#[test]
fn a_request_that_is_not_taken_is_a_time_out_while_sending() {
    let server = Server::start(&[ONCE, ("delivery.timeout", r#""1s""#), ("limits.event_bytes", r#""16MiB""#)]);
    let client = server.client();
    // Never accepted, a connection takes what the system has room for.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    client.subscribe(&format!("http://{}/", silent.local_addr().unwrap()), &["clock_in"]);
    let mut data = clock_in(1);
    data["note"] = "x".repeat(15 << 20).into();
    let event = client.publish("clock_in", &data);
    let attempt = client.settled(&event, "exhausted")["attempts"][0].clone();
    assert!(words(&attempt).contains("while sending the request; "), "{}", words(&attempt));
}

#[test]
fn a_time_out_is_told_with_its_own_duration_after_the_limit_was_changed() {
    let mut server = Server::start(&[ONCE, ("delivery.timeout", r#""1s""#)]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::answering(|_| Reply::Hang);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let before = client.settled(&event, "exhausted");
    server.configure(&[("delivery.timeout", r#""20s""#)]);
    server.restart();
    let after = server.client_with(&key).delivery(before["id"].as_str().unwrap());
    assert_eq!(after["error"], before["error"]);
    let duration_ms = before["attempts"][0]["duration_ms"].as_u64().unwrap();
    // It is told to a tenth of a second.
    let whole_s = format!("timed out after {}", (duration_ms + 50) / 1000);
    assert!(after["error"].as_str().unwrap().starts_with(&whole_s), "{after:#}");
}

#[test]
fn hanging_pings_of_one_account_leave_the_others_theirs() {
    let server = Server::start(&[("delivery.timeout", r#""10m""#)]);
    let client = server.client();
    let gate = Gate::default();
    let closed = gate.clone();
    let receiver = Receiver::answering(move |_| Reply::Held(closed.clone(), 200));
    let id = client.subscribe(&receiver.url("/"), &["ping"]).id;
    let path = format!("/webhooks/{id}/test");
    std::thread::scope(|scope| {
        let under_way: Vec<_> = (0..4).map(|_| scope.spawn(|| client.post_nothing(&path).expect(200))).collect();
        receiver.wait_for(4, "the pings that one account may have under way");
        let refused = client.post_nothing(&path).expect(429);
        refused.expect_error("too_many_pings");
        assert!(refused.header("retry-after").is_some(), "{}", refused.text);
        let quick = Receiver::start();
        let other = server.client_of("another");
        let id = other.subscribe(&quick.url("/"), &["ping"]).id;
        assert_eq!(other.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data()["success"], true);
        gate.open();
        assert!(under_way.into_iter().all(|ping| ping.join().unwrap().data()["success"] == true));
    });
    client.post_nothing(&path).expect(200);
}

#[test]
fn look_ups_that_hang_are_not_held_against_endpoints_that_wait_for_their_turn() {
    const NAMES: usize = 200;
    on_an_island(
        "deliver::failure_words::look_ups_that_hang_are_not_held_against_endpoints_that_wait_for_their_turn",
        || {
            let _name_server = NameServer::start(|_, _| None);
            // Longer than all attempts take, so that every place for a look-up is taken in the end.
            let settings = format!("nameserver {NAME_SERVER}\noptions timeout:20 attempts:1\n");
            std::fs::write("/etc/resolv.conf", settings).unwrap();
            let _receiver = Receiver::at(&format!("{PUBLIC}:8080"));
            let server = Server::start(&[
                ONCE,
                ("delivery.allow_networks", "[]"),
                ("delivery.timeout", r#""500ms""#),
                ("limits.subscriptions_per_account", "1000"),
            ]);
            let client = server.client();
            for number in 0..NAMES {
                client.subscribe(&format!("http://{number}.silent.example:8080/"), &["clock_in"]);
            }
            let event = client.publish("clock_in", &clock_in(1));
            let (mut timed_out, mut busy) = (0, 0);
            for id in client.delivery_ids(&event) {
                let delivery = client.wait_for_delivery(&id, "was attempted", |delivery| !delivery["error"].is_null());
                // Who found the server busy is tried again, so the first attempt counts.
                let (error, subscription) = (words(&delivery["attempts"][0]), &delivery["subscription_id"]);
                let failing_since = client.subscription(subscription.as_i64().unwrap())["failing_since"].clone();
                if error.contains("this server was busy looking up other host names") {
                    busy += 1;
                    assert_eq!(failing_since, json!(null), "{delivery:#}");
                } else {
                    assert!(error.contains("while looking up the host name"), "{error}");
                    timed_out += 1;
                    assert_eq!(failing_since, json!(null), "{delivery:#}");
                }
            }
            assert!(timed_out >= 64 && busy > 0, "{timed_out} timed out, {busy} found the server busy");
            // An endpoint without a name needs no look-up, and arrives unless the machine holds it up for half a second.
            client.subscribe(&format!("http://{PUBLIC}:8080/"), &["worker_created"]);
            eventually("an event arrives", || {
                let event = client.publish("worker_created", &sample("worker_created"));
                let id = client.delivery_ids(&event).remove(0);
                let delivery = client.wait_for_delivery(&id, "is settled", |delivery| delivery["status"] != "pending");
                (delivery["status"] == "delivered").then_some(())
            });
        },
    );
}

#[test]
fn a_name_server_that_fails_is_no_name_that_does_not_exist_and_not_held_against_the_endpoint() {
    on_an_island(
        "deliver::failure_words::a_name_server_that_fails_is_no_name_that_does_not_exist_and_not_held_against_the_endpoint",
        || {
            let _name_server = NameServer::answering(|name, _| match name {
                "failing.example" => NameAnswer::Code(2),
                "refused.example" => NameAnswer::Code(5),
                "silent.example" => NameAnswer::Silence,
                "empty.example" => NameAnswer::Addresses(Vec::new()),
                _ => NameAnswer::Code(3),
            });
            let server = Server::start(&[ONCE, ("delivery.allow_networks", "[]")]);
            let client = server.client();
            for (host, is_of_name_server) in [
                ("failing.example", true),
                ("refused.example", true),
                ("silent.example", true),
                ("empty.example", false),
                ("none.example", false),
            ] {
                let id = client.subscribe(&format!("http://{host}:8080/"), &["clock_in"]).id;
                let event = client.publish("clock_in", &clock_in(1));
                let attempt = client.settled(&event, "exhausted")["attempts"][0].clone();
                let failing_since = client.subscription(id)["failing_since"].clone();
                client.delete(&format!("/webhooks/{id}")).expect(200);
                if is_of_name_server {
                    assert!(words(&attempt).starts_with("the name server failed or did not answer "), "{attempt:#}");
                    assert_eq!(failing_since, json!(null), "{host}");
                } else {
                    assert!(words(&attempt).starts_with("the host name "), "{attempt:#}");
                    assert!(words(&attempt).contains(" was not found; "), "{attempt:#}");
                    assert_ne!(failing_since, json!(null), "{host}");
                }
                assert!(words(&attempt).contains(host), "{attempt:#}");
            }
        },
    );
}

#[test]
fn a_look_up_that_lacks_descriptors_is_not_held_against_the_endpoint() {
    on_an_island("deliver::failure_words::a_look_up_that_lacks_descriptors_is_not_held_against_the_endpoint", || {
        let _name_server = NameServer::start(|_, _| Some(vec![PUBLIC.parse().unwrap()]));
        let server = Server::start(&[ONCE, ("delivery.allow_networks", "[]")]);
        let client = server.client();
        let id = client.subscribe("http://crm.example:8080/", &["clock_in"]).id;
        let calls = ["-e", "trace=openat,socket", "-e", "inject=openat,socket:error=EMFILE"];
        let strace = Strace::attach(&server, &calls);
        let event = client.publish("clock_in", &clock_in(1));
        let id_of_delivery = client.delivery_ids(&event).remove(0);
        let delivery = client.wait_for_delivery(&id_of_delivery, "was attempted", |delivery| {
            delivery["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty())
        });
        // A cause of the server's own uses up nothing of the schedule, even of one without a wait.
        assert_eq!(delivery["status"], "pending", "{delivery:#}");
        let attempt = delivery["attempts"][0].clone();
        assert!(strace.detach().contains("INJECTED"), "no call was made to fail");
        assert!(words(&attempt).contains("too many files and connections are open"), "{attempt:#}");
        assert_eq!(client.subscription(id)["failing_since"], json!(null));
    });
}
