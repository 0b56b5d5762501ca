//! `doctor` finds what keeps a server from working, one line a finding, each with its fix.

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{
    Gate, Nobody, Output, Receiver, Reply, Server, WallClock, clock_in, eventually, run, write_program,
};

/// The findings, after looking at their form.
#[track_caller]
fn findings(output: &Output) -> Vec<Value> {
    let printed: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"));
    let findings = printed["data"].as_array().expect("a list").clone();
    for finding in &findings {
        let has_fix = finding["fix"].as_str().is_some_and(|fix| !fix.is_empty());
        assert_eq!(has_fix, finding["level"] != "ok", "{finding}");
    }
    let has_problem = findings.iter().any(|finding| finding["level"] == "problem");
    assert_eq!(output.code, Some(i32::from(has_problem)), "{findings:#?}");
    findings
}

/// The only finding, or the worst, of that check.
#[track_caller]
fn worst<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    let rank = |finding: &&Value| ["ok", "warning", "problem"].iter().position(|level| finding["level"] == *level);
    let of_check = findings.iter().filter(|finding| finding["check"] == check);
    of_check.max_by_key(rank).unwrap_or_else(|| panic!("nothing of {check} in {findings:#?}"))
}

#[track_caller]
fn assert_level(findings: &[Value], check: &str, level: &str) {
    assert_eq!(worst(findings, check)["level"], level, "{findings:#?}");
}

fn write_listen(server: &mut Server) {
    let listen = format!("\"{}\"", server.address());
    server.configure(&[("server.listen", &listen)]);
}

#[test]
fn every_subscription_is_looked_at_however_many_there_are() {
    let mut server = Server::start(&[("limits.subscriptions_per_account", "200")]);
    write_listen(&mut server);
    let client = server.client();
    let ids: Vec<i64> = (0..105).map(|_| client.subscribe("http://127.0.0.1:9/", &["clock_in"]).id).collect();
    for id in [ids[0], ids[104]] {
        client.change(id, &json!({"active": false}));
    }
    let seen = findings(&server.cli(&["doctor", "--json"]));
    let message = worst(&seen, "endpoints")["message"].as_str().unwrap();
    assert!(message.starts_with("disabled: 2 of 105: "), "{message}");
}

#[test]
fn a_server_that_works_has_no_problem() {
    let mut server = Server::start(&[]);
    write_listen(&mut server);
    let (receiver, client) = (Receiver::start(), server.client());
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
    let key = server.key("webhooks:read,events:read");
    let seen = findings(&server.cli(&["doctor", "--json", "--api-key", &key]));
    for check in ["data folder", "disk", "server", "clock", "queue", "dns", "connection"] {
        assert_level(&seen, check, "ok");
    }
    assert!(worst(&seen, "clock")["message"].as_str().unwrap().contains("newest event"), "{seen:#?}");
    // The tests' own configuration opens loopback and plain http, which is worth a word.
    assert_level(&seen, "configuration", "warning");
    let text = server.cli(&["doctor", "--api-key", &key]);
    assert_eq!(text.code, Some(0), "{text:?}");
    assert_eq!(text.stdout.lines().count(), seen.len(), "{}", text.stdout);
    for line in text.stdout.lines() {
        let word = line.split(' ').next().unwrap();
        assert!(["ok", "warning"].contains(&word), "{line}");
        assert_eq!(word == "warning", line.contains("Fix: "), "{line}");
    }
    assert!(!text.stdout.contains(&key) && !text.stdout.contains('\u{1b}'), "{}", text.stdout);
    let wrong = findings(&server.cli(&["doctor", "--json", "--api-key", "tc_live_0"]));
    assert_level(&wrong, "queue", "problem");
    for check in ["queue", "dns", "connection"] {
        let none = findings(&server.cli(&["doctor", "--json"]));
        assert_level(&none, check, "ok");
        assert!(worst(&none, "clock")["message"].as_str().unwrap().contains("newest event"), "{none:#?}");
    }
    server.configure(&[("server.listen", "\"127.0.0.1:0\"")]);
    assert_level(&findings(&server.cli(&["doctor", "--json"])), "queue", "ok");
    let url = format!("http://{}", server.address());
    let elsewhere = findings(&server.cli(&["doctor", "--json", "--api-url", &url]));
    assert_level(&elsewhere, "queue", "warning");
}

