//! Alerts by mail: plain nearby, else over TLS with the right certificate; and a mail server that fails holds up nothing.

use std::fs;

use serde_json::{Value, json};

use super::alerts::nothing_waits;
use super::mail_server::{MailServer, Manner, Protection};
use crate::harness::{Authority, Receiver, Reply, Server, clock_in, eventually, printed};

const ONCE: (&str, &str) = ("delivery.retry_schedule", "[]");
const TO: (&str, &str) = ("alerts.email_to", r#"["ops@example.com", "boss@example.com"]"#);
const FROM: (&str, &str) = ("alerts.email_from", r#""clock@example.com""#);
const AT_ONCE: (&str, &str) = ("alerts.failing_after", r#""0s""#);

/// Something that is told of: an endpoint that fails.
fn fail(server: &Server) -> Receiver {
    let receiver = Receiver::answering(|_| Reply::status(500));
    let client = server.client();
    client.subscribe(&receiver.url("/hook?token=s3cret-in-the-url"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "exhausted");
    receiver
}

#[test]
fn each_recipient_gets_a_mail_of_their_own_that_names_the_endpoint_and_shows_no_event() {
    let mail = MailServer::start(Protection::Plain, Manner::Takes);
    let server = Server::start(&[ONCE, TO, FROM, AT_ONCE, ("alerts.smtp", &mail.url("smtp"))]);
    let _receiver = fail(&server);
    // Failing, and given up: of each a mail to both.
    let taken = mail.wait_for(4);
    for to in ["ops@example.com", "boss@example.com"] {
        let own: Vec<_> = taken.iter().filter(|mail| mail.to.contains(to)).collect();
        assert_eq!(own.len(), 2, "{taken:?}");
        assert!(own[0].text.contains("Endpoint failing: subscription 1 of account default"), "{own:?}");
        assert!(own[1].text.contains("Delivery exhausted"), "{own:?}");
        for mail in own {
            assert!(
                mail.text.contains("From: clock@example.com") && mail.text.contains("Message-ID: <evt_"),
                "{mail:?}"
            );
            assert!(mail.text.contains("the endpoint answered 500"), "{mail:?}");
            for hidden in ["s3cret-in-the-url", "Ada Lovelace", "worker_id"] {
                assert!(!mail.text.contains(hidden), "{hidden} is in {mail:?}");
            }
        }
    }
    assert!(taken.iter().all(|mail| mail.login.is_none()));
}

#[test]
fn mail_goes_over_tls_to_whom_the_certificate_names_and_then_only_with_a_login() {
    let authority = Authority::new();
    let config = std::sync::Arc::new(authority.identity("localhost", |_| {}).server_config());
    let wrong = std::sync::Arc::new(authority.identity("elsewhere.test", |_| {}).server_config());
    for (scheme, protection, is_right) in [
        ("smtp+starttls", Protection::StartTls(config.clone()), true),
        ("smtps", Protection::Tls(config.clone()), true),
        ("smtps", Protection::Tls(wrong.clone()), false),
        ("smtp+starttls", Protection::StartTls(wrong.clone()), false),
        ("smtp+starttls", Protection::Plain, false),
    ] {
        let mail = MailServer::start(protection, Manner::Takes);
        let mut server = Server::stopped(&[TO, FROM, ("alerts.smtp", &mail.url(scheme))]);
        let login = server.folder().join("login");
        fs::write(&login, "clock:pa55:word\n").unwrap();
        let roots = authority.write_to(server.folder());
        server.configure(&[
            ("alerts.smtp_credentials_file", &format!("'{}'", login.display())),
            ("delivery.ca_certificates", &format!("'{}'", roots.display())),
        ]);
        let tried = server.cli(&["alerts", "test", "--json"]);
        assert_eq!(tried.code, Some(i32::from(!is_right)), "{scheme}: {tried:?}");
        let rows: Value = serde_json::from_str(&tried.stdout).unwrap();
        assert_eq!(rows["data"].as_array().unwrap().len(), 2, "{tried:?}");
        if is_right {
            assert!(mail.wait_for(2).iter().all(|mail| mail.login.as_deref() == Some(",clock,pa55:word")));
        } else {
            let error = rows["data"][0]["error"].as_str().unwrap();
            let expected = if scheme == "smtps" { "certificate" } else { "" };
            assert!(error.starts_with("the mail server") && error.contains(expected), "{error}");
            assert!(!tried.stdout.contains("pa55") && mail.taken().is_empty(), "{tried:?}");
        }
    }
}

#[test]
fn a_mail_server_that_hangs_or_refuses_holds_up_nothing_and_doctor_tells() {
    let hanging = MailServer::start(Protection::Plain, Manner::Hangs);
    let told = Receiver::start();
    let mut server = Server::stopped(&[ONCE, TO, FROM, AT_ONCE, ("alerts.smtp", &hanging.url("smtp"))]);
    let secret = server.folder().join("alert.secret");
    fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    server.configure(&[
        ("alerts.webhook_url", &format!("'{}'", told.url("/alerts"))),
        ("alerts.webhook_secret_file", &format!("'{}'", secret.display())),
    ]);
    server.launch();
    let _receiver = fail(&server);
    hanging.wait_for_a_caller();
    let names: Vec<_> = told.wait_for(2, "both alerts").iter().map(|sent| sent.json()["event"].clone()).collect();
    assert_eq!(names, ["alert.endpoint_failing", "alert.delivery_exhausted"]);
    // Nor does a stop wait for it.
    assert!(server.terminate().success());

    let refusing = MailServer::start(Protection::Plain, Manner::Refuses("451 later, please"));
    server.configure(&[("alerts.smtp", &refusing.url("smtp"))]);
    server.launch();
    let finding = eventually("doctor tells", || {
        let seen: Value = serde_json::from_str(&server.cli(&["doctor", "--json"]).stdout).unwrap();
        let all = seen["data"].as_array().unwrap().clone();
        all.into_iter().find(|finding| finding["check"] == "alerts" && finding["level"] == "problem")
    });
    let message = finding["message"].as_str().unwrap();
    assert!(message.starts_with("mail to ") && message.contains("later, please"), "{message}");
    assert!(message.contains("2 alerts wait"), "the webhook has them, and the mails wait: {message}");
    assert_eq!(told.requests().len(), 2, "what was told is not told again");

    // What waits arrives as soon as it can, once.
    assert!(server.terminate().success());
    let mail = MailServer::start(Protection::Plain, Manner::Takes);
    server.configure(&[("alerts.smtp", &mail.url("smtp"))]);
    server.launch();
    mail.wait_for(4);
    nothing_waits(&server);
    server.restart();
    let status = eventually("nothing waits", || {
        let seen = server.cli(&["doctor", "--json"]);
        let seen: Value = serde_json::from_str(&seen.stdout).unwrap();
        let all = seen["data"].as_array().unwrap().clone();
        all.into_iter().find(|finding| finding["check"] == "alerts" && finding["level"] == "ok")
    });
    assert!(status["message"].as_str().unwrap().contains(" 0 alerts wait"), "{status}");
    assert_eq!((mail.taken().len(), told.requests().len()), (4, 2));
}

#[test]
fn a_mail_that_is_refused_for_good_is_not_sent_again() {
    let mail = MailServer::start(Protection::Plain, Manner::Refuses("550 nobody here"));
    let server = Server::start(&[ONCE, TO, FROM, AT_ONCE, ("alerts.smtp", &mail.url("smtp"))]);
    let _receiver = fail(&server);
    let seen = eventually("both recipients were refused", || {
        let answer = server.cli(&["doctor", "--json"]);
        let seen: Value = serde_json::from_str(&answer.stdout).unwrap();
        let alerts: Vec<Value> =
            seen["data"].as_array().unwrap().iter().filter(|finding| finding["check"] == "alerts").cloned().collect();
        let is_told = |finding: &Value| finding["message"].as_str().unwrap().contains("(0 alerts waiting)");
        (alerts.len() == 2 && alerts.iter().all(is_told)).then_some(alerts)
    });
    assert!(seen[0]["message"].as_str().unwrap().contains("nobody here"), "{seen:?}");
}

#[test]
fn a_summary_waits_for_its_time_and_a_test_does_not() {
    let mail = MailServer::start(Protection::Plain, Manner::Takes);
    let now = jiff::Zoned::now();
    let later = now.checked_add(jiff::Span::new().hours(12)).unwrap();
    let time = format!("\"{:02}:{:02}\"", later.hour(), later.minute());
    let mut server =
        Server::stopped(&[ONCE, TO, FROM, AT_ONCE, ("alerts.smtp", &mail.url("smtp")), ("alerts.digest", &time)]);
    let clock = crate::harness::WallClock::of(&mut server);
    server.launch();
    let _receiver = fail(&server);
    let tried = server.cli(&["alerts", "test", "--json"]);
    assert_eq!(printed(&tried)["data"][0]["sent"], json!(true));
    mail.wait_for(2);
    clock.set(13 * 3600);
    let taken = mail.wait_for(4);
    let summaries: Vec<_> = taken[2..].iter().map(|mail| mail.text.contains("[tempclock-webhooks] 2 alerts")).collect();
    assert_eq!(summaries, [true, true], "{taken:?}");
}
