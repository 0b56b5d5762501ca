//! `sign` signs as the server does, and `verify` says why a signature does not match.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Output, Received, Receiver, Server, clock_in, run, run_with, signature_hex, signature_standard};

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const BODY: &[u8] =
    br#"{"id":"evt_1","event":"ping","timestamp":"2026-03-02T08:00:00.000Z","data":{"message":"a b","webhook_id":1}}"#;

fn data(output: &Output) -> Value {
    let printed: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"));
    printed["data"].clone()
}

fn codes(output: &Output) -> Vec<String> {
    let causes = data(output)["causes"].as_array().expect("causes").clone();
    causes.iter().map(|cause| cause["code"].as_str().unwrap().to_owned()).collect()
}

/// One delivery of a real server, and the secret that it is signed with.
fn delivery() -> (Received, String) {
    let server = Server::start(&[]);
    let receiver = Receiver::start();
    let client = server.client();
    let secret = client.subscribe(&receiver.url("/"), &["clock_in"]).secret;
    client.publish("clock_in", &clock_in(1));
    (receiver.wait_for(1, "the delivery").remove(0), secret)
}

#[test]
fn sign_prints_the_very_headers_that_the_server_sends() {
    let (received, secret) = delivery();
    let (id, timestamp) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let arguments = ["sign", "--secret", &secret, "--id", id, "--timestamp", timestamp];
    let text = run_with(&arguments, &[], &received.body);
    assert_eq!(text.code, Some(0), "{text:?}");
    let json = run_with(&[&arguments[..], &["--json"]].concat(), &[], &received.body);
    for name in ["X-TempClock-Signature", "webhook-id", "webhook-timestamp", "webhook-signature"] {
        let wanted = received.header(name);
        assert!(text.stdout.lines().any(|line| line == format!("{name}: {wanted}")), "{name}: {}", text.stdout);
        assert_eq!(data(&json)["headers"][name], wanted);
    }
    let alone = run_with(&["sign", "--secret", &secret], &[], &received.body);
    assert_eq!(alone.stdout, format!("X-TempClock-Signature: {}\n", received.header("x-tempclock-signature")));
}

#[test]
fn verify_accepts_what_the_server_sends_by_either_header() {
    let (received, secret) = delivery();
    let folder = tempfile::tempdir().unwrap();
    let (secret_file, body_file) = (folder.path().join("secret.txt"), folder.path().join("body"));
    fs::write(&secret_file, format!("{secret}\n")).unwrap();
    fs::write(&body_file, &received.body).unwrap();
    let (secret_file, body_file) = (secret_file.to_str().unwrap(), body_file.to_str().unwrap());
    let tempclock = received.header("x-tempclock-signature");
    let by_text = run_with(&["verify", "--secret-file", secret_file, "--signature", tempclock], &[], &received.body);
    assert_eq!(
        (by_text.code, by_text.stdout.as_str()),
        (Some(0), "The signature matches.\n  tempclock\n"),
        "{by_text:?}"
    );
    let (id, timestamp) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let standard = received.header("webhook-signature");
    let arguments = ["verify", "--secret", &secret, "--signature", standard, "--id", id, "--timestamp", timestamp];
    let by_file = run(&[&arguments[..], &["--file", body_file, "--json"]].concat(), &[]);
    assert_eq!(by_file.code, Some(0), "{by_file:?}");
    let signatures = [json!({"kind": "standard", "secret": 1})];
    let wanted = json!({"verified": true, "explained": true, "causes": [], "signatures": signatures});
    assert_eq!(data(&by_file), wanted);
}

#[test]
fn verify_names_what_was_done_to_body_secret_or_signature() {
    let right = signature_hex(SECRET, BODY);
    let text = String::from_utf8(BODY.to_vec()).unwrap();
    let value: Value = serde_json::from_slice(BODY).unwrap();
    let (lined, pretty) = (format!("{text}\n"), serde_json::to_string_pretty(&value).unwrap());
    let marked = format!("\u{feff}{text}");
    let spaced = format!(" {SECRET}");
    for (body, secret, signature, wanted) in [
        (lined.as_str(), SECRET, right.as_str(), "newline_added"),
        (&pretty, SECRET, &right, "json_reserialized"),
        (&marked, SECRET, &right, "bom_added"),
        (&text, &spaced, &right, "secret_spaces"),
        (&text, &SECRET.to_uppercase(), &right, "secret_upper_case"),
        (&text, SECRET, &right.to_uppercase(), "signature_upper_case"),
        (&text, SECRET, &signature_hex(SECRET, &[BODY, b"\n"].concat()), "newline_removed"),
        (&text, "tc_live_0123456789012345678901234567890123456789", &right, "secret_is_an_api_key"),
        (&text, SECRET, "v1,AAAA", "signature_malformed"),
    ] {
        let arguments = ["verify", "--secret", secret, "--signature", signature];
        let json = run_with(&[&arguments[..], &["--json"]].concat(), &[], body.as_bytes());
        assert_eq!(json.code, Some(1), "{wanted}: {json:?}");
        assert_eq!(data(&json)["verified"], false);
        assert_eq!(codes(&json).first().map(String::as_str), Some(wanted), "{json:?}");
        let shown = run_with(&arguments, &[], body.as_bytes());
        assert_eq!(shown.code, Some(1), "{shown:?}");
        assert!(shown.stdout.contains(wanted), "{wanted}: {}", shown.stdout);
        assert!(!format!("{shown:?}{json:?}").contains(secret.trim()), "the secret is shown: {shown:?}{json:?}");
    }
}

#[test]
fn an_old_timestamp_is_refused_until_its_age_is_allowed() {
    let signature = signature_standard(SECRET, "evt_1", "1772438400", BODY);
    let arguments = [
        "verify",
        "--secret",
        SECRET,
        "--signature",
        &signature,
        "--id",
        "evt_1",
        "--timestamp",
        "1772438400",
        "--json",
    ];
    let old = run_with(&arguments, &[], BODY);
    assert_eq!(old.code, Some(1), "{old:?}");
    assert_eq!(codes(&old), ["timestamp_too_old"]);
    let allowed = run_with(&[&arguments[..], &["--tolerance", "36500d"]].concat(), &[], BODY);
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
}

#[test]
fn what_lacks_a_part_is_wrong_usage_and_a_missing_file_a_failure() {
    for arguments in [
        vec!["verify"],
        vec!["verify", "--signature", "x"],
        vec!["verify", "--secret", SECRET, "--signature", "x", "--id", "evt_1"],
        vec!["verify", "some.redb", "--signature", "x", "--secret", SECRET],
        vec!["verify", "--secret", SECRET, "--signature", "x", "--tolerance", "long"],
        vec!["sign"],
        vec!["sign", "--secret", "short"],
        vec!["sign", "--secret", SECRET, "--timestamp", "1"],
        vec!["sign", "--secret", SECRET, "--id", "a\nb"],
        vec!["sign", "--secret", SECRET, "--secret-file", "x"],
    ] {
        let output = run(&arguments, &[]);
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:?}");
        assert_eq!(output.stdout, "", "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let missing = run(&["sign", "--secret-file", "/nonexistent/secret.txt"], &[]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("/nonexistent/secret.txt"), "{missing:?}");
}
