//! A delivery goes out over TLS to the right host with a valid certificate, or not at all, and the attempt says why.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    thread,
};

use rcgen::{BasicConstraints, GeneralSubtree, IsCa, NameConstraints, date_time_ymd};

use crate::harness::{Authority, Client, Identity, ScriptedReceiver, Server, Step, TlsReceiver, clock_in};
use crate::operate::service::{hang_up, logged};

/// A server that trusts the authority, and a client of it.
fn trusting(authority: &Authority) -> (Server, Client) {
    let mut server = Server::stopped(&[("delivery.retry_schedule", "[]"), ("delivery.allow_http", "")]);
    let file = format!("'{}'", authority.write_to(server.folder()).display());
    server.configure(&[("delivery.ca_certificates", &file)]);
    server.launch();
    let client = server.client();
    (server, client)
}

/// Publishes one event to a host's port, and gives the cause of its failure.
#[track_caller]
fn cause(client: &Client, host: &str, port: u16) -> String {
    client.subscribe(&format!("https://{host}:{port}/hook"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "exhausted");
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["response_code"], serde_json::Value::Null, "{attempt:#}");
    attempt["error"].as_str().expect("a cause").to_owned()
}

#[test]
fn a_certificate_of_the_operators_own_authority_is_trusted() {
    let authority = Authority::new();
    let (_server, client) = trusting(&authority);
    let receiver = TlsReceiver::start(&authority.identity("localhost", |_| {}));
    client.subscribe(&format!("https://localhost:{}/hook", receiver.port()), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
    assert_eq!(receiver.requests(), 1);
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let (_server, client) = trusting(&authority);
    let receiver = TlsReceiver::start(&authority.identity("localhost", |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    }));
    let cause = cause(&client, "localhost", receiver.port());
    assert!(cause.contains("certificate has expired on 2020-01-01; the receiver must renew it"), "{cause}");
    assert_eq!(receiver.requests(), 0);
}

#[test]
fn what_is_wrong_with_an_authority_between_is_told_of_that_authority() {
    let first = Authority::new();
    let (_server, client) = trusting(&first);
    let expired = first.between(|params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let last = first.between(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let of_others = first.between(|params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("other.example".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    });
    for (authority, words) in [
        (&expired, "an authority in its chain"),
        (&last.between(|_| {}), "its chain is longer than one of its authorities permits"),
        (&of_others, "may not issue certificates for this host"),
        (&first.between(|params| params.is_ca = IsCa::ExplicitNoCa), "is not that of an authority"),
    ] {
        let receiver = TlsReceiver::start(&authority.identity("localhost", |_| {}));
        let cause = cause(&client, "localhost", receiver.port());
        assert!(cause.contains(words), "{words}: {cause}");
        assert_eq!(receiver.requests(), 0);
        client.delete(&format!("/webhooks/{}", client.get("/webhooks").expect(200).rows()[0]["id"])).expect(200);
    }
    let receiver = TlsReceiver::start(&first.between(|_| {}).between(|_| {}).identity("localhost", |_| {}));
    client.subscribe(&format!("https://localhost:{}/hook", receiver.port()), &["clock_in"]);
    client.settled(&client.publish("clock_in", &clock_in(2)), "delivered");
}

#[test]
fn a_certificate_of_the_future_is_refused() {
    let authority = Authority::new();
    let (_server, client) = trusting(&authority);
    let receiver = TlsReceiver::start(&authority.identity("localhost", |params| {
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
    }));
    let cause = cause(&client, "localhost", receiver.port());
    assert!(cause.contains("not valid yet, but from 3000-01-01; compare the clocks"), "{cause}");
    assert_eq!(receiver.requests(), 0);
}

#[test]
fn a_self_signed_certificate_is_refused() {
    let (_server, client) = trusting(&Authority::new());
    let receiver = TlsReceiver::start(&Identity::self_signed("localhost", |_| {}));
    let cause = cause(&client, "localhost", receiver.port());
    assert!(cause.contains("self-signed") && cause.contains("delivery.ca_certificates"), "{cause}");
    assert_eq!(receiver.requests(), 0);
}

#[test]
fn a_self_signed_certificate_that_is_marked_as_an_authoritys_is_called_self_signed() {
    let (_server, client) = trusting(&Authority::new());
    let receiver = TlsReceiver::start(&Identity::self_signed("localhost", |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }));
    let cause = cause(&client, "localhost", receiver.port());
    assert!(cause.contains("its certificate is self-signed, and marked"), "{cause}");
    assert_eq!(receiver.requests(), 0);
}

#[test]
fn a_receiver_that_wants_a_client_certificate_is_told_from_others() {
    let authority = Authority::new();
    let (_server, client) = trusting(&authority);
    let receiver = TlsReceiver::for_clients_of(&authority, &authority.identity("localhost", |_| {}));
    let cause = cause(&client, "localhost", receiver.port());
    assert!(cause.contains("requires a client certificate"), "{cause}");
    assert_eq!(receiver.requests(), 0);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let (_server, client) = trusting(&Authority::new());
    let receiver = TlsReceiver::start(&Authority::new().identity("localhost", |_| {}));
    let cause = cause(&client, "localhost", receiver.port());
    assert!(cause.contains("authority") && cause.contains("delivery.ca_certificates"), "{cause}");
    assert_eq!(receiver.requests(), 0);
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let (_server, client) = trusting(&authority);
    let receiver = TlsReceiver::start(&authority.identity("crm.example", |_| {}));
    for host in ["localhost", "127.0.0.1"] {
        let cause = cause(&client, host, receiver.port());
        assert!(cause.contains(&format!("another host (crm.example) than {host}; ")), "{cause}");
        let all = client.get("/webhooks").expect(200);
        client.delete(&format!("/webhooks/{}", all.rows()[0]["id"])).expect(200);
    }
    assert_eq!(receiver.requests(), 0);
}

/// Answers the first bytes of each connection with these.
fn answer_hello_with(answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello);
            let _ = stream.write_all(&answer);
            // Until the other side has had enough.
            let _ = stream.read(&mut hello);
        }
    });
    port
}

