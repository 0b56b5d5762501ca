//! A client certificate of the operator's is shown to the hosts and for the accounts that it is for, to nobody else, and never
//! mixed up with another one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::date_time_ymd;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{Authority, Client, Identity, Receiver, Server, TlsReceiver, clock_in};
use crate::operate::service::{hang_up, logged};

/// A table of the configuration.
fn declared(folder: &Path, name: &str, identity: &Identity, more: &str) -> String {
    let [certificate, key] = identity.write_to(folder, name);
    format!(
        "{{name = \"{name}\", certificate = '{}', key = '{}', hosts = [\"localhost\"], {more}}}",
        certificate.display(),
        key.display()
    )
}

const FOR_ALL: &str = r#"accounts = ["default", "south"]"#;

/// A server with these certificates that trusts the authority.
fn with(authority: &Authority, tables: impl FnOnce(&Path) -> Vec<String>) -> Server {
    let mut server = Server::stopped(&[("delivery.retry_schedule", "[]")]);
    let tables = tables(server.folder()).join(", ");
    let trusted = format!("'{}'", authority.write_to(server.folder()).display());
    server
        .configure(&[("delivery.ca_certificates", &trusted), ("delivery.client_certificate", &format!("[{tables}]"))]);
    server
}

#[track_caller]
fn subscribe(client: &Client, url: &str, certificate: Option<&str>) -> i64 {
    let wish = json!({"url": url, "events": ["clock_in"], "client_certificate": certificate});
    client.post("/webhooks", &wish).expect(201).data()["id"].as_i64().unwrap()
}

/// How a test of the subscription went: nothing, or why not.
#[track_caller]
fn tested(client: &Client, id: i64) -> Option<String> {
    let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone();
    result["error"].as_str().map(str::to_owned)
}

/// A receiver that keeps connections open and knows which certificate was shown on each. It answers with an access token,
/// as a token server does.
struct Knowing {
    port: u16,
    requests: Arc<Mutex<Vec<Shown>>>,
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n\
    {\"access_token\": \"token\", \"expires_in\": \"3600\"}";

/// The number of a request's connection, and the certificate that was shown on it.
type Shown = (usize, Vec<u8>);

impl Knowing {
    fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (config, requests) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
        let all = Arc::clone(&requests);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let (session, all) = (ServerConnection::new(Arc::clone(&config)).unwrap(), Arc::clone(&all));
                thread::spawn(move || {
                    let mut stream = StreamOwned::new(session, stream);
                    while read_request(&mut stream).is_some() {
                        let shown = stream.conn.peer_certificates().map_or(Vec::new(), |chain| chain[0].to_vec());
                        all.lock().unwrap().push((number, shown));
                        let _ = stream.write_all(ANSWER);
                    }
                    // Closed with something unread, the system would throw away the alert that says why.
                    let _ = stream.sock.shutdown(Shutdown::Write);
                    let _ = stream.sock.read_to_end(&mut Vec::new());
                });
            }
        });
        Self { port, requests }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    fn requests(&self) -> Vec<Shown> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut impl std::io::Read) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_lowercase();
    let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    stream.take(length).read_to_end(&mut Vec::new()).ok().map(drop)
}

#[test]
fn each_subscription_shows_its_own_and_no_connection_or_session_is_shared() {
    let authority = Authority::new();
    let identities = [("north", authority.identity("north", |_| {})), ("south", authority.identity("south", |_| {}))];
    let mut server = with(&authority, |folder| {
        identities.iter().map(|(name, identity)| declared(folder, name, identity, FOR_ALL)).collect()
    });
    server.launch();
    let client = server.client();
    let receiver = Knowing::start(authority.identity("localhost", |_| {}).server_config_for_clients_of(&authority));
    for (name, _) in &identities {
        let id = subscribe(&client, &receiver.url(), Some(name));
        assert_eq!(client.subscription(id)["client_certificate"], *name);
    }
    for entry in 1..=3 {
        let event = client.publish("clock_in", &clock_in(entry));
        for id in client.delivery_ids(&event) {
            client.wait_for_status(&id, "delivered");
        }
    }
    let requests = receiver.requests();
    assert_eq!(requests.len(), 6);
    for (_, identity) in &identities {
        let own: Vec<usize> =
            requests.iter().filter(|(_, shown)| *shown == identity.der()).map(|(number, _)| *number).collect();
        assert_eq!(own.len(), 3, "each shows its own");
        let others = requests.iter().filter(|(_, shown)| *shown != identity.der());
        assert!(others.clone().count() == 3 && others.clone().all(|(number, _)| !own.contains(number)), "{own:?}");
    }
    // One that shows none is asked for it, although others have connections there.
    let id = subscribe(&client, &receiver.url(), None);
    let said = tested(&client, id).unwrap();
    assert!(said.contains("requires a client certificate") && said.contains("client_certificate"), "{said}");
}

