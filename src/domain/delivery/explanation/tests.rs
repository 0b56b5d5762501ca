//! Every failure has words of its own, and they give nothing away.

use std::collections::BTreeSet;

use crate::domain::Timestamp;
use crate::domain::delivery::attempt::{Response, Signed, VERSION};
use crate::domain::delivery::explanation::*;
use crate::domain::delivery::token_fault::TokenFault;
use crate::domain::signing::Signatures;

fn attempt(outcome: Outcome) -> Attempt {
    Attempt {
        number: 1,
        started_at: Timestamp::from_ms(0),
        duration_ms: 30_012,
        url: "https://crm.example/hooks/in".into(),
        version: VERSION.into(),
        signed: Signed { timestamp_s: 0, signatures: Signatures::NONE },
        outcome,
        response: None,
        request: None,
    }
}

fn words(outcome: Outcome) -> String {
    attempt(outcome).explanation().expect("a failure is explained")
}

fn redirected_to(location: &str) -> String {
    let headers = vec![("location".to_owned(), location.to_owned())];
    let response = Some(Response { headers, body: Vec::new() });
    Attempt { response, ..attempt(Outcome::Redirected(302)) }.explanation().expect("a failure is explained")
}

#[test]
fn every_failure_has_a_cause_and_advice_and_a_success_has_neither() {
    assert_eq!(attempt(Outcome::Delivered(204)).explanation(), None);
    let text = || "cause".to_owned();
    for outcome in [
        Outcome::HttpError(500),
        Outcome::PushedBack(429),
        Outcome::PushedBack(503),
        Outcome::Redirected(302),
        Outcome::NameNotFound(text()),
        Outcome::ConnectFailed(text()),
        Outcome::ConnectionLost(text()),
        Outcome::TlsFailed(text()),
        Outcome::BadResponse(text()),
        Outcome::BodyDamaged,
        Outcome::Internal(text()),
        Outcome::HeadersTooLong,
        Outcome::BadHead(200, HeadFault::TooLong),
        Outcome::BadHead(200, HeadFault::Invalid(text())),
        Outcome::KeptConnectionClosed(text()),
        Outcome::LookupsBusy,
        Outcome::Incomplete(200, BodyError::TimedOut),
        Outcome::Incomplete(200, BodyError::ConnectionLost),
        Outcome::Incomplete(200, BodyError::BadResponse),
        Outcome::NameServerFailed(text()),
        Outcome::TokenFailed(TokenFault::Unreachable(text())),
        Outcome::ProxyFailed("cause; advice".to_owned()),
        Outcome::TokenDropped,
        Outcome::TokenRefused,
    ] {
        let words = words(outcome);
        assert_eq!(words.matches("; ").count(), 1, "{words}");
    }
}

#[test]
fn each_phase_of_a_time_out_is_named_and_has_its_own_advice() {
    let phases = [Phase::Resolve, Phase::Connect, Phase::Handshake, Phase::Send, Phase::Wait, Phase::Read];
    let all: BTreeSet<_> = phases.map(|phase| words(Outcome::TimedOut(phase))).into();
    assert_eq!(all.len(), phases.len());
    assert!(all.iter().all(|words| words.starts_with("timed out after 30 s while ")), "{all:#?}");
}

#[test]
fn the_time_is_that_of_the_attempt() {
    for (duration_ms, shown) in
        [(503, "503 ms"), (999, "999 ms"), (1004, "1 s"), (1549, "1.5 s"), (u32::MAX, "s while")]
    {
        let words = Attempt { duration_ms, ..attempt(Outcome::TimedOut(Phase::Wait)) }.explanation().unwrap();
        assert!(words.contains(shown), "{words}");
    }
}

#[test]
fn codes_that_call_for_something_else_say_something_else() {
    let advice = |status| words(Outcome::HttpError(status)).split_once("; ").unwrap().1.to_owned();
    let all: BTreeSet<_> = [401, 404, 410, 413, 429, 500, 502, 503, 504].map(advice).into();
    assert_eq!(all.len(), 9, "{all:#?}");
    assert_eq!(advice(500), advice(418));
    for (status, wanted) in [
        (400, "Django: 2.5 MB"),
        (403, "csrf_exempt"),
        (407, "a proxy or portal"),
        (419, "Laravel"),
        (502, "responds in time"),
        (503, "in front cannot reach it"),
        (511, "a proxy or portal"),
        (520, "Cloudflare got no valid response"),
        (522, "Cloudflare timed out"),
        (526, "Cloudflare did not trust"),
        (530, "Cloudflare did not find"),
    ] {
        assert!(advice(status).contains(wanted), "{status}: {}", advice(status));
    }
}

#[test]
fn a_tls_port_that_gets_plain_http_is_named_as_such() {
    for body in ["The plain HTTP request was sent to HTTPS port", "Client sent an HTTP request to an HTTPS server."] {
        let response = Some(Response { headers: Vec::new(), body: body.into() });
        let attempt = Attempt { url: "http://crm.example/".into(), response, ..attempt(Outcome::HttpError(400)) };
        assert!(attempt.explanation().unwrap().ends_with("must begin with https"), "{:?}", attempt.explanation());
    }
    let url = "http://crm.example/".into();
    let alert = Attempt { url, ..attempt(Outcome::BadResponse("invalid HTTP version".to_owned())) };
    assert!(alert.explanation().unwrap().contains("if it is TLS"), "{:?}", alert.explanation());
}

#[test]
fn a_machine_without_a_way_to_the_address_is_not_told_to_look_at_the_endpoint() {
    assert!(words(Outcome::ConnectFailed(NO_ROUTE.to_owned())).contains("needs IPv6 here"));
}

#[test]
fn an_answer_that_does_not_count_says_so() {
    for status in [429, 503] {
        let (counted, uncounted) = (words(Outcome::HttpError(status)), words(Outcome::PushedBack(status)));
        assert!(uncounted.contains("does not count against the retry schedule"), "{uncounted}");
        assert!(!counted.contains("does not count"), "{counted}");
        assert_eq!(counted.split_once("; ").unwrap().1, uncounted.split_once("; ").unwrap().1);
    }
}

#[test]
fn a_redirect_names_where_it_leads_without_what_may_be_secret() {
    for (location, shown) in [
        ("https://new.example/hooks", " to https://new.example/hooks, which"),
        ("/login?next=%2Fhooks&token=secret#here", " to https://crm.example/login, which"),
        ("//me:secret@new.example/x?secret", " to https://new.example/x, which"),
        ("http://new.example/a; b\u{1b}[2J", " to http://new.example/a%3B%20b%1B[2J, which"),
        ("javascript:alert('secret')", "without a new address"),
        ("https://", "without a new address"),
    ] {
        let words = redirected_to(location);
        assert!(words.contains(shown) && !words.contains("secret"), "{words}");
    }
    assert!(words(Outcome::Redirected(304)).contains("without a new address"));
    assert!(redirected_to(&format!("/{}", "x".repeat(5000))).len() < 600);
}

#[test]
fn a_cause_that_an_earlier_version_recorded_gets_advice() {
    let words = words(Outcome::TlsFailed("its certificate has expired".to_owned()));
    assert!(words.contains("expired; check its certificate"), "{words}");
}
