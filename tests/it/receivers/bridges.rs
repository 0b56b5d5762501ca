//! The bridges of `docs/bridges.md`, as they stand there, pass events on to a played Slack, Teams and Bullhorn, refuse what is
//! not genuine, and let the server retry what the other side refuses.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::interop::in_repository;
use crate::harness::{Client, Process, Received, Receiver, Reply, Server, clock_in};

const SECRET: &str = "a-secret-that-the-bridge-has";

/// A bridge of the page that runs, and a subscription to it.
struct Bridge {
    folder: TempDir,
    _process: Process,
    _server: Server,
    client: Client,
    subscription: Value,
}

impl Bridge {
    #[track_caller]
    fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let page = fs::read_to_string(in_repository("docs/bridges.md")).unwrap();
        for block in page.split("```python\n").skip(1) {
            let source = block.split("```").next().unwrap();
            let file = source.trim_start_matches("# ").split([':', ',']).next().unwrap();
            fs::write(folder.path().join(file), source).unwrap();
        }
        fs::write(folder.path().join("refresh.txt"), "one\n").unwrap();
        let mut python = Command::new("python3");
        python.arg(name).current_dir(folder.path()).env("PORT", "0").env("WEBHOOK_SECRET", SECRET);
        let mut process = Process::spawn(python.envs(environment.iter().copied()));
        let line = process.wait_for_line("where it listens", |line| line.starts_with("listening on "));
        let server = Server::start(&[("delivery.retry_schedule", r#"["10ms", "20ms", "40ms"]"#)]);
        let client = server.client();
        let url = line.trim_start_matches("listening on ");
        let wish = json!({"url": url, "events": ["clock_in"], "secret": SECRET});
        let subscription = client.post("/webhooks", &wish).expect(201).data().clone();
        Self { folder, _process: process, _server: server, client, subscription }
    }

    /// Panics unless it takes a ping and refuses one that is signed wrongly.
    #[track_caller]
    fn assert_verifies(&self) {
        let path = format!("/webhooks/{}/test", self.subscription["id"]);
        let tested = self.client.post(&path, &json!({"verify": true})).expect(200);
        let told = tested.data();
        assert_eq!((&told["success"], &told["verifies_signatures"]), (&json!(true), &json!(true)), "{told}");
    }
}

fn sent(request: &Received) -> Value {
    assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", "application/json"));
    request.json()
}

#[test]
fn an_event_becomes_a_message_of_slack_and_is_retried_while_slack_refuses() {
    let slack = Receiver::start();
    let bridge = Bridge::start("chat.py", &[("CHAT_URL", &slack.url("/services/T0/B0/x"))]);
    bridge.assert_verifies();
    assert!(sent(&slack.wait_for(1, "the ping")[0])["text"].as_str().unwrap().starts_with("ping: Test of "));
    slack.then([Reply::with(429, &[("Retry-After", "0")], "rate_limited"), Reply::status(500)]);
    let mut data = clock_in(1);
    data["worker_name"] = "Ana <K> & Co".into();
    let event = bridge.client.publish("clock_in", &data);
    let delivery = bridge.client.settled(&event, "delivered");
    let codes: Vec<_> =
        delivery["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["response_code"]).collect();
    assert_eq!(codes, [429, 502, 204], "{delivery}");
    assert!(delivery["attempts"][1].to_string().contains("it answered 500"), "{delivery}");
    let text = sent(&slack.wait_for(4, "the message")[3])["text"].clone();
    assert_eq!(text, format!("clock_in: Ana &lt;K&gt; &amp; Co, {}", data["clock_in"].as_str().unwrap()));
}

#[test]
fn an_event_becomes_a_card_of_teams() {
    let teams = Receiver::start();
    let bridge = Bridge::start("chat.py", &[("CHAT_URL", &teams.url("/workflows/x?sig=y")), ("CHAT", "teams")]);
    let event = bridge.client.publish("clock_in", &clock_in(1));
    bridge.client.settled(&event, "delivered");
    let message = sent(&teams.wait_for(1, "the message")[0]);
    let card = &message["attachments"][0];
    assert_eq!(
        (&message["type"], &card["contentType"], &card["content"]["type"]),
        (&json!("message"), &json!("application/vnd.microsoft.card.adaptive"), &json!("AdaptiveCard"))
    );
    assert!(card["content"]["body"][0]["text"].as_str().unwrap().starts_with("clock_in: "), "{message}");
}

#[test]
fn an_event_becomes_a_note_of_bullhorn_also_after_its_session_has_ended() {
    let bullhorn = Receiver::start();
    let answer = |body: &Value| Reply::with(200, &[("Content-Type", "application/json")], &body.to_string());
    let rest = format!("{}/", bullhorn.url("/rest-services/e999"));
    bullhorn.rule(move |request| match request.path.split('?').next().unwrap() {
        "/oauth/token" => {
            answer(&json!({"access_token": "a", "refresh_token": format!("after-{}", query(request, "refresh_token"))}))
        }
        "/rest-services/login" => {
            answer(&json!({"BhRestToken": format!("session {}", query(request, "access_token")), "restUrl": rest}))
        }
        "/rest-services/e999/entity/Note" => {
            answer(&json!({"changedEntityType": "Note", "changedEntityId": 1, "changeType": "INSERT"}))
        }
        other => panic!("{other}"),
    });
    let environment = [
        ("BULLHORN_AUTH_URL", bullhorn.url("/oauth/token")),
        ("BULLHORN_LOGIN_URL", bullhorn.url("/rest-services/login")),
        ("BULLHORN_CLIENT_ID", "agency".to_owned()),
        ("BULLHORN_CLIENT_SECRET", "s3cret".to_owned()),
        ("BULLHORN_REFRESH_TOKEN_FILE", "refresh.txt".to_owned()),
    ];
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let bridge = Bridge::start("bullhorn.py", &environment);
    bridge.assert_verifies();
    assert_eq!(bullhorn.requests().len(), 0, "a ping is no note");
    let event = bridge.client.publish("clock_in", &clock_in(1));
    bridge.client.settled(&event, "delivered");
    let came = bullhorn.wait_for(3, "the note");
    assert_eq!(query(&came[0], "refresh_token"), "one");
    let note = came[2].json();
    assert_eq!((came[2].method.as_str(), came[2].header("bhresttoken")), ("PUT", "session a"));
    assert_eq!((&note["action"], &note["personReference"]["id"]), (&json!("Clock in"), &clock_in(1)["worker_id"]));
    assert!(note["comments"].as_str().unwrap().contains(&event), "{note}");
    // The session has ended: one log-in with the token that came last, and the same note.
    bullhorn.then([Reply::status(401)]);
    let event = bridge.client.publish("clock_in", &clock_in(2));
    let delivery = bridge.client.settled(&event, "delivered");
    assert_eq!(delivery["attempt_count"], 1, "{delivery}");
    let came = bullhorn.wait_for(7, "the second note");
    assert_eq!(query(&came[4], "refresh_token"), "after-one");
    assert!(came[6].json()["comments"].as_str().unwrap().contains(&event));
    assert_eq!(fs::read_to_string(bridge.folder.path().join("refresh.txt")).unwrap(), "after-after-one");
}

#[test]
fn salesforce_gets_events_with_a_token_by_the_options_of_the_page() {
    let json = [("Content-Type", "application/json")];
    let salesforce = Receiver::answering(move |request| match request.path.as_str() {
        "/services/oauth2/token" => Reply::with(200, &json, r#"{"access_token": "00Dxx", "token_type": "Bearer"}"#),
        _ => Reply::with(200, &json, r#""taken""#),
    });
    let page = fs::read_to_string(in_repository("docs/bridges.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Salesforce")).expect("the heading");
    let options = section.split("```json\n").nth(1).expect("the options").split("```").next().unwrap();
    let options = options.replace("https://MYDOMAIN.my.salesforce.com", &salesforce.url("")).replace('…', "agency");
    let server = Server::start(&[]);
    let client = server.client();
    client.post_text("/webhooks", &options).expect(201);
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    let came = salesforce.wait_for(2, "a token and the event");
    assert!(came[0].text().contains("grant_type=client_credentials"), "{}", came[0].text());
    assert_eq!(
        (came[1].path.as_str(), came[1].header("authorization")),
        ("/services/apexrest/tempclock", "Bearer 00Dxx")
    );
    assert_eq!(came[1].json()["event"], "clock_in");
}

/// A parameter of a request's URL.
fn query(request: &Received, name: &str) -> String {
    let url = url::Url::parse(&format!("http://x{}", request.path)).unwrap();
    url.query_pairs().find(|(present, _)| present == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}
