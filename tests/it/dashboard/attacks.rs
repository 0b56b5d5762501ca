//! What attackers try at the pages for people, beyond what signing in itself is asked.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Browser;
use super::browser::form_token;
use super::signing_in::FORMS;
use crate::harness::{ALL_SCOPES, Receiver, Server, WallClock, clock_in};

const HOUR_S: i64 = 3600;

#[test]
fn every_form_of_the_server_is_among_those_that_are_tried_without_their_token() {
    let routes = include_str!("../../../src/http/dashboard/routes.rs");
    assert_eq!(routes.matches("web::post()").count(), FORMS.len(), "add the new one to FORMS");
}

#[test]
fn no_page_of_a_session_is_kept_by_a_cache_or_framed_or_shown_to_others() {
    let server = Server::start(&[]);
    let receiver = Receiver::start();
    let client = server.client();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.delivery_ids(&event).remove(0);
    let key = server.key("*,events:erase");
    let mut browser = Browser::signed_in(&server, &key);
    let [event, delivery] = [format!("/events/{event}"), format!("/deliveries/{delivery}")];
    let pages = [
        "/",
        "/deliveries",
        &delivery,
        "/deliveries/dlv_1",
        "/deliveries/retry",
        "/jobs",
        "/events",
        &event,
        "/evidence?worker_id=1",
        "/erasures?worker_id=1",
        "/event-types",
        "/keys",
        "/audit",
        "/system",
        "/subscriptions",
        "/subscriptions/new",
        "/subscriptions/1",
        "/subscriptions/1/edit",
        "/subscriptions/1/rotate",
        "/subscriptions/1/replay",
        "/subscriptions/1/verify",
        "/subscriptions/1/delete",
    ];
    for path in pages {
        let answer = browser.get(path);
        assert!(matches!(answer.status, 200 | 404), "{path}: {}", answer.status);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
        let away = Browser::new(&server).get(path);
        assert_eq!(away.status, 303, "{path} is shown to somebody who has not signed in: {}", away.text);
        assert!(away.header("location").unwrap().starts_with("/sign-in"), "{path}");
    }
}

#[test]
fn a_wrong_key_is_answered_the_same_whatever_is_wrong_with_it() {
    let server = Server::start(&[]);
    let key = server.key("*");
    let revoked = server.create_key(&["--name", "r", "--scopes", "*"]);
    assert_eq!(server.cli(&["keys", "revoke", &revoked["id"].to_string()]).code, Some(0));
    let elsewhere = server.create_key(&["--name", "e", "--scopes", "*", "--networks", "10.0.0.0/8"]);
    let mut one_off = key.clone();
    one_off.replace_range(key.len() - 1.., if key.ends_with('0') { "1" } else { "0" });
    let unknown = format!("tc_live_{}", "0".repeat(40));
    let answered = |given: &str| {
        let mut browser = Browser::new(&server);
        let token = form_token(&browser.page("/sign-in"));
        let answer = browser.post("/sign-in", &[], &[("form_token", &token), ("key", given)]);
        assert_eq!(answer.status, 403, "{given}");
        answer.text.replace(&token, "")
    };
    let first = answered(&unknown);
    for given in [revoked["key"].as_str().unwrap(), elsewhere["key"].as_str().unwrap(), &one_off, "x", ""] {
        assert_eq!(answered(given), first, "{given}");
    }
}

