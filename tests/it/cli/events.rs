//! Events on the command line: from the arguments, a file or stdin, one or many, with the server and without it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{BINARY, Output, Receiver, Server, clock_in, printed, run};

/// A file of so many whole events, one a line.
fn lines(server: &Server, name: &str, first: u64, count: u64) -> String {
    let mut text = String::new();
    for entry in first..first + count {
        writeln!(text, "{}", json!({"event": "clock_in", "data": clock_in(entry), "id": entry})).unwrap();
    }
    write(server, name, &text)
}

fn write(server: &Server, name: &str, text: &str) -> String {
    let path = server.folder().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs a command with something on stdin.
fn with_stdin(server: &Server, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .arg("--config")
        .arg(server.config_file())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn publish_each_way(server: &Server) -> Vec<String> {
    let data = clock_in(1).to_string();
    let publish = ["events", "publish", "--json"];
    let one = printed(&server.cli(&[&publish[..], &["--event", "clock_in", "--data", &data]].concat()));
    assert_eq!(one["data"]["event"], "clock_in");
    assert_eq!(one["data"]["deliveries"], 1);
    assert_eq!(one["data"]["duplicate"], false);
    let whole = json!({"event": "clock_in", "data": clock_in(2)}).to_string();
    let file = write(server, "one.json", &format!("\n  {whole}\n\n"));
    let from_file = printed(&server.cli(&[&publish[..], &["--file", &file]].concat()));
    let from_stdin = printed(&with_stdin(server, &publish, &whole));
    let dash = printed(&with_stdin(server, &[&publish[..], &["--file", "-"]].concat(), &whole));
    let answers = [one, from_file, from_stdin, dash];
    let mut ids: Vec<String> = answers.iter().map(|answer| answer["data"]["id"].as_str().unwrap().to_owned()).collect();
    let file = write(server, "array.json", &format!("[{whole},\n{whole}]"));
    let array = printed(&server.cli(&[&publish[..], &["--file", &file]].concat()));
    ids.extend(array["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
    assert_eq!(ids.len(), 6);

    let plain = server.cli(&["events", "publish", "--event", "clock_in", "--data", &data]);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    ids.push(plain.stdout.trim_end().to_owned());
    let listed = printed(&server.cli(&["events", "list", "--event", "clock_in", "--since", "1h", "--json"]));
    let listed: Vec<&str> = listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    for id in &ids {
        assert!(listed.contains(&id.as_str()), "{id} is not among {listed:?}");
        let shown = printed(&server.cli(&["events", "show", id, "--json"]));
        assert_eq!(shown["data"]["deliveries"].as_array().unwrap().len(), 1);
    }
    let table = server.cli(&["events", "show", &ids[0]]);
    assert!(table.stdout.contains("Ada Lovelace") && table.stdout.contains("dlv_"), "{table:?}");
    let later = printed(&server.cli(&["events", "list", "--until", "1h", "--json"]));
    assert_eq!(later["data"], json!([]));
    ids
}

#[test]
fn events_are_published_from_anywhere_and_those_published_without_the_server_go_out_when_it_starts() {
    let mut server = Server::start(&[]);
    let receiver = Receiver::start();
    server.client().subscribe(&receiver.url("/"), &["clock_in"]);
    publish_each_way(&server);
    assert!(server.terminate().success());
    let ids = publish_each_way(&server);
    server.launch();
    let client = server.client();
    for id in ids {
        client.settled(&id, "delivered");
    }
    client.wait_for_total("/deliveries?status=delivered", 14);
}

#[test]
fn many_events_go_in_batches_and_lists_go_on_beyond_a_page() {
    let server = Server::start(&[]);
    let client = server.client();
    let file = lines(&server, "many.ndjson", 0, 2500);
    let published = printed(&server.cli(&["events", "publish", "--file", &file, "--json"]));
    let rows = published["data"].as_array().unwrap();
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2500);
    assert_eq!(client.total("/events"), 2500);

    let again = server.cli(&["events", "publish", "--file", &file]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(
        again.stdout.contains("0 events published, 0 deliveries; 2500 had been published before"),
        "{}",
        again.stdout
    );
    assert_eq!(client.total("/events"), 2500);

    let listed = printed(&server.cli(&["events", "list", "--limit", "1234", "--json"]));
    let listed: BTreeSet<&str> =
        listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(listed.len(), 1234);
    assert!(listed.is_subset(&ids));
}

#[test]
fn a_wrong_event_among_many_is_named_by_its_place_and_what_was_published_is_told() {
    let server = Server::start(&[]);
    let client = server.client();
    let good = fs::read_to_string(lines(&server, "good.ndjson", 0, 1002)).unwrap();
    let file = write(&server, "bad.ndjson", &format!("{good}{{\"event\":\"clock_inn\",\"data\":{{}}}}\n"));
    let refused = server.cli(&["events", "publish", "--file", &file]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("event 1003: event"), "{}", refused.stderr);
    assert!(refused.stderr.contains("first 1000 events were published"), "{}", refused.stderr);
    assert_eq!(client.total("/events"), 1000);
    // What has been published can be read also when the rest was refused.
    let refused = server.cli(&["events", "publish", "--file", &file, "--json"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let rows: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(rows["data"].as_array().unwrap().len(), 1000);

    let cut = write(&server, "cut.ndjson", &format!("{}\n{{\"event\":", good.lines().next().unwrap()));
    let refused = server.cli(&["events", "publish", "--file", &cut]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("not JSON"), "{}", refused.stderr);
}

#[test]
fn an_event_with_an_id_of_its_own_is_stored_once_and_its_data_is_shown_as_it_was_given() {
    let server = Server::start(&[]);
    let client = server.client();
    let data = r#"{"worker_name":"Ada", "worker_id":7,"rate":12.50,"big":123456789012345678901234567890}"#;
    let publish = ["events", "publish", "--event", "worker_created", "--data", data, "--id", "7-hired"];
    let first = server.cli(&publish);
    assert_eq!(first.code, Some(0), "{first:?}");
    let second = server.cli(&publish);
    assert_eq!(second.stdout, first.stdout);
    assert!(second.stderr.contains("published before"), "{}", second.stderr);
    assert_eq!(client.total("/events"), 1);
    let shown = printed(&server.cli(&["events", "show", first.stdout.trim_end(), "--json"]));
    // The day on which it was stored, which may be over by now.
    let today = shown["data"]["created_at"].as_str().unwrap()[..10].to_owned();
    for arguments in [vec!["events", "show", first.stdout.trim_end()], vec!["events", "list", "--since", &today]] {
        for arguments in [arguments.clone(), [arguments, vec!["--json"]].concat()] {
            let shown = server.cli(&arguments);
            assert!(shown.stdout.contains(data), "{}", shown.stdout);
        }
    }
    let none = printed(&server.cli(&["events", "list", "--until", &today, "--json"]));
    assert_eq!(none["data"], json!([]), "something was stored before today began");
    let zero = server.cli(&["events", "list", "--limit", "0"]);
    assert_eq!(zero.code, Some(2), "{zero:?}");
    assert!(zero.stderr.contains("must be an integer from 1 on"), "{}", zero.stderr);
    let other = server.cli(&["events", "publish", "--event", "worker_created", "--data", "{}", "--id", "x"]);
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.stderr.contains("worker_id") && other.stderr.contains("worker_name"), "{}", other.stderr);
}

#[test]
fn an_event_that_is_missing_or_given_twice_is_wrong_usage() {
    let server = Server::start(&[]);
    server.key("*");
    let file = write(&server, "empty.json", " \n ");
    let id = ["events", "publish", "--event", "ping", "--data", "{} {}", "--id", "1"];
    for (arguments, wanted) in [
        (vec!["events", "publish"], "no event"),
        (vec!["events", "publish", "--file", &file], "no event"),
        (vec!["events", "publish", "--data", "{}", "--file", &file], "cannot be used with"),
        (vec!["events", "publish", "--data", "nonsense"], "not JSON"),
        (vec!["events", "publish", "--data", "{}", "--id", "1"], "--event"),
        (id.to_vec(), "--id"),
    ] {
        let refused = server.cli(&arguments);
        assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(wanted), "{arguments:?}: {}", refused.stderr);
    }
    let absent = server.cli(&["events", "publish", "--file", "/nowhere.json"]);
    assert_eq!(absent.code, Some(1), "{absent:?}");
    assert_eq!(server.cli(&["events", "show", "evt_/../../keys"]).code, Some(5));
}

#[test]
fn the_event_types_are_those_of_the_api_and_need_no_server() {
    let server = Server::start(&[]);
    let types = printed(&run(&["events", "types", "--json"], &[]));
    assert_eq!(types, server.client().get("/event-types").expect(200).json);
    let table = run(&["events", "types"], &[]);
    assert!(table.stdout.contains("document_expired") && table.stdout.contains("expired_on"), "{table:?}");
}
