//! What a receiver sends beside its answers never answers another delivery: it is no false success and no false failure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustls::ServerConfig;
use serde_json::{Value, json};

use crate::harness::{Authority, Client, Gate, ScriptedReceiver, Server, Step, clock_in};

/// A server that trusts the authority and tries once.
fn server(authority: &Authority) -> (Server, Client) {
    let mut server = Server::stopped(&[("delivery.retry_schedule", "[]")]);
    let file = format!("'{}'", authority.write_to(server.folder()).display());
    server.configure(&[("delivery.ca_certificates", &file)]);
    server.launch();
    let client = server.client();
    (server, client)
}

fn answer(status: &str, body_bytes: usize) -> Vec<u8> {
    let body = "x".repeat(body_bytes);
    format!("HTTP/1.1 {status}\r\nContent-Length: {body_bytes}\r\n\r\n{body}").into_bytes()
}

/// What is sent for the first event, with a gate that opens when that event is delivered, and what is seen of it.
type Stray = fn(Gate) -> Vec<Step>;

const STRAYS: [(&str, Stray); 9] = [
    ("a second answer with the first", |_| vec![Step::Send([answer("200 OK", 3), answer("200 OK", 3)].concat())]),
    ("a long second answer with the first", |_| {
        vec![Step::Together(vec![answer("200 OK", 3_000), answer("200 OK", 3_000)])]
    }),
    ("a second answer right behind the first", |_| {
        vec![Step::Send(answer("200 OK", 3_000)), Step::Send(answer("200 OK", 3_000))]
    }),
    ("a second answer later", |delivered| {
        vec![Step::Send(answer("200 OK", 3)), Step::Wait(delivered), Step::Send(answer("200 OK", 3))]
    }),
    ("a page with a 204", |_| {
        vec![Step::Together(vec![b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), vec![b'x'; 4_000], vec![b'y'; 4_000]])]
    }),
    ("a page after a 204", |delivered| {
        vec![Step::Send(answer("204 No Content", 0)), Step::Wait(delivered), Step::Send(answer("200 OK", 6_000))]
    }),
    ("half of a second answer's record later", |delivered| {
        vec![Step::Send(answer("200 OK", 3)), Step::Wait(delivered), Step::Torn(answer("200 OK", 3))]
    }),
    ("a preliminary answer later", |delivered| {
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n".to_vec();
        vec![Step::Send(answer("200 OK", 3)), Step::Wait(delivered), Step::Send(early), Step::Send(answer("200 OK", 3))]
    }),
    ("the end of the connection later", |delivered| {
        vec![Step::Send(answer("200 OK", 3)), Step::Wait(delivered), Step::Close]
    }),
];