#[test]
fn a_receiver_that_speaks_only_tls_1_1_is_refused() {
    let (_server, client) = trusting(&Authority::new());
    // A ServerHello that chooses 1.1 and TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA.
    let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    // The alert that such a server gives a client that offers 1.2 and 1.3: protocol_version, fatal.
    let alert = vec![21, 3, 2, 0, 2, 2, 70];
    for answer in [hello, alert] {
        let cause = cause(&client, "localhost", answer_hello_with(answer));
        assert!(cause.contains("TLS 1.2"), "{cause}");
        let all = client.get("/webhooks").expect(200);
        client.delete(&format!("/webhooks/{}", all.rows()[0]["id"])).expect(200);
    }
}

#[test]
fn a_handshake_that_is_not_answered_is_a_time_out_while_setting_up_tls() {
    let (mut server, _) = trusting(&Authority::new());
    server.configure(&[("delivery.timeout", r#""1s""#)]);
    server.restart();
    // The system accepts for it; it never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let cause = cause(&server.client(), "localhost", silent.local_addr().unwrap().port());
    assert!(cause.contains("while setting up TLS; "), "{cause}");
}

#[test]
fn a_receiver_that_speaks_no_tls_is_named_as_such() {
    let (_server, client) = trusting(&Authority::new());
    let port = answer_hello_with(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec());
    let cause = cause(&client, "localhost", port);
    assert!(cause.contains("does not speak TLS") && cause.contains("plain http"), "{cause}");
}

/// A receiver that answers each request with 200 and ends the connection.
fn of_one_request_a_connection(authority: &Authority) -> ScriptedReceiver {
    let tls = Arc::new(authority.identity("localhost", |_| {}).server_config());
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    ScriptedReceiver::start(Some(tls), |_| vec![Step::Send(answer.to_vec()), Step::Close])
}

#[test]
fn a_new_connection_resumes_the_session_of_an_earlier_one() {
    let authority = Authority::new();
    let (_server, client) = trusting(&authority);
    let receiver = of_one_request_a_connection(&authority);
    client.subscribe(receiver.url(), &["clock_in"]);
    for entry in 1..=3 {
        client.settled(&client.publish("clock_in", &clock_in(entry)), "delivered");
    }
    assert_eq!((receiver.connections(), receiver.resumed()), (3, 2));
}

#[test]
fn no_session_is_resumed_when_its_authority_is_no_longer_trusted() {
    let authority = Authority::new();
    let (server, client) = trusting(&authority);
    let receiver = of_one_request_a_connection(&authority);
    client.subscribe(receiver.url(), &["clock_in"]);
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    Authority::new().write_to(server.folder());
    hang_up(&server);
    logged(&server, "certificates reloaded", 1);
    let delivery = client.settled(&client.publish("clock_in", &clock_in(2)), "exhausted");
    let cause = delivery["attempts"][0]["error"].as_str().unwrap();
    assert!(cause.contains("authority"), "{cause}");
    assert_eq!((receiver.wait_until_done(1).len(), receiver.resumed()), (1, 0));
}
