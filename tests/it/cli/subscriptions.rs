//! Subscriptions on the command line: with the server running and with it stopped, for people and for programs.

use serde_json::{Value, json};

use crate::harness::{Receiver, Server, assert_has_fields, printed};

fn whole_life(server: &Server, receiver: &Receiver) {
    let url = receiver.url("/life");
    let made = server.cli(&["subscriptions", "create", "--url", &url, "--events", "clock_in,clock_out", "--json"]);
    let made = printed(&made)["data"].clone();
    assert_has_fields(&made, &["id", "url", "events", "active", "description", "secret", "created_at", "updated_at"]);
    assert_eq!(made["events"], json!(["clock_in", "clock_out"]));
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 64);
    let id = made["id"].to_string();

    let listed = server.cli(&["subscriptions", "list", "--json"]);
    assert!(!listed.stdout.contains(secret), "the secret is listed");
    let listed = printed(&listed);
    assert!(listed["data"].as_array().unwrap().iter().any(|row| row["id"] == made["id"]), "{listed:#}");
    assert_has_fields(&listed["pagination"], &["total", "limit", "offset", "has_more"]);
    let table = server.cli(&["subscriptions", "list"]);
    assert!(table.stdout.contains(&url) && table.stdout.starts_with("ID"), "{table:?}");

    let events = ["subscriptions", "update", &id, "--events", "*", "--description", "All for payroll", "--json"];
    let changed = printed(&server.cli(&events));
    assert_eq!(changed["data"]["description"], "All for payroll");
    assert_eq!(changed["data"]["url"], url.as_str());
    let paused = server.cli(&["subscriptions", "pause", &id]);
    assert!(paused.code == Some(0) && paused.stdout.contains("disabled"), "{paused:?}");
    let shown = printed(&server.cli(&["subscriptions", "show", &id, "--json"]));
    assert_eq!(shown["data"]["active"], false);
    assert_eq!(printed(&server.cli(&["subscriptions", "resume", &id, "--json"]))["data"]["active"], true);

    let before = receiver.requests_to("/life").len();
    let tested = printed(&server.cli(&["subscriptions", "test", &id, "--json"]));
    assert_eq!(tested["data"]["success"], true);
    assert_eq!(receiver.requests_to("/life").len(), before + 1, "pings that came");
    let shown = server.cli(&["subscriptions", "show", &id]);
    assert!(shown.stdout.contains("ping") && shown.stdout.contains("delivered"), "{shown:?}");

    let unasked = server.cli(&["subscriptions", "delete", &id]);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    assert_eq!(server.cli(&["subscriptions", "show", &id]).code, Some(0), "deleted without a yes");
    let deleted = printed(&server.cli(&["subscriptions", "delete", &id, "--yes", "--json"]));
    assert_eq!(deleted["data"], json!({"id": made["id"], "deleted": true}));
    for command in ["show", "pause", "resume", "test"] {
        let gone = server.cli(&["subscriptions", command, &id]);
        assert_eq!(gone.code, Some(5), "{command}: {gone:?}");
        assert!(gone.stderr.contains("not found") && gone.stdout.is_empty(), "{command}: {gone:?}");
    }
}

#[test]
fn a_subscription_lives_its_whole_life_on_the_command_line_with_the_server_and_without_it() {
    let mut server = Server::start(&[]);
    server.key("*");
    let receiver = Receiver::start();
    whole_life(&server, &receiver);
    assert!(server.terminate().success());
    whole_life(&server, &receiver);
    server.launch();
    assert_eq!(server.client().total("/webhooks"), 0);
}

#[test]
fn a_ping_that_fails_fails_the_command_and_says_why() {
    let server = Server::start(&[]);
    server.key("*");
    let made = printed(&server.cli(&[
        "subscriptions",
        "create",
        "--url",
        "http://127.0.0.1:9/",
        "--events",
        "ping",
        "--json",
    ]));
    let id = made["data"]["id"].to_string();
    let tested = server.cli(&["subscriptions", "test", &id, "--json"]);
    assert_eq!(tested.code, Some(1), "{tested:?}");
    assert!(tested.stderr.contains("no connection"), "{}", tested.stderr);
    let answer: Value = serde_json::from_str(&tested.stdout).unwrap();
    assert_eq!(answer["data"]["success"], false);
}