#[track_caller]
fn assert_is_answered_500(client: &Client, event: &str, what: &str) {
    let delivery = client.settled(event, "exhausted");
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{what}: {delivery:#}");
    assert_eq!(attempts[0]["response_code"], 500, "{what}: {delivery:#}");
}

fn strays_answer_nothing(is_tls: bool) {
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    for (what, stray) in STRAYS {
        let delivered = Gate::default();
        let steps = stray(delivered.clone());
        let tls = is_tls.then(|| Arc::new(authority.identity("localhost", |_| {}).server_config()));
        let receiver = ScriptedReceiver::start(tls, move |entry| match entry {
            1 => steps.clone(),
            _ => vec![Step::Send(answer("500 No", 3))],
        });
        let subscription = client.subscribe(receiver.url(), &["clock_in"]);
        let event = client.publish("clock_in", &clock_in(1));
        client.settled(&event, "delivered");
        delivered.open();
        receiver.wait_until_done(1);
        let event = client.publish("clock_in", &clock_in(2));
        assert_is_answered_500(&client, &event, what);
        let requests = receiver.wait_until_done(2);
        assert_eq!(requests.len(), 2, "{what}: {requests:?}");
        client.delete(&format!("/webhooks/{}", subscription.id)).expect(200);
    }
}

#[test]
fn what_comes_beside_an_answer_over_plain_http_answers_nothing() {
    strays_answer_nothing(false);
}

#[test]
fn what_comes_beside_an_answer_over_tls_answers_nothing() {
    strays_answer_nothing(true);
}

/// A stray answer on each of two kept connections, of an event and of a test ping at the same time.
fn strays_on_all_connections_answer_nothing(is_tls: bool) {
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    let (both_came, answered) = (Gate::default(), Gate::default());
    let tls = is_tls.then(|| Arc::new(authority.identity("localhost", |_| {}).server_config()));
    let gates = (both_came.clone(), answered.clone());
    let receiver = ScriptedReceiver::start(tls, move |entry| match entry {
        0 | 1 => vec![
            Step::Wait(gates.0.clone()),
            Step::Send(answer("200 OK", 3)),
            Step::Wait(gates.1.clone()),
            Step::Send(answer("200 OK", 3)),
        ],
        _ => vec![Step::Send(answer("500 No", 3))],
    });
    let subscription = client.subscribe(receiver.url(), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    thread::scope(|scope| {
        let ping = scope.spawn(|| client.post(&format!("/webhooks/{}/test", subscription.id), &json!({})));
        receiver.wait_for(2);
        both_came.open();
        assert_eq!(ping.join().unwrap().expect(200).data()["success"], true);
    });
    client.settled(&event, "delivered");
    answered.open();
    receiver.wait_until_done(2);
    assert_eq!(receiver.connections(), 2);
    assert_is_answered_500(&client, &client.publish("clock_in", &clock_in(2)), "a stray answer on each connection");
    assert_eq!(receiver.connections(), 3);
}

#[test]
fn stray_answers_on_every_plain_connection_answer_nothing() {
    strays_on_all_connections_answer_nothing(false);
}

#[test]
fn stray_answers_on_every_tls_connection_answer_nothing() {
    strays_on_all_connections_answer_nothing(true);
}

/// A receiver that answers one of a pair of requests twice, the second time when the next request is under way on the same
/// connection, and refuses that one.
fn second_answers_become_one_success_at_most(is_tls: bool) {
    const EVENTS: u64 = 40;
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    let tls = is_tls.then(|| Arc::new(authority.identity("localhost", |_| {}).server_config()));
    let receiver = ScriptedReceiver::start(tls, |entry| match entry % 2 {
        1 => vec![Step::Send(answer("200 OK", 3)), Step::AwaitMore, Step::BeforeNext(answer("200 OK", 3))],
        _ => vec![Step::Send(answer("500 No", 3))],
    });
    let subscription = client.subscribe(receiver.url(), &["clock_in"]);
    client.change(subscription.id, &json!({"max_in_flight": 1})).expect(200);
    let events: Vec<Value> = (1..=EVENTS).map(|entry| json!({"event": "clock_in", "data": clock_in(entry)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
    client.wait_for_total("/deliveries?status=pending", 0);
    let delivered = client.total("/deliveries?status=delivered");
    assert!((EVENTS / 2..=EVENTS / 2 + 1).contains(&delivered), "{delivered} of {EVENTS} are delivered");
}

#[test]
fn second_answers_over_plain_http_become_one_success_at_most() {
    second_answers_become_one_success_at_most(false);
}

#[test]
fn second_answers_over_tls_become_one_success_at_most() {
    second_answers_become_one_success_at_most(true);
}

/// How many connections four deliveries take one after the other, if this comes behind the answer of the first.
fn connections_for_four(client: &Client, tls: Option<Arc<ServerConfig>>, behind: impl Fn(Gate) -> Vec<Step>) -> usize {
    let delivered = Gate::default();
    let first = [vec![Step::Send(answer("200 OK", 3))], behind(delivered.clone())].concat();
    let receiver = ScriptedReceiver::start(tls, move |entry| match entry {
        1 => first.clone(),
        _ => vec![Step::Send(answer("200 OK", 3))],
    });
    let subscription = client.subscribe(receiver.url(), &["clock_in"]);
    for (entry, done) in (1..=4).zip(1..) {
        client.settled(&client.publish("clock_in", &clock_in(entry)), "delivered");
        delivered.open();
        receiver.wait_until_done(done);
    }
    client.delete(&format!("/webhooks/{}", subscription.id)).expect(200);
    receiver.connections()
}

#[test]
fn after_an_answer_that_nobody_asked_for_each_request_has_a_connection_of_its_own() {
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    let tls = Arc::new(authority.identity("localhost", |_| {}).server_config());
    for tls in [None, Some(tls)] {
        let later = |delivered| vec![Step::Wait(delivered), Step::Send(answer("200 OK", 3))];
        assert_eq!(connections_for_four(&client, tls.clone(), later), 4, "found before the next request");
        // Which ends when the connection is closed.
        let unused = |delivered| vec![Step::Wait(delivered), Step::Send(answer("500 No", 3)), Step::AwaitMore];
        assert_eq!(connections_for_four(&client, tls, unused), 4, "found while nothing is sent");
    }
}

#[test]
fn what_a_receiver_may_well_send_between_two_answers_costs_one_connection_at_most() {
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    let tls = Arc::new(authority.identity("localhost", |_| {}).server_config());
    let idle = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let early = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n";
    for tls in [None, Some(tls)] {
        let connections = |step: Step| {
            connections_for_four(&client, tls.clone(), |delivered| vec![Step::Wait(delivered), step.clone()])
        };
        for sent in [&b"\r\n"[..], &early[..], &idle[..]] {
            assert_eq!(connections(Step::Send(sent.to_vec())), 2, "{}", String::from_utf8_lossy(sent));
        }
        assert_eq!((connections(Step::Close), connections(Step::RenewKeys)), (2, 1));
    }
}

#[test]
fn new_keys_and_session_tickets_leave_a_connection_in_use() {
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    let delivered = Gate::default();
    let first = vec![Step::Send(answer("200 OK", 3)), Step::Wait(delivered.clone()), Step::RenewKeys];
    let tls = Arc::new(authority.identity("localhost", |_| {}).server_config());
    let receiver = ScriptedReceiver::start(Some(tls), move |entry| match entry {
        1 => first.clone(),
        _ => vec![Step::Send(answer("200 OK", 3))],
    });
    client.subscribe(receiver.url(), &["clock_in"]);
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    delivered.open();
    receiver.wait_until_done(1);
    client.settled(&client.publish("clock_in", &clock_in(2)), "delivered");
    assert_eq!(receiver.connections(), 1);
}

#[test]
fn an_answer_that_comes_before_the_first_request_of_a_connection_is_none() {
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    let mut tls = authority.identity("localhost", |_| {}).server_config();
    tls.send_half_rtt_data = true;
    let receiver = ScriptedReceiver::start(Some(Arc::new(tls)), |_| vec![Step::Send(answer("500 No", 3))]);
    client.subscribe(receiver.url(), &["clock_in"]);
    let delivery = client.settled(&client.publish("clock_in", &clock_in(1)), "exhausted");
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["response_code"], Value::Null, "{attempt:#}");
    let cause = attempt["error"].as_str().unwrap();
    assert!(cause.contains("it was sent before the request"), "{cause}");
}

/// What came of a second event, whose receiver does this for it, and how often its request came.
fn second_event(
    is_tls: bool,
    status: &str,
    first: Vec<Step>,
    second: impl Fn() -> Vec<Step> + Send + Sync + 'static,
) -> (Value, usize) {
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    let tls = is_tls.then(|| Arc::new(authority.identity("localhost", |_| {}).server_config()));
    let receiver = ScriptedReceiver::start(tls, move |entry| match entry {
        1 => first.clone(),
        _ => second(),
    });
    client.subscribe(receiver.url(), &["clock_in"]);
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    receiver.wait_until_done(1);
    let delivery = client.settled(&client.publish("clock_in", &clock_in(2)), status);
    let requests = receiver.wait_until_done(2).iter().filter(|entry| **entry == 2).count();
    (delivery, requests)
}

/// The numbers of the attempts, with the words of those that failed.
fn numbers_and_causes(delivery: &Value) -> Vec<(u64, &str)> {
    let attempts = delivery["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| (attempt["attempt"].as_u64().unwrap(), attempt["error"].as_str().unwrap_or(""))).collect()
}

const CLOSED: &str = "the endpoint closed a kept connection before it sent any byte of an answer";

#[test]
fn a_kept_connection_that_ends_without_an_answer_is_an_attempt_and_the_next_follows_at_once() {
    for is_tls in [false, true] {
        let turn = AtomicUsize::new(0);
        let second = move || match turn.fetch_add(1, Ordering::SeqCst) {
            0 => vec![Step::Close],
            _ => vec![Step::Send(answer("200 OK", 3))],
        };
        // There is no retry schedule, so the second attempt is none of it.
        let (delivery, requests) = second_event(is_tls, "delivered", vec![Step::Send(answer("200 OK", 3))], second);
        let attempts = numbers_and_causes(&delivery);
        assert!(matches!(attempts[..], [(1, cause), (2, "")] if cause.starts_with(CLOSED)), "{delivery:#}");
        assert_eq!((delivery["attempt_count"].as_u64(), requests), (Some(2), 2), "{delivery:#}");
    }
}

#[test]
fn the_attempt_after_one_whose_kept_connection_ended_is_followed_by_no_other() {
    let (delivery, requests) =
        second_event(true, "exhausted", vec![Step::Send(answer("200 OK", 3))], || vec![Step::Close]);
    let attempts = numbers_and_causes(&delivery);
    assert!(
        matches!(attempts[..], [(1, first), (2, second)] if first.starts_with(CLOSED) && second.contains("broke")),
        "{delivery:#}"
    );
    assert_eq!(requests, 2);
}

#[test]
fn a_request_is_not_sent_again_when_a_new_connection_ends_without_an_answer() {
    let first = vec![Step::Send(answer("200 OK", 3)), Step::Close];
    assert_eq!(second_event(true, "exhausted", first, || vec![Step::Close]).1, 1);
}

#[test]
fn a_request_is_not_sent_again_once_its_answer_has_begun() {
    let begun = b"HTTP/1.1 200 OK\r\nContent-".to_vec();
    for (is_tls, begin) in
        [(false, Step::Send(begun.clone())), (true, Step::Send(begun.clone())), (true, Step::Torn(begun))]
    {
        let (delivery, requests) =
            second_event(is_tls, "exhausted", vec![Step::Send(answer("200 OK", 3))], move || {
                vec![begin.clone(), Step::Close]
            });
        assert_eq!(numbers_and_causes(&delivery).len(), 1, "{delivery:#}");
        assert_eq!(requests, 1);
    }
}