#[test]
fn a_certificate_that_is_not_accepted_is_told() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let expired = authority.identity("old", |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let mut server = with(&authority, |folder| {
        vec![
            declared(folder, "stranger", &stranger.identity("x", |_| {}), FOR_ALL),
            declared(folder, "expired", &expired, FOR_ALL),
        ]
    });
    server.launch();
    let client = server.client();
    let receiver = TlsReceiver::for_clients_of(&authority, &authority.identity("localhost", |_| {}));
    let url = format!("https://localhost:{}/", receiver.port());
    for (name, words) in [("stranger", ""), ("expired", "because it has expired")] {
        let said = tested(&client, subscribe(&client, &url, Some(name))).unwrap();
        assert!(said.contains("it does not accept the client certificate") && said.contains(words), "{said}");
    }
    assert_eq!(receiver.requests(), 0);
    let checked = server.cli(&["config", "check"]);
    assert!(
        checked.stderr.contains("client certificate expired: ") && checked.stderr.contains("2020-01-01"),
        "{checked:?}"
    );
    let doctor = server.cli(&["doctor"]);
    assert!(doctor.stdout.contains("client certificate expired: "), "{doctor:?}");
}

#[test]
fn it_is_for_its_accounts_and_hosts_alone() {
    let authority = Authority::new();
    let mut server = with(&authority, |folder| {
        vec![declared(folder, "north", &authority.identity("north", |_| {}), r#"accounts = ["north"]"#)]
    });
    server.launch();
    let (north, other, plain) = (server.client_of("north"), server.client(), Receiver::start());
    let wish = |url: &str, name: Value| json!({"url": url, "events": ["clock_in"], "client_certificate": name});
    let here = "https://localhost:9/";
    for (client, url, name, words) in [
        (&other, here, json!("north"), "not a client certificate that this account may use"),
        (&north, here, json!("south"), "not a client certificate that this account may use"),
        (&north, "https://crm.example/", json!("north"), "may only be presented to localhost"),
        (&north, "http://localhost:9/", json!("north"), "https"),
        (&north, here, json!("../north"), "must be the name"),
        (&north, here, json!(5), "must be the name"),
    ] {
        let refused = client.post("/webhooks", &wish(url, name)).expect(400);
        assert_eq!(refused.wrong_fields(), ["client_certificate"], "{url}");
        assert!(refused.text.contains(words), "{}", refused.text);
    }
    let id = subscribe(&north, here, Some("north"));
    let path = format!("/webhooks/{id}");
    let refused = north.put(&path, &json!({"url": "https://crm.example/"})).expect(400);
    assert_eq!(refused.wrong_fields(), ["client_certificate"], "a new URL is judged too");
    north.change(id, &json!({"url": plain.url("/"), "client_certificate": null}));
    // What is no longer declared is told, and nothing is sent without it.
    let receiver = TlsReceiver::start(&authority.identity("localhost", |_| {}));
    let url = format!("https://localhost:{}/", receiver.port());
    north.change(id, &json!({"url": url, "client_certificate": "north"}));
    server.configure(&[("delivery.client_certificate", "")]);
    server.restart();
    let north = server.client_of("north");
    let said = tested(&north, id).unwrap();
    assert!(
        said.contains("the client certificate north is no longer declared") && said.contains("[[delivery."),
        "{said}"
    );
    assert_eq!(receiver.requests(), 0);
    north.change(id, &json!({"description": "still as it was"}));
}

#[test]
fn an_authority_of_its_own_is_the_only_one_that_is_trusted_there() {
    let (authority, own) = (Authority::new(), Authority::new());
    let mut server = with(&authority, |folder| {
        let other = folder.join("own");
        fs::create_dir(&other).unwrap();
        let ca = format!("ca = '{}', {FOR_ALL}", own.write_to(&other).display());
        vec![declared(folder, "own", &own.identity("north", |_| {}), &ca)]
    });
    server.launch();
    let client = server.client();
    for (shown_by, is_trusted) in [(&own, true), (&authority, false)] {
        let receiver = TlsReceiver::start(&shown_by.identity("localhost", |_| {}));
        let id = subscribe(&client, &format!("https://localhost:{}/", receiver.port()), Some("own"));
        let said = tested(&client, id);
        assert_eq!(said.is_none(), is_trusted, "{said:?}");
        let doctor = server.cli(&["doctor", "--host", &format!("localhost:{}", receiver.port())]);
        assert_eq!(doctor.stdout.contains("its certificate is trusted"), is_trusted, "{doctor:?}");
        let plain = subscribe(&client, &format!("https://localhost:{}/", receiver.port()), None);
        assert_eq!(tested(&client, plain).is_none(), !is_trusted);
    }
}

#[test]
fn a_token_is_asked_for_with_the_certificate_where_that_may_be_shown() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let identity = authority.identity("north", |_| {});
    let mut server = with(&authority, |folder| {
        let north = declared(folder, "north", &identity, FOR_ALL);
        let stranger = declared(folder, "stranger", &stranger.identity("x", |_| {}), FOR_ALL);
        vec![north, stranger]
    });
    server.launch();
    let client = server.client();
    let known = |host: &str| Knowing::start(authority.identity(host, |_| {}).server_config_for_clients_of(&authority));
    let (tokens, elsewhere, receiver) = (known("localhost"), known("127.0.0.1"), Receiver::start());
    let login = |token_url: String| json!({"type": "oauth2_client_credentials", "token_url": token_url, "client_id": "a", "client_secret": "b"});
    let at_both = json!({
        "url": tokens.url(), "events": ["clock_in"], "client_certificate": "north", "auth": login(tokens.url()),
    });
    let id = client.post("/webhooks", &at_both).expect(201).data()["id"].as_i64().unwrap();
    assert_eq!(tested(&client, id), None);
    let shown: Vec<_> = tokens.requests().into_iter().map(|(_, shown)| shown).collect();
    assert_eq!(shown, [identity.der(), identity.der()], "for the token and for the ping");

    // It is declared for another host than this one, so it is not shown, and the sentence says what to do.
    client.change(id, &json!({"auth": login(format!("https://127.0.0.1:{}/", elsewhere.port))}));
    let said = tested(&client, id).unwrap();
    assert!(
        said.starts_with("no access token: no trusted TLS connection to the token URL: it requires a client"),
        "{said}"
    );
    assert!(said.contains("declared for this host"), "{said}");
    // One that the token server does not accept is told of the token server, and the receiver is left alone.
    client.change(id, &json!({"auth": login(tokens.url()), "client_certificate": "stranger"}));
    let said = tested(&client, id).unwrap();
    assert!(said.starts_with("no access token: ") && said.contains("does not accept the client certificate"), "{said}");
    // Without one as well, also where the receiver itself needs none.
    client.change(id, &json!({"url": receiver.url("/"), "client_certificate": null}));
    let said = tested(&client, id).unwrap();
    assert!(said.starts_with("no access token: ") && said.contains("requires a client certificate"), "{said}");
    assert_eq!((tokens.requests().len(), elsewhere.requests().len(), receiver.requests().len()), (2, 0, 0));
}

#[test]
fn a_new_certificate_is_shown_after_a_reload() {
    let authority = Authority::new();
    let (old, new) = (authority.identity("north", |_| {}), authority.identity("north", |_| {}));
    let mut server = with(&authority, |folder| vec![declared(folder, "north", &old, FOR_ALL)]);
    server.launch();
    let client = server.client();
    let receiver = Knowing::start(authority.identity("localhost", |_| {}).server_config_for_clients_of(&authority));
    subscribe(&client, &receiver.url(), Some("north"));
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    new.write_to(server.folder(), "north");
    hang_up(&server);
    logged(&server, "certificates reloaded", 1);
    client.settled(&client.publish("clock_in", &clock_in(2)), "delivered");
    let shown: Vec<_> = receiver.requests().into_iter().map(|(_, shown)| shown).collect();
    assert_eq!(shown, [old.der(), new.der()]);
}

#[test]
fn files_that_do_not_fit_are_refused_in_words() {
    let authority = Authority::new();
    let mut server = Server::stopped(&[]);
    let folder = server.folder().to_owned();
    let good = authority.identity("north", |_| {});
    let [certificate, key] = good.write_to(&folder, "good");
    let [_, another_key] = authority.identity("south", |_| {}).write_to(&folder, "another");
    let path = |path: &Path| format!("'{}'", path.display());
    let (certificate, key, another_key) = (path(&certificate), path(&key), path(&another_key));
    let missing = path(&folder.join("missing.pem"));
    let table = |fields: &str| format!("[{{{fields}}}]");
    let rest = r#"accounts = ["default"], hosts = ["localhost"]"#;
    for (fields, words) in [
        (format!("name = \"a\", certificate = {certificate}, {rest}"), "key is missing"),
        (format!("name = \"a\", key = {key}, {rest}"), "certificate is missing"),
        (format!("name = \"a\", certificate = {certificate}, key = {key}, hosts = [\"a\"]"), "accounts is missing"),
        (format!("name = \"a\", certificate = {certificate}, key = {key}, accounts = [\"a\"]"), "hosts is missing"),
        (
            format!("name = \"a\", certificate = {certificate}, key = {key}, hosts = [], accounts = [\"a\"]"),
            "list of 1 to",
        ),
        (format!("name = \"a b\", certificate = {certificate}, key = {key}, {rest}"), "is not a valid name"),
        (format!("name = \"a\", certificat = {certificate}, key = {key}, {rest}"), "did you mean \"certificate\"?"),
        (
            format!("name = \"a\", certificate = {certificate}, key = {another_key}, {rest}"),
            "does not belong to the private key",
        ),
        (format!("name = \"a\", certificate = {key}, key = {key}, {rest}"), "contains no PEM certificate"),
        (format!("name = \"a\", certificate = {missing}, key = {key}, {rest}"), "No such file"),
        (
            format!("name = \"a\", certificate = {certificate}, key = {key}, ca = {key}, {rest}"),
            "contains no PEM certificate",
        ),
    ] {
        server.configure(&[("delivery.client_certificate", &table(&fields))]);
        for refused in [server.cli(&["config", "check"]), server.fail_to_start()] {
            assert_eq!(refused.code, Some(3), "{fields}: {refused:?}");
            assert!(refused.stderr.contains(words), "{fields}: {refused:?}");
        }
    }
}

#[test]
fn a_thousand_certificates_take_little_memory() {
    let authority = Authority::new();
    let identity = authority.identity("north", |_| {});
    let memory = |count: usize| {
        let mut server = with(&authority, |folder| {
            let one = declared(folder, "north", &identity, FOR_ALL);
            (0..count).map(|number| one.replace("name = \"north\"", &format!("name = \"n{number}\""))).collect()
        });
        server.launch();
        let client = server.client();
        let receiver = Knowing::start(authority.identity("localhost", |_| {}).server_config_for_clients_of(&authority));
        for number in 0..count.min(20) {
            let id = subscribe(&client, &receiver.url(), Some(&format!("n{number}")));
            assert_eq!(tested(&client, id), None);
        }
        server.resident_kib()
    };
    let (without, with) = (memory(0), memory(1000));
    assert!(with < without + 40 * 1024, "{with} KiB with certificates, {without} KiB without");
}