#[test]
fn a_server_that_is_down_is_a_problem_and_its_file_is_looked_at_untouched() {
    let mut server = Server::start(&[]);
    write_listen(&mut server);
    let client = server.client();
    let off = client.subscribe("http://127.0.0.1:1/", &["clock_out"]).id;
    client.change(off, &json!({"active": false}));
    client.subscribe("http://127.0.0.1:1/", &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.delivery_ids(&event).remove(0);
    client.wait_for_delivery(&delivery, "has failed", |delivery| !delivery["error"].is_null());
    assert!(server.terminate().success());
    let database = server.data_dir().join("tempclock.redb");
    let before = fs::read(&database).unwrap();
    let seen = findings(&server.cli(&["doctor", "--json"]));
    assert_level(&seen, "server", "problem");
    assert!(worst(&seen, "server")["fix"].as_str().unwrap().contains("systemctl start"), "{seen:#?}");
    let endpoints: Vec<&str> =
        seen.iter().filter_map(|f| f["message"].as_str().filter(|_| f["check"] == "endpoints")).collect();
    assert!(endpoints.iter().any(|text| text.starts_with("disabled: 1 of 2")), "{seen:#?}");
    assert!(endpoints.iter().any(|text| text.starts_with("failing: 1 of 2")), "{seen:#?}");
    assert_level(&seen, "connection", "problem");
    assert!(seen.iter().all(|finding| finding["check"] != "tls"), "no endpoint has https: {seen:#?}");
    assert!(fs::read(&database).unwrap() == before, "the database was changed");
}

#[test]
fn an_endpoint_that_fails_is_named_with_its_account_also_when_nothing_waits_for_it() {
    let mut server = Server::start(&[("delivery.retry_schedule", "[]")]);
    write_listen(&mut server);
    let client = server.client_of("north");
    client.subscribe("http://127.0.0.1:1/", &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "exhausted");
    assert!(client.get("/webhooks").expect(200).rows()[0]["failing_since"].is_string());
    let listed = server.cli(&["subscriptions", "list", "--account", "north"]);
    assert!(listed.stdout.contains("failing"), "{listed:?}");
    for is_up in [true, false] {
        if !is_up {
            assert!(server.terminate().success());
        }
        let seen = findings(&server.cli(&["doctor", "--json"]));
        let message = worst(&seen, "endpoints")["message"].as_str().unwrap();
        assert!(message.starts_with("failing: 1 of 1: 1 of account north since 20"), "{message}");
    }
}

#[test]
fn a_feed_is_behind_when_nobody_reads_it_and_its_events_are_never_overdue() {
    let mut server = Server::stopped(&[]);
    let clock = WallClock::of(&mut server);
    server.launch();
    write_listen(&mut server);
    let client = server.client_with(&server.key("*"));
    let feed = || {
        let made = client.post("/webhooks", &json!({"events": ["clock_in"], "mode": "pull"})).expect(201);
        made.data()["id"].clone()
    };
    let (id, _) = (feed(), feed());
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.delivery_ids(&event).remove(0);
    assert_eq!(client.delivery(&delivery)["next_attempt_at"], Value::Null);
    assert_level(&findings(&server.cli(&["doctor", "--json"])), "feeds", "ok");
    let read = client.get(&format!("/feeds/{id}")).expect(200);
    let cursor = &read.json["pagination"]["next_cursor"];
    clock.set(3600);
    let assert_one_is_behind = |server: &Server| {
        let seen = findings(&server.cli(&["doctor", "--json"]));
        assert_level(&seen, "queue", "ok");
        assert_level(&seen, "feeds", "warning");
        let message = worst(&seen, "feeds")["message"].as_str().unwrap();
        assert!(message.starts_with("behind: 1 of 2: 2 of account default since 20"), "{message}");
    };
    client.post(&format!("/feeds/{id}/ack"), &json!({"cursor": cursor})).expect(200);
    assert_one_is_behind(&server);
    server.terminate();
    assert_one_is_behind(&server);
}

#[test]
fn many_subscriptions_are_named_by_their_numbers_in_order_and_what_is_left_out_is_counted() {
    let mut server = Server::start(&[]);
    write_listen(&mut server);
    let client = server.client();
    for port in 1..=12 {
        let id = client.subscribe(&format!("http://127.0.0.1:{port}/"), &["clock_out"]).id;
        client.change(id, &json!({"active": false}));
    }
    let seen = findings(&server.cli(&["doctor", "--json"]));
    let off = worst(&seen, "endpoints");
    let message = off["message"].as_str().unwrap();
    let numbers: Vec<_> =
        message.split(": ").nth(2).unwrap().split(", ").map(|part| part.split(' ').next().unwrap()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "and"], "{message}");
    assert!(message.ends_with("and 2 more"), "{message}");
    assert!(off["fix"].as_str().unwrap().contains("subscriptions resume"), "{off}");
    let tried = seen.iter().any(|finding| finding["message"].as_str().unwrap().starts_with("3 of 12 hosts"));
    assert!(tried, "{seen:#?}");
    let config = server.config_file();
    let narrow = run(&["doctor", "--config", config.to_str().unwrap()], &[("COLUMNS", "80")]);
    assert!(narrow.stdout.lines().any(|line| line.starts_with("        ")), "{}", narrow.stdout);
    let long = narrow.stdout.lines().filter(|line| line.chars().count() > 80);
    assert_eq!(long.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_server_that_is_stopping_answers_commands_and_is_not_taken_for_one_that_is_down() {
    let mut server = Server::start(&[("delivery.timeout", r#""10m""#), ("delivery.drain", r#""10m""#)]);
    write_listen(&mut server);
    let (gate, client) = (Gate::default(), server.client());
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| Reply::Held(held.clone(), 200));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "the attempt");
    server.ask_to_stop();
    let seen = eventually("it is seen to stop", || {
        let seen = findings(&server.cli(&["doctor", "--json"]));
        Some(seen).filter(|seen| worst(seen, "server")["level"] == "problem")
    });
    assert!(worst(&seen, "server")["message"].as_str().unwrap().contains("stopping"), "{seen:#?}");
    let listed = server.cli(&["events", "list"]);
    assert!(listed.code == Some(0) && listed.stdout.contains(&event), "{listed:?}");
    gate.open();
    assert!(server.wait_for_exit().success());
    let seen = findings(&server.cli(&["doctor", "--json"]));
    assert!(worst(&seen, "server")["message"].as_str().unwrap().contains("does not respond"), "{seen:#?}");
}

#[test]
fn a_configuration_that_is_not_valid_is_told_error_by_error() {
    let mut server = Server::stopped(&[("delivery.threads", "0")]);
    server.configure(&[("delivery.timeout", "\"soon\"")]);
    let seen = findings(&server.cli(&["doctor", "--json"]));
    assert_eq!(seen.len(), 2, "{seen:#?}");
    assert!(seen.iter().all(|finding| finding["check"] == "configuration"), "{seen:#?}");
}

#[test]
fn rights_that_let_others_in_a_full_disk_and_a_missing_folder_are_found() {
    let mut server = Server::stopped(&[("server.listen", "\"127.0.0.1:1\"")]);
    let seen = findings(&server.cli(&["doctor", "--json"]));
    assert_level(&seen, "data folder", "problem");
    let fix = worst(&seen, "data folder")["fix"].as_str().unwrap();
    assert!(fix.contains("move it back") && fix.contains("for a new one"), "it may have been moved away: {fix}");
    assert!(!server.data_dir().exists(), "doctor made the folder");
    assert_eq!(server.cli(&["init"]).code, Some(0));
    let seen = findings(&server.cli(&["doctor", "--json"]));
    assert_level(&seen, "data folder", "ok");
    assert_level(&seen, "dns", "ok");
    fs::set_permissions(server.data_dir(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(server.data_dir().join("tempclock.redb"), Permissions::from_mode(0o644)).unwrap();
    server.configure(&[("storage.free_space_reserve", "\"1TiB\"")]);
    let seen = findings(&server.cli(&["doctor", "--json"]));
    let open: Vec<&str> =
        seen.iter().filter_map(|finding| finding["fix"].as_str().filter(|fix| fix.starts_with("chmod"))).collect();
    assert_eq!(open.len(), 2, "{seen:#?}");
    assert!(open[0].starts_with("chmod 700 ") && open[1].starts_with("chmod 600 "), "{open:?}");
    assert_level(&seen, "disk", "problem");
}

#[test]
fn every_file_that_the_configuration_names_is_opened_and_every_one_that_is_no_good_is_named_by_its_key() {
    let mut server = Server::stopped(&[("server.listen", "\"127.0.0.1:1\"")]);
    let empty = server.folder().join("empty.pem");
    fs::write(&empty, "nothing").unwrap();
    let there = format!("'{}'", empty.display());
    let gone = format!("'{}'", server.folder().join("gone.pem").display());
    for file in [&there, &gone] {
        server.configure(&[
            ("server.tls_certificate", file),
            ("server.tls_key", file),
            ("delivery.ca_certificates", file),
            ("storage.encryption_key_file", file),
        ]);
        let checked = server.cli(&["config", "check"]);
        assert_eq!(checked.code, Some(3), "{checked:?}");
        let seen = findings(&server.cli(&["doctor", "--json"]));
        for key in
            ["server.tls_certificate", "server.tls_key", "delivery.ca_certificates", "storage.encryption_key_file"]
        {
            let lines = checked.stderr.lines().filter(|line| line.starts_with(key));
            assert_eq!(lines.count(), 1, "{key}: {checked:?}");
            let of_files = seen.iter().filter(|finding| finding["check"] == "files" && finding["level"] == "problem");
            let named = of_files.filter(|finding| finding["message"].as_str().unwrap().starts_with(key));
            assert_eq!(named.count(), 1, "{key}: {seen:#?}");
        }
    }
}

#[test]
fn a_key_in_the_place_of_its_file_is_not_shown() {
    let key = "3f1c9a5e7b2d4f6081a3c5e7f90b1d2f";
    let server = Server::stopped(&[("storage.encryption_key_file", &format!("\"{key}\""))]);
    for arguments in [
        vec!["doctor"],
        vec!["doctor", "--json"],
        vec!["config", "check"],
        vec!["config", "show"],
        vec!["config", "show", "--json"],
    ] {
        let output = server.cli(&arguments);
        assert!(!format!("{output:?}").contains(key), "{arguments:?}: {output:?}");
        assert!(!output.stdout.is_empty() || arguments.contains(&"check"), "{output:?}");
    }
}

#[test]
fn another_program_at_the_address_and_a_host_that_is_not_there_are_found() {
    let other = Receiver::start();
    let mut server = Server::stopped(&[("server.listen", &format!("\"127.0.0.1:{}\"", other.port()))]);
    assert_eq!(server.cli(&["init"]).code, Some(0));
    let seen = findings(&server.cli(&["doctor", "--json", "--host", "nobody.invalid"]));
    assert!(worst(&seen, "server")["message"].as_str().unwrap().contains("another program"), "{seen:#?}");
    assert_level(&seen, "dns", "problem");
    server.configure(&[("delivery.allow_networks", "")]);
    let seen = findings(&server.cli(&["doctor", "--json", "--host", "127.0.0.1:1"]));
    assert!(worst(&seen, "dns")["fix"].as_str().unwrap().contains("allow_networks"), "{seen:#?}");
}

#[test]
fn a_server_with_another_data_folder_is_not_taken_for_this_one() {
    let other = Server::start(&[]);
    let server = Server::stopped(&[("server.listen", &format!("\"{}\"", other.address()))]);
    assert_eq!(server.cli(&["init"]).code, Some(0));
    let seen = findings(&server.cli(&["doctor", "--json"]));
    let found = worst(&seen, "server");
    assert_eq!(found["level"], "warning", "{seen:#?}");
    let message = found["message"].as_str().unwrap();
    assert!(
        message.contains(server.data_dir().to_str().unwrap()) && message.contains("another data folder"),
        "{found}"
    );
    assert!(seen.iter().any(|finding| finding["check"] == "secrets"), "{seen:#?}");
}

#[test]
fn tls_is_tried_for_real_and_a_host_that_says_nothing_does_not_hold_it_up() {
    let names = vec!["localhost".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // Whether the other side likes the certificate is its own affair.
            let _ = connection.complete_io(&mut stream);
            let _ = stream.read(&mut [0]);
        }
    });
    let mut server = Server::stopped(&[("server.listen", "\"127.0.0.1:1\"")]);
    assert_eq!(server.cli(&["init"]).code, Some(0));
    let seen = findings(&server.cli(&["doctor", "--json", "--host", &host]));
    assert!(worst(&seen, "tls")["fix"].as_str().unwrap().contains("ca_certificates"), "{seen:#?}");
    let trusted = server.folder().join("own.pem");
    fs::write(&trusted, cert.pem()).unwrap();
    server.configure(&[("delivery.ca_certificates", &format!("'{}'", trusted.display()))]);
    assert_level(&findings(&server.cli(&["doctor", "--json", "--host", &host])), "tls", "ok");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("127.0.0.1:{}", silent.local_addr().unwrap().port());
    assert_level(&findings(&server.cli(&["doctor", "--json", "--host", &host])), "tls", "problem");
}

#[test]
fn a_refused_connection_is_told_without_a_number_of_the_system() {
    let server = Server::start(&[]);
    let nobody = Nobody::new();
    let seen = findings(&server.cli(&["doctor", "--json", "--host", &nobody.url("/")]));
    let message = worst(&seen, "connection")["message"].as_str().unwrap();
    assert!(message.ends_with("cannot be connected to: connection refused"), "{message}");
}

#[test]
fn the_unit_is_judged_by_what_systemd_says_of_it() {
    let server = Server::stopped(&[("server.listen", "\"127.0.0.1:1\"")]);
    assert_eq!(server.cli(&["init"]).code, Some(0));
    let hardened = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\n\
        User=tempclock-webhooks\nNRestarts=0\nNoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\n\
        PrivateDevices=yes\nMemoryDenyWriteExecute=yes";
    let soft = hardened.replace("ProtectHome=yes", "ProtectHome=no").replace("enabled", "disabled");
    let broken = hardened.replace("ActiveState=active", "ActiveState=failed");
    for (answer, code, level, said) in [
        (hardened, 0, "ok", "runs"),
        (&soft, 0, "warning", "ProtectHome=yes"),
        (&broken, 0, "problem", "failed"),
        ("LoadState=not-found", 0, "warning", "not installed"),
        ("", 1, "ok", "systemd does not run"),
    ] {
        let systemctl = server.folder().join("systemctl");
        write_program(&systemctl, format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit {code}\n").as_bytes());
        let path = format!("{}:/usr/bin:/bin", server.folder().display());
        let config = server.config_file();
        let output = run(&["doctor", "--json", "--config", config.to_str().unwrap()], &[("PATH", &path)]);
        let seen = findings(&output);
        assert_level(&seen, "unit", level);
        let all = seen.iter().filter(|finding| finding["check"] == "unit").map(|finding| &finding["message"]);
        assert!(all.clone().any(|message| message.as_str().unwrap().contains(said)), "{said}: {seen:#?}");
    }
}
