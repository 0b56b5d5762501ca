//! The live view: what is attempted comes as rows, to those who may see it and for as long as they may.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::json;

use super::Browser;
use crate::harness::{ALL_SCOPES, PATIENCE, Receiver, Server, clock_in};

/// An open live view.
struct View {
    lines: BufReader<TcpStream>,
}

impl View {
    #[track_caller]
    fn open(server: &Server, browser: &Browser, query: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let cookie = browser.cookie.as_deref().unwrap();
        write!(
            stream,
            "GET /deliveries/live{query} HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\n\r\n",
            server.address()
        )
        .unwrap();
        Self { lines: BufReader::new(stream) }
    }

    /// Reads until a line has these words.
    #[track_caller]
    fn wait_for(&mut self, words: &str) -> String {
        let mut read = String::new();
        loop {
            let begin = read.len();
            let count = self.lines.read_line(&mut read).unwrap_or_else(|error| panic!("{error}: no {words} in {read}"));
            assert!(count > 0, "it ended without {words}: {read}");
            if read[begin..].contains(words) {
                return read;
            }
        }
    }
}

#[test]
fn attempts_come_as_rows_to_those_who_may_see_them_until_the_session_ends() {
    let server = Server::start(&[]);
    let made = server.create_key(&["--name", "a", "--scopes", ALL_SCOPES]);
    let key = made["key"].as_str().unwrap();
    let client = server.client_with(key);
    let receiver = Receiver::start();
    let one = client.subscribe(&receiver.url("/one"), &["clock_in"]);
    client.subscribe(&receiver.url("/two"), &["clock_in"]);
    let browser = Browser::signed_in(&server, key);
    let stranger = Browser::signed_in(&server, &server.key_for("other", ALL_SCOPES));
    let mut all = View::open(&server, &browser, "");
    let mut first = View::open(&server, &browser, &format!("?subscription={}&event=clock_in", one.id));
    let mut none = View::open(&server, &stranger, "");
    for view in [&mut all, &mut first, &mut none] {
        let head = view.wait_for(": connected");
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream") && head.contains("no-store"),
            "{head}"
        );
    }
    let ids = client.delivery_ids(&client.publish("clock_in", &clock_in(1)));
    let mut both = all.wait_for("dlv_");
    while !ids.iter().all(|id| both.contains(id.as_str())) {
        both += &all.wait_for("dlv_");
    }
    assert!(both.contains("event: rows"), "{both}");
    let wanted = ids.iter().find(|id| id.ends_with(&format!("{:08x}", one.id))).unwrap();
    let seen = first.wait_for(wanted);
    let unwanted = ids.iter().find(|id| *id != wanted).unwrap();
    assert!(!seen.contains(unwanted.as_str()), "{seen}");
    assert_eq!(server.cli(&["keys", "revoke", &made["id"].to_string()]).code, Some(0));
    all.wait_for("Your session has ended");
    // Another event of its own account shows that nothing else came before it.
    let theirs = server.client_of("other");
    theirs.subscribe(&receiver.url("/three"), &["clock_in"]);
    let id = theirs.delivery_ids(&theirs.publish("clock_in", &clock_in(1))).remove(0);
    let seen = none.wait_for(&id);
    assert!(ids.iter().all(|id| !seen.contains(id.as_str())), "another account's deliveries: {seen}");
}

#[test]
fn views_of_the_same_show_the_same_rows_and_count_what_comes_too_fast_to_show() {
    const EVENTS: u64 = 120;
    const ROWS_AT_ONCE: usize = 25;
    let server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let browser = Browser::signed_in(&server, &key);
    let mut views: Vec<_> = (0..3).map(|_| View::open(&server, &browser, "")).collect();
    for view in &mut views {
        view.wait_for(": connected");
    }
    let events: Vec<_> = (0..EVENTS).map(|entry| json!({"event": "clock_in", "data": clock_in(entry)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
    let all: Vec<Vec<String>> = views
        .iter_mut()
        .map(|view| {
            let (mut missed, mut rows) = (0, Vec::new());
            while missed + rows.len() as u64 != EVENTS {
                assert!(missed + (rows.len() as u64) < EVENTS, "{missed} missed, and {rows:?}");
                let name = view.wait_for("event: ");
                let text = view.wait_for("data: ");
                if name.contains("event: missed") {
                    missed += text.trim().strip_prefix("data: ").unwrap().parse::<u64>().unwrap();
                } else {
                    // The rows end with an empty line.
                    let mut lines = vec![text];
                    while lines.last().unwrap().trim() != "" {
                        lines.push(view.wait_for("\n"));
                    }
                    let ids = lines.iter().filter_map(|line| Some(line.split_once("data-id=\"")?.1.split_once('"')?.0));
                    let before = rows.len();
                    rows.extend(ids.map(str::to_owned));
                    assert!((1..=ROWS_AT_ONCE).contains(&(rows.len() - before)), "{lines:?}");
                }
            }
            rows
        })
        .collect();
    // Who reads slowly gets the newest rows all the same.
    assert!(all.iter().all(|rows| rows.last() == all[0].last()), "{all:?}");
}

#[test]
fn live_views_are_limited_and_do_not_hold_up_the_end_of_the_server() {
    let mut server = Server::start(&[]);
    let mut browser = Browser::signed_in(&server, &server.key(ALL_SCOPES));
    let mut views: Vec<_> = (0..20).map(|_| View::open(&server, &browser, "")).collect();
    for view in &mut views {
        view.wait_for(": connected");
    }
    assert_eq!(browser.get("/deliveries/live").status, 503, "one account has twenty");
    let other = Browser::signed_in(&server, &server.key_for("other", ALL_SCOPES));
    View::open(&server, &other, "").wait_for(": connected");
    assert!(server.terminate().success());
    for view in &mut views {
        view.wait_for("The server is stopping");
    }
}
