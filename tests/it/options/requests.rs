//! What options make of a request: headers, logins, names, signatures, forms of the body, own secrets.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{
    Client, Received, Receiver, SENT_HEADERS, Server, clock_in, printed, signature_hex, signature_standard,
};

struct World {
    server: Server,
    client: Client,
    receiver: Receiver,
}

impl World {
    fn start() -> Self {
        let server = Server::start(&[]);
        let client = server.client();
        Self { server, client, receiver: Receiver::start() }
    }

    /// A subscription with these options, as its creation answered.
    #[track_caller]
    fn subscribe(&self, options: &Value) -> Value {
        let mut wish = json!({"url": self.receiver.url("/"), "events": ["clock_in"]});
        wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        self.client.post("/webhooks", &wish).expect(201).data().clone()
    }

    /// Publishes an event and gives the request of its delivery.
    #[track_caller]
    fn delivery(&self, entry: u64) -> (String, Received) {
        let before = self.receiver.requests().len();
        let event = self.client.publish("clock_in", &clock_in(entry));
        let came = self.receiver.wait_for(before + 1, "the delivery").remove(before);
        (event, came)
    }
}

fn hmac_of(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn names(request: &Received) -> Vec<&str> {
    request.headers.iter().map(|(name, _)| name.as_str()).collect()
}

/// The parts of `webhook-signature`.
fn parts(request: &Received) -> Vec<&str> {
    request.header("webhook-signature").split(' ').collect()
}

#[test]
fn own_headers_and_a_login_go_out_as_given_and_are_shown_to_nobody() {
    let world = World::start();
    let made = world.subscribe(&json!({
        "headers": {"X-Site": "n0rth side", "x-lower": "l0w"},
        "auth": {"type": "basic", "username": "tempclock", "password": "p4ss:word"},
    }));
    assert_eq!(made["headers"], json!({"X-Site": "set", "x-lower": "set"}));
    assert_eq!(made["auth"], json!({"type": "basic", "username": "tempclock", "password": "set"}));
    let (event, came) = world.delivery(1);
    let sent = |name: &str| came.headers.iter().find(|(sent, _)| sent == name).map(|(_, value)| value.as_str());
    assert_eq!((sent("X-Site"), sent("x-lower")), (Some("n0rth side"), Some("l0w")), "{:?}", came.headers);
    assert_eq!(sent("Authorization"), Some(format!("Basic {}", STANDARD.encode("tempclock:p4ss:word")).as_str()));
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(came.header("x-tempclock-signature"), signature_hex(secret, &came.body));

    let delivery = world.client.settled(&event, "delivered");
    let request = &delivery["attempts"][0]["request"];
    for name in ["X-Site", "x-lower", "Authorization"] {
        assert_eq!(request["headers"][name], "redacted", "{request}");
    }
    assert_eq!(request["headers"]["X-TempClock-Signature"], came.header("x-tempclock-signature"));
    assert_eq!(request["body_sha256"], hex::encode(Sha256::digest(&came.body)));
    let shown = world.client.subscription(made["id"].as_i64().unwrap());
    for text in [delivery.to_string(), shown.to_string()] {
        assert!(!text.contains("n0rth") && !text.contains("p4ss") && !text.contains("l0w"), "{text}");
    }
}

#[test]
fn a_change_of_options_reaches_the_next_request_and_a_test_ping() {
    let world = World::start();
    let id = world.subscribe(&json!({"headers": {"X-Key": "first"}}))["id"].as_i64().unwrap();
    let bearer = json!({"type": "bearer", "token": "t0ken"});
    world.client.change(id, &json!({"headers": {"X-Key": "set", "X-More": "1"}, "auth": bearer}));
    let (_, came) = world.delivery(1);
    assert_eq!((came.header("x-key"), came.header("x-more")), ("first", "1"));
    assert_eq!(came.header("authorization"), "Bearer t0ken");
    world.client.change(id, &json!({"headers": null}));
    world.client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    let ping = world.receiver.wait_for(2, "the ping").remove(1);
    assert_eq!(ping.header("authorization"), "Bearer t0ken");
    assert!(!names(&ping).iter().any(|name| name.eq_ignore_ascii_case("x-key")), "{:?}", ping.headers);
    world.client.change(id, &json!({"auth": null}));
    let shown = world.client.subscription(id);
    assert_eq!((&shown["auth"], &shown["headers"]), (&Value::Null, &Value::Null));
    let (event, plain) = world.delivery(2);
    assert!(!names(&plain).iter().any(|name| name.eq_ignore_ascii_case("authorization")), "{:?}", plain.headers);
    // Without options an attempt is kept as it always was.
    let delivery = world.client.settled(&event, "delivered");
    assert_eq!(delivery["attempts"][0]["request"].get("body_sha256"), None);
}

#[test]
fn a_subscription_sent_back_as_it_is_shown_keeps_its_secrets() {
    let world = World::start();
    let options = json!({
        "headers": {"X-Key": "k3y"},
        "auth": {"type": "bearer", "token": "t0ken"},
        "format": "form",
        "names": {"event": "X-Event"},
        "signatures": ["tempclock", "ed25519"],
    });
    let id = world.subscribe(&options)["id"].as_i64().unwrap();
    let before = world.client.subscription(id);
    world.client.change(id, &before);
    let after = world.client.subscription(id);
    assert_eq!((&after["public_key"], &after["updated_at"]), (&before["public_key"], &before["updated_at"]));
    let (_, came) = world.delivery(1);
    assert_eq!((came.header("x-key"), came.header("authorization")), ("k3y", "Bearer t0ken"));
}

#[test]
fn a_receiver_of_github_webhooks_finds_what_it_looks_up() {
    let world = World::start();
    let secret = "It's-a-Secret-to-Everybody";
    world.subscribe(&json!({
        "secret": secret,
        "names": {
            "signature": "X-Hub-Signature-256", "signature_prefix": "sha256=", "event": "X-GitHub-Event",
            "delivery": "X-GitHub-Delivery", "attempt": "",
            "envelope": {"id": "delivery", "event": "action", "data": "payload"},
        },
        "signatures": ["tempclock"],
    }));
    let (event, came) = world.delivery(1);
    let value = |name: &str| came.headers.iter().find(|(sent, _)| sent == name).map(|(_, value)| value.as_str());
    assert_eq!(value("X-Hub-Signature-256"), Some(format!("sha256={}", signature_hex(secret, &came.body)).as_str()));
    assert_eq!(value("X-GitHub-Event"), Some("clock_in"));
    assert!(value("X-GitHub-Delivery").unwrap().starts_with("dlv_"));
    assert_eq!(came.header("webhook-id"), event);
    for name in names(&came) {
        let name = name.to_ascii_lowercase();
        assert!(!name.starts_with("x-tempclock-") && name != "webhook-signature", "{:?}", came.headers);
    }
    let body = came.json();
    assert_eq!(
        (&body["delivery"], &body["action"], &body["payload"]),
        (&json!(event), &json!("clock_in"), &clock_in(1))
    );
    assert!(body["timestamp"].is_string() && body.as_object().unwrap().len() == 4, "{body}");
}

#[test]
fn a_given_secret_signs_in_both_ways_and_is_not_shown_again() {
    let world = World::start();
    let key: Vec<u8> = (0..32).collect();
    let secret = format!("whsec_{}", STANDARD.encode(&key));
    let made = world.subscribe(&json!({"secret": secret}));
    assert_eq!(made["secret"], secret.as_str());
    let (_, came) = world.delivery(1);
    assert_eq!(came.header("x-tempclock-signature"), signature_hex(&secret, &came.body));
    let (id, timestamp) = (came.header("webhook-id"), came.header("webhook-timestamp"));
    assert_eq!(came.header("webhook-signature"), hmac_of(&key, id, timestamp, &came.body));
    let shown = world.client.subscription(made["id"].as_i64().unwrap());
    assert!(!shown.to_string().contains(&secret), "{shown}");

    let wish = json!({"url": world.receiver.url("/short"), "events": ["ping"], "secret": "sixteen_chars_ok"});
    let short = world.client.post("/webhooks", &wish).expect(201);
    assert!(short.json["message"].as_str().unwrap().contains("fewer than 24 characters"), "{}", short.text);
    world.client.post_nothing(&format!("/webhooks/{}/test", short.data()["id"])).expect(200);
    let came = world.receiver.wait_for(2, "the ping").remove(1);
    let (id, timestamp) = (came.header("webhook-id"), came.header("webhook-timestamp"));
    // No base64 of 24 bytes: the text is the key.
    assert_eq!(came.header("webhook-signature"), hmac_of(b"sixteen_chars_ok", id, timestamp, &came.body));
}

#[test]
fn an_ed25519_signature_is_verified_with_the_public_key_that_every_answer_shows() {
    let world = World::start();
    let made = world.subscribe(&json!({"signatures": ["standard", "ed25519"]}));
    let (id, public_key) = (made["id"].as_i64().unwrap(), made["public_key"].as_str().unwrap());
    assert_eq!(world.client.subscription(id)["public_key"], public_key);
    let (_, came) = world.delivery(1);
    assert!(!names(&came).iter().any(|name| name.eq_ignore_ascii_case("x-tempclock-signature")), "{:?}", came.headers);
    let (event, timestamp) = (came.header("webhook-id"), came.header("webhook-timestamp"));
    let [standard, asymmetric] = parts(&came)[..] else { panic!("{:?}", came.headers) };
    assert_eq!(standard, signature_standard(made["secret"].as_str().unwrap(), event, timestamp, &came.body));
    let verifies = |signature: &str, body: &[u8]| {
        let key = STANDARD.decode(public_key.strip_prefix("whpk_").unwrap()).unwrap();
        let signature = STANDARD.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
        let message = [event.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        UnparsedPublicKey::new(&ED25519, key).verify(&message, &signature).is_ok()
    };
    assert!(verifies(asymmetric, &came.body));
    assert!(!verifies(asymmetric, b"{}"));
    // The key pair lasts, also while it is not used.
    world.client.change(id, &json!({"signatures": null}));
    let changed = world.client.change(id, &json!({"signatures": ["ed25519"]}));
    assert_eq!(changed.data()["public_key"], public_key);
    let (_, alone) = world.delivery(2);
    assert!(matches!(parts(&alone)[..], [one] if one.starts_with("v1a,")), "{:?}", alone.headers);
}

#[test]
fn a_form_and_a_cloud_event_are_made_of_the_stored_envelope_and_signed_as_sent() {
    let world = World::start();
    let made = world.subscribe(&json!({"format": "form"}));
    let (id, secret) = (made["id"].as_i64().unwrap(), made["secret"].as_str().unwrap());
    let (event, form) = world.delivery(1);
    assert_eq!(form.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(form.header("x-tempclock-signature"), signature_hex(secret, &form.body));
    let fields: BTreeMap<String, String> = url::form_urlencoded::parse(&form.body).into_owned().collect();
    let delivery = world.client.settled(&event, "delivered");
    assert_eq!(fields.len(), 1);
    assert_eq!(fields["payload"], delivery["body"].as_str().unwrap(), "the envelope as it is stored");

    world.client.change(id, &json!({"format": "cloudevents"}));
    let (event, cloud) = world.delivery(2);
    assert_eq!(cloud.header("content-type"), "application/cloudevents+json");
    let (timestamp, body) = (cloud.header("webhook-timestamp"), &cloud.body);
    assert_eq!(cloud.header("webhook-signature"), signature_standard(secret, &event, timestamp, body));
    let delivery = world.client.settled(&event, "delivered");
    let envelope: Value = serde_json::from_str(delivery["body"].as_str().unwrap()).unwrap();
    let mut got = cloud.json();
    assert!(got["source"].as_str().unwrap().starts_with("/accounts/"), "{got}");
    got.as_object_mut().unwrap().remove("source");
    let wanted = json!({
        "specversion": "1.0", "id": event, "type": "tempclock.clock_in", "subject": "42", "time": envelope["timestamp"],
        "datacontenttype": "application/json", "data": clock_in(2),
    });
    assert_eq!(got, wanted);
    // A redelivery is sent in the form of its time.
    world.client.change(id, &json!({"format": null}));
    world.client.post_nothing(&format!("/deliveries/{}/retry", delivery["id"].as_str().unwrap())).expect(202);
    let again = world.receiver.wait_for(3, "the redelivery").remove(2);
    assert_eq!(again.json(), envelope);
}

#[test]
fn the_command_line_sets_shows_and_takes_back_every_option() {
    let world = World::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let secret = file("secret.txt", "a-secret-of-an-earlier-sender\n");
    let auth = file("auth.json", r#"{"type": "bearer", "token": "t0ken"}"#);
    let url = world.receiver.url("/");
    let options = [
        "--headers",
        r#"{"X-Site": "north"}"#,
        "--auth",
        &format!("@{auth}"),
        "--format",
        "form",
        "--signatures",
        "standard,ed25519",
        "--names",
        r#"{"event": "X-Event"}"#,
    ];
    let create = ["subscriptions", "create", "--url", &url, "--events", "clock_in", "--secret-file", &secret, "--json"];
    let made = printed(&world.server.cli(&[&create[..], &options].concat()));
    assert_eq!(made["data"]["secret"], "a-secret-of-an-earlier-sender");
    let id = made["data"]["id"].to_string();
    let shown = world.server.cli(&["subscriptions", "show", &id]);
    for line in ["headers", "auth", "format", "names", "signatures", "public key"] {
        assert!(shown.stdout.lines().any(|shown| shown.starts_with(line)), "{line}: {}", shown.stdout);
    }
    assert!(!shown.stdout.contains("t0ken") && !shown.stdout.contains("north"), "{}", shown.stdout);
    let none = ["--headers", "none", "--auth", "none", "--format", "none", "--names", "none", "--signatures", "none"];
    let changed = printed(&world.server.cli(&[&["subscriptions", "update", &id, "--json"][..], &none].concat()));
    assert_eq!((&changed["data"]["auth"], &changed["data"]["format"]), (&Value::Null, &json!("json")));
    let wrong = world.server.cli(&["subscriptions", "update", &id, "--names", "event=X"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("--names is not JSON"), "{}", wrong.stderr);
    let twice = r#"{"X-A": "1", "X-A": "2"}"#;
    let wrong = world.server.cli(&["subscriptions", "update", &id, "--headers", twice]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("headers.X-A: is given twice"), "{wrong:?}");
    let wrong = world.server.cli(&["subscriptions", "update", &id, "--format", "xml"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("cloudevents"), "{}", wrong.stderr);
}

#[test]
fn a_delivery_without_options_has_the_headers_that_it_always_had() {
    let world = World::start();
    let made = world.subscribe(&json!({}));
    let plain = json!({"headers": null, "auth": null, "format": "json", "names": null, "signatures": ["tempclock", "standard"]});
    for (name, value) in plain.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    let (_, came) = world.delivery(1);
    assert_eq!(names(&came), SENT_HEADERS);
    assert_eq!(came.json()["data"], clock_in(1));
}
