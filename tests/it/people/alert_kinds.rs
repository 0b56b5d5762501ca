//! Alerts of what is no endpoint's failure: held deliveries that expire, a full disk, certificates that end; and where an
//! alert never goes.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::alerts::{nothing_waits, server_that_tells};
use super::mail_server::{MailServer, Manner, Protection};
use crate::harness::{Identity, Receiver, Server, clock_in, eventually, hosts, on_an_island, printed};

/// The largest reserve there is; no disk of a test has as much free.
const FULL: (&str, &str) = ("storage.free_space_reserve", r#""1TiB""#);

fn message(alert: &Value) -> &str {
    alert["data"]["message"].as_str().unwrap()
}

#[test]
fn deliveries_that_expire_because_they_were_held_for_too_long_are_told_of() {
    let told = Receiver::start();
    let mut server = server_that_tells(&told, &[("retention.held", r#""100ms""#)]);
    server.launch();
    let client = server.client();
    let id = client.subscribe("http://127.0.0.1:9/hook?token=s3cret", &["clock_in"]).id;
    client.change(id, &json!({"active": false})).expect(200);
    client.settled(&client.publish("clock_in", &clock_in(1)), "expired");
    let alert = told.wait_for(1, "the alert").remove(0);
    let envelope = alert.json();
    assert_eq!(
        (&envelope["event"], &envelope["data"]["subscription_id"]),
        (&json!("alert.delivery_expired"), &json!(id))
    );
    assert!(message(&envelope).contains("retention.held") && !alert.text().contains("s3cret"), "{envelope}");
    // Others that expire soon afterwards are not told of again.
    client.settled(&client.publish("clock_in", &clock_in(2)), "expired");
    nothing_waits(&server);
    assert_eq!(told.requests().len(), 1);
}

#[test]
fn a_disk_without_room_is_told_of_once_and_again_neither_after_a_restart_nor_when_there_is_room() {
    let told = Receiver::start();
    let mut server = server_that_tells(&told, &[FULL]);
    server.launch();
    let client = server.client();
    let alert = told.wait_for(1, "the alert").remove(0).json();
    assert_eq!(alert["event"], "alert.disk_low");
    assert!(message(&alert).contains("storage.free_space_reserve"), "{alert}");
    assert_eq!(alert["data"]["subscription_id"], Value::Null);
    assert_eq!(client.try_publish(&[1]).unwrap().status, 503);
    nothing_waits(&server);
    for reserve in [FULL.1, r#""0""#] {
        server.configure(&[("storage.free_space_reserve", reserve)]);
        server.restart();
        // A commit at least.
        server.key("*");
        nothing_waits(&server);
        assert_eq!(told.requests().len(), 1, "with a reserve of {reserve}");
    }
    server.client().publish("clock_in", &clock_in(1));
}

#[test]
fn a_disk_without_room_waits_for_no_summary() {
    let mail = MailServer::start(Protection::Plain, Manner::Takes);
    let later = jiff::Zoned::now().checked_add(jiff::Span::new().hours(12)).unwrap();
    let server = Server::start(&[
        FULL,
        ("alerts.email_to", r#"["ops@example.com"]"#),
        ("alerts.email_from", r#""clock@example.com""#),
        ("alerts.smtp", &mail.url("smtp")),
        ("alerts.digest", &format!("\"{:02}:{:02}\"", later.hour(), later.minute())),
        ("alerts.backup_missed_after", r#""100ms""#),
    ]);
    // Two alerts, of which only one is urgent.
    server.key("*");
    let taken = mail.wait_for(1);
    assert!(taken[0].text.contains("Disk nearly full"), "{taken:?}");
    let seen = eventually("the other one waits", || {
        let said = server.cli(&["doctor", "--json"]).stdout;
        said.contains(" 1 alerts wait").then_some(said)
    });
    assert_eq!(mail.taken().len(), 1, "{seen}");
}

#[test]
fn a_certificate_of_the_server_or_for_a_receiver_that_ends_within_two_weeks_is_told_of_once() {
    let in_days = |days: u64| SystemTime::now() + Duration::from_hours(24 * days);
    let told = Receiver::start();
    let mut server = server_that_tells(&told, &[]);
    let soon = Identity::self_signed("localhost", |params| params.not_after = in_days(10).into());
    let good = Identity::self_signed("localhost", |params| params.not_after = in_days(30).into());
    let [certificate, key] = soon.write_to(server.folder(), "own").map(|path| format!("'{}'", path.display()));
    server.configure(&[("server.tls_certificate", &certificate), ("server.tls_key", &key)]);
    let declared = [("ends", &soon), ("lasts", &good)].map(|(name, identity)| {
        let [certificate, key] = identity.write_to(server.folder(), name);
        let (certificate, key) = (certificate.display(), key.display());
        format!(
            "{{name = \"{name}\", certificate = '{certificate}', key = '{key}', hosts = [\"localhost\"], accounts = [\"default\"]}}"
        )
    });
    server.configure(&[("delivery.client_certificate", &format!("[{}]", declared.join(", ")))]);
    server.launch();
    let alerts: Vec<Value> = told.wait_for(2, "both alerts").iter().map(|alert| alert.json()).collect();
    for alert in &alerts {
        assert_eq!(alert["event"], "alert.certificate_ends");
        assert!(message(alert).contains("expires on "), "{alert}");
    }
    let about = |words: &str| alerts.iter().filter(|alert| message(alert).contains(words)).count();
    assert_eq!((about("server.tls_certificate"), about("ends.pem"), about("lasts.pem")), (1, 1, 0), "{alerts:?}");
    nothing_waits(&server);
    server.restart();
    nothing_waits(&server);
    assert_eq!(told.requests().len(), 2);
}

#[test]
fn an_alert_never_goes_into_a_forbidden_network_whatever_a_name_leads_to() {
    on_an_island("people::alert_kinds::an_alert_never_goes_into_a_forbidden_network_whatever_a_name_leads_to", || {
        hosts("10.0.0.1 alerts.example\n127.0.0.1 localhost\n");
        let told = Receiver::at("10.0.0.1:0");
        let mut server = server_that_tells(&told, &[("delivery.allow_networks", "[]")]);
        let url = format!("'http://alerts.example:{}/alerts'", told.port());
        server.configure(&[("alerts.webhook_url", &url)]);
        let refused = server.cli(&["alerts", "test", "--json"]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let row = &serde_json::from_str::<Value>(&refused.stdout).unwrap()["data"][0];
        assert!(row["error"].as_str().unwrap().contains("which is not allowed"), "{row}");
        assert_eq!(told.connections(), 0);
        server.configure(&[("delivery.allow_networks", r#"["10.0.0.0/8"]"#)]);
        assert_eq!(printed(&server.cli(&["alerts", "test", "--json"]))["data"][0]["sent"], true);
    });
}
