//! `listen`, `sign` and `verify` know what options make of a delivery: its form, its names, the secrets of a rotation and a
//! key pair. They say which signature fits.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::harness::{Client, Output, Process, Received, Receiver, Server, clock_in, run, run_with};

const OWN: &str = "an-own-secret-of-thirty-characters";

/// One delivery for a subscription with these options, what its creation answered, and the stored envelope.
fn delivery(client: &Client, options: &Value) -> (Value, Received, String) {
    let receiver = Receiver::start();
    let mut wish = json!({"url": receiver.url("/"), "events": ["clock_in"]});
    wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let made = client.post("/webhooks", &wish).expect(201).data().clone();
    let event = client.publish("clock_in", &clock_in(1));
    let came = receiver.wait_for(1, "the delivery").remove(0);
    let envelope = client.settled(&event, "delivered")["body"].as_str().unwrap().to_owned();
    client.delete(&format!("/webhooks/{}", made["id"])).expect(200);
    (made, came, envelope)
}

fn data(output: &Output) -> Value {
    let printed: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"));
    printed["data"].clone()
}

/// What `verify` says of the signature that covers id and time.
fn verify_standard(came: &Received, known: &[&str]) -> Output {
    let arguments = [
        "verify",
        "--id",
        came.header("webhook-id"),
        "--timestamp",
        came.header("webhook-timestamp"),
        "--signature",
        came.header("webhook-signature"),
        "--json",
    ];
    run_with(&[&arguments[..], known].concat(), &[], &came.body)
}