#[test]
fn what_the_api_refuses_is_wrong_usage_with_the_words_of_the_api() {
    let server = Server::start(&[]);
    server.key("*");
    let wrong = server.cli(&["subscriptions", "create", "--url", "ftp://x", "--events", "clock_inn", "--paused"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("url") && wrong.stderr.contains("did you mean \"clock_in\""), "{}", wrong.stderr);
    let nothing = server.cli(&["subscriptions", "update", "1"]);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    assert!(nothing.stderr.contains("--url, --events or --description"), "{}", nothing.stderr);
    let misspelt = server.cli(&["subscriptions", "lst"]);
    assert_eq!(misspelt.code, Some(2), "{misspelt:?}");
    assert!(misspelt.stderr.contains("list"), "{}", misspelt.stderr);
    let stranger = server.cli(&["subscriptions", "list", "--account", "nobody & co"]);
    assert_eq!(stranger.code, Some(5), "{stranger:?}");
    assert!(stranger.stderr.contains("nobody & co") && stranger.stderr.contains("keys create"), "{}", stranger.stderr);
}

#[test]
fn a_command_works_for_the_account_that_it_names_and_sees_no_other() {
    let server = Server::start(&[]);
    server.key("*");
    let account = "Zeitarbeit Müller & Söhne = 100%";
    server.key_for(account, "*");
    let url = "http://127.0.0.1:9/";
    let create = ["subscriptions", "create", "--url", url, "--events", "ping", "--json", "--account", account];
    let id = printed(&server.cli(&create))["data"]["id"].to_string();
    assert_eq!(printed(&server.cli(&["subscriptions", "list", "--json"]))["data"], json!([]));
    assert_eq!(server.cli(&["subscriptions", "show", &id]).code, Some(5));
    assert_eq!(server.cli(&["subscriptions", "delete", &id, "--yes"]).code, Some(5));
    assert_eq!(server.cli(&["subscriptions", "show", &id, "--account", account]).code, Some(0));
}

#[test]
fn a_list_goes_on_beyond_a_page_and_says_when_there_is_more() {
    let server = Server::start(&[("limits.subscriptions_per_account", "150")]);
    let client = server.client();
    for _ in 0..130 {
        client.subscribe("http://127.0.0.1:9/", &["ping"]);
    }
    let listed = printed(&server.cli(&["subscriptions", "list", "--limit", "125", "--json"]));
    let mut ids: Vec<i64> = listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 125, "different rows");
    assert_eq!(listed["pagination"]["total"], 130);
    assert_eq!(listed["pagination"]["has_more"], true);
    let table = server.cli(&["subscriptions", "list", "--limit", "125"]);
    assert!(table.stderr.contains("125 of 130"), "{}", table.stderr);
    assert_eq!(server.cli(&["subscriptions", "list", "--limit", "0"]).code, Some(2));
}

#[test]
fn marks_that_turn_text_around_are_escaped_in_tables_and_left_alone_in_json() {
    let server = Server::start(&[]);
    let client = server.client();
    let description = "pay\u{202e}lor \u{200b}Zoë\nnext";
    let body = json!({"url": "http://127.0.0.1:9/", "events": ["ping"], "description": description});
    let id = client.post("/webhooks", &body).expect(201).data()["id"].to_string();
    for arguments in [vec!["subscriptions", "list"], vec!["subscriptions", "show", &id]] {
        let table = server.cli(&arguments);
        assert!(table.stdout.contains(r"pay\u{202e}lor \u{200b}Zoë\nnext"), "{table:?}");
        assert!(!table.stdout.contains('\u{1b}'), "colours without a terminal: {table:?}");
    }
    let shown = printed(&server.cli(&["subscriptions", "show", &id, "--json"]));
    assert_eq!(shown["data"]["description"], description);
}
