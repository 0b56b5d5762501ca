//! Receivers that were written for another sender verify what is delivered with the options of `docs/from-other-senders.md`:
//! judged by the libraries of these senders, or by the rule that they document. `tests/run` installs the libraries.

use std::process::Command;

use serde_json::{Value, json};

use super::interop::{Case, OK, assert_judges, genuine_and_tampered, in_repository};
use crate::harness::{Received, Receiver, Server, clock_in};

/// The options that the page gives under a heading, with the receiver's secret.
fn options_of(heading: &str, secret: &str) -> Value {
    let page = std::fs::read_to_string(in_repository("docs/from-other-senders.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).expect("the heading");
    let json = section.split("```json\n").nth(1).expect("the options").split("```").next().unwrap();
    let mut options: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{heading}: {error}\n{json}"));
    options["secret"] = secret.into();
    options
}

/// One delivery for a subscription with these options.
fn delivery(options: &Value) -> Received {
    let server = Server::start(&[]);
    let receiver = Receiver::start();
    let mut wish = json!({"url": receiver.url("/"), "events": ["clock_in"]});
    wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let client = server.client();
    client.post("/webhooks", &wish).expect(201);
    client.publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "the delivery").remove(0)
}

fn node() -> Command {
    let mut node = Command::new("node");
    node.arg(in_repository("tests/interop/verify.mjs")).arg(in_repository("target/interop"));
    node
}

#[test]
fn a_receiver_with_the_library_of_svix_runs_unchanged() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let came = delivery(&options_of("Svix", secret));
    assert_eq!(came.json()["type"], "clock_in", "{}", came.text());
    assert!(came.headers.iter().all(|(name, _)| !name.to_lowercase().starts_with("x-")), "{:?}", came.headers);
    let refusal = "refused: No matching signature found";
    let mut cases = genuine_and_tampered("svix", secret, &came, refusal);
    cases.push(Case::new("as it came", "standard", secret, &came, OK));
    assert_judges("Svix", &mut node(), &cases);
    let mut python = Command::new(in_repository("target/interop/venv/bin/python"));
    python.arg(in_repository("tests/interop/verify.py"));
    assert_judges("Standard Webhooks", &mut python, &[Case::new("as it came", "standard", secret, &came, OK)]);
}

#[test]
fn a_receiver_with_the_library_of_github_runs_unchanged() {
    let secret = "It's-a-Secret-to-Everybody";
    let refusal = "refused: X-Hub-Signature-256 does not fit";
    let mut options = options_of("GitHub", secret);
    let came = delivery(&options);
    assert_eq!(came.header("x-github-event"), "clock_in");
    assert!(came.header("x-github-delivery").starts_with("dlv_"), "{:?}", came.headers);
    assert_judges("GitHub", &mut node(), &genuine_and_tampered("github", secret, &came, refusal));
    options["format"] = "form".into();
    let form = delivery(&options);
    assert_eq!(form.header("content-type"), "application/x-www-form-urlencoded");
    assert_judges("GitHub", &mut node(), &genuine_and_tampered("github", secret, &form, refusal));
}

#[test]
fn a_receiver_that_checks_a_plain_hmac_runs_unchanged() {
    let secret = "a secret without spaces".replace(' ', "-");
    let came = delivery(&options_of("Plain HMAC", &secret));
    assert_eq!(came.header("x-gitea-event"), "clock_in");
    let mut python = Command::new("python3");
    python.arg(in_repository("tests/interop/hmac_of_body.py"));
    let refusal = "refused: X-Gitea-Signature does not fit";
    assert_judges("Plain HMAC", &mut python, &genuine_and_tampered("X-Gitea-Signature", &secret, &came, refusal));
}