#[test]
fn verify_tells_which_secret_made_which_signature_during_a_rotation() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let made = client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.post(&format!("/webhooks/{}/secret", made.id), &json!({"secret": OWN, "overlap": "1h"})).expect(200);
    client.publish("clock_in", &clock_in(1));
    let came = receiver.wait_for(1, "the delivery").remove(0);
    let both = verify_standard(&came, &["--secret", OWN, "--secret", &made.secret]);
    let wanted = json!([{"kind": "standard", "secret": 1}, {"kind": "standard", "secret": 2}]);
    assert_eq!((both.code, &data(&both)["signatures"]), (Some(0), &wanted), "{both:?}");
    // Either of them is enough, as for a receiver that knows one.
    for secret in [OWN, &made.secret] {
        let one = verify_standard(&came, &["--secret", secret]);
        assert_eq!(data(&one)["signatures"], json!([{"kind": "standard", "secret": 1}]), "{one:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (new, old) = (file("new.txt", OWN), file("old.txt", &made.secret));
    let tempclock = came.header("x-tempclock-signature");
    let shown =
        run_with(&["verify", "--secret-file", &new, "--secret-file", &old, "--signature", tempclock], &[], &came.body);
    assert_eq!(shown.stdout, "The signature matches.\n  tempclock by secret 2\n", "{shown:?}");
}

#[test]
fn verify_knows_every_form_other_names_and_the_key_pair() {
    let server = Server::start(&[]);
    let client = server.client();
    for (options, names) in [
        (json!({"format": "form"}), "{}"),
        (json!({"format": "cloudevents"}), "{}"),
        (json!({"names": {"envelope": {"id": "event_id"}}}), r#"{"envelope": {"id": "event_id"}}"#),
    ] {
        let mut options = options;
        options["signatures"] = json!(["tempclock", "standard", "ed25519"]);
        let (made, came, _) = delivery(&client, &options);
        let (secret, public_key) = (made["secret"].as_str().unwrap(), made["public_key"].as_str().unwrap());
        let known = ["--secret", secret, "--public-key", public_key, "--names", names];
        let verified = verify_standard(&came, &known);
        let wanted = json!([{"kind": "standard", "secret": 1}, {"kind": "ed25519"}]);
        assert_eq!((verified.code, &data(&verified)["signatures"]), (Some(0), &wanted), "{verified:?}");
        // Another secret is the only thing that is wrong: the body is no foreign one.
        let other = verify_standard(&came, &["--secret", OWN, "--names", names]);
        assert_eq!(
            (other.code, &data(&other)["causes"][0]["code"]),
            (Some(1), &json!("public_key_needed")),
            "{other:?}"
        );
        assert_eq!(data(&other)["causes"].as_array().unwrap().len(), 1, "{other:?}");
    }
    let names = json!({"signature": "X-Hub-Signature-256", "signature_prefix": "sha256="});
    let (made, came, _) = delivery(&client, &json!({"names": names}));
    let secret = made["secret"].as_str().unwrap();
    let signature = came.header("x-hub-signature-256");
    let names = names.to_string();
    let known = ["verify", "--secret", secret, "--signature", signature, "--names", &names];
    let verified = run_with(&known, &[], &came.body);
    assert_eq!((verified.code, verified.stdout.as_str()), (Some(0), "The signature matches.\n  tempclock\n"));
    let unknown = run_with(&known[..5], &[], &came.body);
    assert!(unknown.code == Some(1) && unknown.stdout.contains("--names"), "{unknown:?}");
    for (wrong, word) in [("--names={\"sig\": 1}", "signature"), ("--public-key=whpk_AAAA", "whpk_")] {
        let refused = run_with(&["verify", "--secret", secret, "--signature", signature, wrong], &[], b"{}");
        assert!(refused.code == Some(2) && refused.stderr.contains(word), "{refused:?}");
    }
}

#[test]
fn sign_makes_the_request_that_the_server_sends_for_the_same_options() {
    let server = Server::start(&[]);
    let client = server.client_of("default");
    let names = json!({"signature": "X-Signature", "signature_prefix": "sha256=", "envelope": {"data": "payload"}});
    let names_text = names.to_string();
    for (options, flags) in [
        (json!({"format": "form"}), vec!["--format", "form"]),
        (json!({"format": "cloudevents", "secret": OWN}), vec!["--format", "cloudevents"]),
        (
            json!({"names": names, "signatures": ["tempclock"]}),
            vec!["--names", &names_text, "--signatures", "tempclock"],
        ),
    ] {
        let (made, came, envelope) = delivery(&client, &options);
        let secret = made["secret"].as_str().unwrap();
        let (id, timestamp) = (came.header("webhook-id"), came.header("webhook-timestamp"));
        let signed = ["sign", "--secret", secret, "--id", id, "--timestamp", timestamp];
        let json = run_with(&[&signed[..], &flags, &["--json"]].concat(), &[], envelope.as_bytes());
        let made = data(&json);
        assert_eq!(made["body"].as_str(), Some(came.text()), "{json:?}");
        for (name, value) in made["headers"].as_object().unwrap() {
            assert_eq!(came.header(name), value.as_str().unwrap(), "{name}: {json:?}");
        }
        let text = run_with(&[&signed[..], &flags].concat(), &[], envelope.as_bytes());
        let (head, body) = text.stdout.split_once("\n\n").unwrap();
        assert_eq!(body, made["body"].as_str().unwrap());
        assert!(head.starts_with("Content-Type: "), "{text:?}");
    }
    let refused = run_with(&["sign", "--secret", OWN, "--format", "cloudevents"], &[], b"no envelope");
    assert!(refused.code == Some(2) && refused.stderr.contains("envelope"), "{refused:?}");
}

#[test]
fn sign_and_verify_agree_on_a_rotation_and_on_a_key_pair() {
    let folder = tempfile::tempdir().unwrap();
    let private_key = folder.path().join("private.txt");
    std::fs::write(&private_key, format!("whsk_{}\n", STANDARD.encode([5; 32]))).unwrap();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
    let public_key = format!("whpk_{}", STANDARD.encode(pair.public_key()));
    let older = "b".repeat(64);
    let secrets = ["--secret", OWN, "--secret", &older];
    let private_key = private_key.to_str().unwrap();
    let sign = ["sign", "--id", "evt_1", "--private-key-file", private_key, "--json"];
    let signed = data(&run_with(&[&sign[..], &secrets].concat(), &[], b"{}"));
    let header = |name: &str| signed["headers"][name].as_str().unwrap();
    assert_eq!(header("webhook-signature").split(' ').count(), 3);
    let (timestamp, standard) = (header("webhook-timestamp"), header("webhook-signature"));
    let verify =
        ["verify", "--id", "evt_1", "--timestamp", timestamp, "--signature", standard, "--public-key", &public_key];
    let verified = run_with(&[&verify[..], &secrets].concat(), &[], b"{}");
    let wanted = "The signature matches.\n  standard by secret 1, standard by secret 2, ed25519\n";
    assert_eq!((verified.code, verified.stdout.as_str()), (Some(0), wanted), "{verified:?}");
    // The body's own signature has room for one secret, and takes the oldest.
    let alone = ["verify", "--secret", &older, "--signature", header("X-TempClock-Signature")];
    assert_eq!(run_with(&alone, &[], b"{}").code, Some(0));
    for wrong in [
        vec!["sign", "--secret", OWN, "--signatures", "standard"],
        vec!["sign", "--secret", OWN, "--id", "evt_1", "--signatures", "ed25519"],
        vec!["sign", "--secret", OWN, "--format", "xml"],
    ] {
        let refused = run_with(&wrong, &[], b"{}");
        assert!(refused.code == Some(2) && refused.stdout.is_empty(), "{refused:?}");
    }
}

#[test]
fn listen_subscribes_with_options_and_says_which_signatures_fit() {
    let server = Server::start(&[]);
    let client = server.client();
    let (url, key) = (format!("http://{}", server.address()), server.key("webhooks:write"));
    let names = r#"{"event": "X-Event", "delivery": "X-Id", "attempt": "X-Attempt", "signature": "X-Signature"}"#;
    let mut process = Process::start(&[
        "listen",
        "--json",
        "--api-url",
        &url,
        "--api-key",
        &key,
        "--events",
        "clock_in",
        "--format",
        "form",
        "--names",
        names,
        "--signatures",
        "tempclock,standard,ed25519",
        "--filter",
        r#"{"entry_id": 2}"#,
    ]);
    process.wait_for_line("where it listens", |line| line.starts_with('{'));
    client.publish("clock_in", &clock_in(1));
    let event = client.publish("clock_in", &clock_in(2));
    let line = process.wait_for_line("the delivery", |line| line.contains("received_at"));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["event"], &line["event_id"], &line["attempt"], &line["verified"]),
        (&json!("clock_in"), &json!(event), &json!(1), &json!(true)),
        "{line}"
    );
    let wanted = json!([{"kind": "tempclock", "secret": 1}, {"kind": "standard", "secret": 1}, {"kind": "ed25519"}]);
    assert_eq!(line["signatures"], wanted, "{line}");
    assert!(line["delivery_id"].as_str().unwrap().starts_with("dlv_"), "{line}");
    assert!(process.stop(rustix::process::Signal::TERM).status.success());
    for (wrong, word) in [
        (vec!["listen", "--secret", OWN, "--format", "form"], "--format"),
        (vec!["listen", "--api-url", &url, "--api-key", &key, "--secret", OWN, "--secret", OWN], "one secret"),
        (vec!["listen", "--api-url", &url, "--api-key", &key, "--rate-limit", "fast"], "rate_limit"),
    ] {
        let refused = run(&wrong, &[]);
        assert!(refused.code == Some(2) && refused.stderr.contains(word), "{refused:?}");
    }
    assert_eq!(client.total("/webhooks"), 0);
}

#[test]
fn listen_without_an_api_key_checks_with_each_secret_of_a_rotation() {
    let server = Server::start(&[]);
    let client = server.client();
    let older = "c".repeat(64);
    let mut process = Process::start(&["listen", "--json", "--secret", OWN, "--secret", &older]);
    let begun: Value =
        serde_json::from_str(&process.wait_for_line("where it listens", |line| line.starts_with('{'))).unwrap();
    let wish = json!({"url": begun["listening"], "events": ["clock_in"], "secret": older});
    let id = client.post("/webhooks", &wish).expect(201).data()["id"].clone();
    client.post(&format!("/webhooks/{id}/secret"), &json!({"secret": OWN})).expect(200);
    client.publish("clock_in", &clock_in(1));
    let line = process.wait_for_line("the delivery", |line| line.contains("received_at"));
    let line: Value = serde_json::from_str(&line).unwrap();
    let wanted = json!([{"kind": "tempclock", "secret": 2}, {"kind": "standard", "secret": 1}, {"kind": "standard", "secret": 2}]);
    assert_eq!((&line["verified"], &line["signatures"]), (&json!(true), &wanted), "{line}");
    assert!(process.stop(rustix::process::Signal::TERM).status.success());
}