#[test]
fn many_wrong_keys_at_once_get_no_more_tries_than_the_limit() {
    let server = Server::start(&[("rate_limit.wrong_keys_per_minute", "5")]);
    let key = server.key("*");
    let wrong = format!("tc_live_{}", "0".repeat(40));
    let statuses: Vec<u16> = thread::scope(|scope| {
        let guess = |number: usize| {
            let (server, wrong) = (&server, &wrong);
            // Half of them at the form, half at the API: one limit holds for both.
            move || {
                if number.is_multiple_of(2) {
                    Browser::new(server).sign_in(wrong).status
                } else {
                    server.client_with(wrong).get("/webhooks").status
                }
            }
        };
        let guesses: Vec<_> = (0..60).map(|number| scope.spawn(guess(number))).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    let tried = statuses.iter().filter(|status| matches!(status, 401 | 403)).count();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!((tried, refused), (5, 55), "{statuses:?}");
    Browser::signed_in(&server, &key);
}

#[test]
fn ten_thousand_wrong_sign_ins_get_no_more_tries_than_the_limit_and_keep_nobody_out() {
    const CONNECTIONS: usize = 80;
    const EACH: usize = 125;
    // Those beyond it wait for a second each, so they are few.
    const LIMIT: usize = CONNECTIONS * EACH - 2;
    let server = Server::start(&[("rate_limit.wrong_keys_per_minute", &LIMIT.to_string())]);
    let key = server.key("*");
    let mut browser = Browser::new(&server);
    let body = format!("form_token={}&key=tc_live_{}", form_token(&browser.page("/sign-in")), "0".repeat(40));
    let guess = |last: &str| {
        format!(
            "POST /sign-in HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n{last}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            server.address(),
            browser.cookie.as_deref().unwrap(),
            body.len()
        )
    };
    let guesses = guess("").repeat(EACH - 1) + &guess("Connection: close\r\n");
    let begun = Instant::now();
    let ask = || {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(guesses.as_bytes()).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        ["403", "429"].map(|status| answers.matches(&format!("HTTP/1.1 {status} ")).count())
    };
    let counted: Vec<[usize; 2]> = thread::scope(|scope| {
        let some = || (0..CONNECTIONS / 8).map(|_| ask()).collect::<Vec<_>>();
        let askers: Vec<_> = (0..8).map(|_| scope.spawn(some)).collect();
        askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
    });
    let [tried, refused] = [0, 1].map(|status| counted.iter().map(|of_one| of_one[status]).sum::<usize>());
    assert_eq!(tried + refused, CONNECTIONS * EACH);
    let is_within_a_minute = begun.elapsed() < Duration::from_mins(1);
    assert!(tried == LIMIT || (tried > LIMIT && !is_within_a_minute), "{tried} were tried, {refused} refused");
    let signed_in = Browser::new(&server).sign_in(&key);
    assert_eq!((signed_in.status, signed_in.header("location")), (303, Some("/")), "whoever has a key is let in");
}

#[test]
fn a_session_ends_with_the_time_of_its_key_and_after_twelve_hours_without_use() {
    let mut server = Server::stopped(&[]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let short = server.create_key(&["--name", "short", "--scopes", "*", "--expires", "1h"]);
    let mut short = Browser::signed_in(&server, short["key"].as_str().unwrap());
    let mut long = Browser::signed_in(&server, &server.key("*"));
    short.page("/system");
    clock.set(HOUR_S + 60);
    assert_eq!(short.get("/system").header("location"), Some("/sign-in?next=%2Fsystem"));
    long.page("/system");
    clock.set(15 * HOUR_S);
    assert_eq!(long.get("/system").header("location"), Some("/sign-in?next=%2Fsystem"));
}

#[test]
fn the_colours_are_those_that_were_chosen_and_nothing_else_can_be() {
    let server = Server::start(&[]);
    let mut browser = Browser::signed_in(&server, &server.key(ALL_SCOPES));
    assert!(browser.page("/").contains("data-theme=\"system\""));
    let chosen = browser.submit("/system", "/theme", &[("theme", "dark")]).expect(303);
    let cookie = chosen.header("set-cookie").unwrap();
    assert!(cookie.contains("; SameSite=Strict") && cookie.contains("; HttpOnly"), "{cookie}");
    assert_eq!(chosen.header("location"), Some("/system?done=theme"));
    for path in ["/", "/system?done=theme", "/deliveries/dlv_1"] {
        assert!(browser.get(path).text.contains("data-theme=\"dark\""), "{path}");
    }
    browser.submit("/", "/sign-out", &[]);
    assert!(browser.page("/sign-in").contains("data-theme=\"dark\""));
    let mut browser = Browser::signed_in(&server, &server.key(ALL_SCOPES));
    browser.submit("/system", "/theme", &[("theme", "\"><script>")]).expect(303);
    assert!(browser.page("/").contains("data-theme=\"system\""));
}

#[test]
fn programs_that_check_the_signature_are_those_of_the_guide_with_what_differs_here() {
    let server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let plain = client.subscribe("http://127.0.0.1:9/", &["clock_in"]);
    let named =
        json!({"url": "http://127.0.0.1:9/", "events": ["clock_in"], "names": {"signature": "X-Hub-Signature-256"}});
    client.post("/webhooks", &named).expect(201);
    let mut browser = Browser::signed_in(&server, &key);
    let page = browser.page(&format!("/subscriptions/{}/verify", plain.id));
    for part in ["PHP", "C#", "Apex", "hash_hmac(&#39;sha256&#39;, $body, $secret)", "name=\"verify\""] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains(&plain.secret) && !page.contains("options that change its requests"), "{page}");
    let named = browser.page("/subscriptions/2/verify");
    assert!(named.contains("options that change its requests") && named.contains("X-Hub-Signature-256"), "{named}");
    let stranger = server.key_for("other", ALL_SCOPES);
    assert_eq!(Browser::signed_in(&server, &stranger).get("/subscriptions/1/verify").status, 404);
    // A test of whether the receiver verifies, from that page.
    let receiver = Receiver::start();
    client.change(plain.id, &json!({"url": receiver.url("/")})).expect(200);
    browser.submit("/subscriptions/1/verify", "/subscriptions/1/test", &[("verify", "yes")]).expect(200);
    assert_eq!(receiver.requests().len(), 2);
}
