//! Who signs in sees what their key may see, for as long as it may, and nobody else's page can act for them.

use super::Browser;
use super::browser::form_token;
use crate::harness::{ALL_SCOPES, Server, clock_in, printed};

/// Every path that takes a form.
pub const FORMS: [&str; 18] = [
    "/theme",
    "/erasures",
    "/sign-in",
    "/sign-in/link",
    "/sign-out",
    "/deliveries/retry",
    "/deliveries/dlv_1/retry",
    "/jobs/job_1/stop",
    "/subscriptions/new",
    "/subscriptions/1/edit",
    "/subscriptions/1/active",
    "/subscriptions/1/test",
    "/subscriptions/1/rotate",
    "/subscriptions/1/replay",
    "/subscriptions/1/delete",
    "/keys",
    "/keys/1/rotate",
    "/keys/1/revoke",
];

#[test]
fn a_key_signs_in_and_sees_what_it_may_see() {
    let server = Server::start(&[]);
    let event = server.client().publish("clock_in", &clock_in(1));
    let mut browser = Browser::new(&server);
    let away = browser.get("/");
    assert_eq!((away.status, away.header("location")), (303, Some("/sign-in")));
    let key = server.key(ALL_SCOPES);
    assert_eq!(browser.sign_in(&key).header("location"), Some("/"));
    let overview = browser.page("/");
    assert!(overview.contains(&event) && overview.contains("/deliveries"), "{overview}");
    assert!(!overview.contains(&key) && !overview.contains("href=\"/keys\""), "{overview}");
    let narrow = server.key("events:write");
    let overview = Browser::signed_in(&server, &narrow).page("/");
    assert!(!overview.contains(&event) && overview.contains("webhooks:read"), "{overview}");
    let mut other = Browser::signed_in(&server, &server.key_for("other", ALL_SCOPES));
    assert!(!other.page("/").contains(&event), "another account's event");
}

#[test]
fn a_session_ends_with_its_key_or_when_its_holder_signs_out_and_outlives_a_restart() {
    let mut server = Server::start(&[]);
    let (first, second) = (server.create_key(&["--name", "a", "--scopes", "*"]), server.key("*"));
    let mut anna = Browser::signed_in(&server, first["key"].as_str().unwrap());
    let mut ben = Browser::signed_in(&server, &second);
    assert!(server.terminate().success());
    server.launch();
    let (mut anna_now, mut ben_now) = (Browser::new(&server), Browser::new(&server));
    // The port is another one, and the cookie is named for it.
    for (before, now) in [(&mut anna, &mut anna_now), (&mut ben, &mut ben_now)] {
        let (_, token) = before.cookie.as_deref().unwrap().split_once('=').unwrap();
        now.cookie = Some(format!("tempclock_{}={token}", server.address().port()));
        now.page("/");
    }
    let id = first["id"].to_string();
    assert_eq!(server.cli(&["keys", "revoke", &id]).code, Some(0));
    assert_eq!(anna_now.get("/").header("location"), Some("/sign-in"), "its key was revoked");
    let cookie = ben_now.cookie.clone();
    let out = ben_now.submit("/", "/sign-out", &[]);
    assert_eq!((out.status, out.header("location")), (303, Some("/sign-in")));
    assert!(ben_now.cookie.is_none());
    ben_now.cookie = cookie;
    assert_eq!(ben_now.get("/").header("location"), Some("/sign-in"), "a cookie that was copied is worth nothing");
}

#[test]
fn who_signs_in_gets_another_token_than_the_browser_had() {
    let server = Server::start(&[]);
    let key = server.key("*");
    let mut victim = Browser::new(&server);
    let mut attacker = Browser::new(&server);
    attacker.page("/sign-in");
    let planted = attacker.cookie.clone();
    assert!(planted.is_some());
    victim.cookie.clone_from(&planted);
    victim.sign_in(&key);
    assert!(victim.cookie.is_some() && victim.cookie != planted);
    assert_eq!(attacker.get("/").status, 303, "what was planted is signed in");
    // And again, the session of the first time ends.
    let before = victim.cookie.clone();
    let token = form_token(&victim.page("/"));
    victim.post("/sign-in", &[], &[("key", &key), ("form_token", &token)]).expect(303);
    assert_ne!(victim.cookie, before);
    attacker.cookie = before;
    assert_eq!(attacker.get("/").status, 303);
}

#[test]
fn a_form_without_its_token_or_from_another_site_does_nothing() {
    let server = Server::start(&[]);
    let key = server.key("*");
    let own = format!("http://{}", server.address());
    let mut browser = Browser::signed_in(&server, &key);
    let token = form_token(&browser.page("/"));
    let foreign: [&[(&str, &str)]; 6] = [
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", "http://127.0.0.1:1")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Origin", own.as_str()), ("Sec-Fetch-Site", "cross-site")],
    ];
    for path in FORMS {
        for headers in foreign {
            let refused = browser.post(path, headers, &[("form_token", &token), ("key", &key)]);
            assert!(
                refused.status == 403 && refused.text.contains("another address"),
                "{path} {headers:?}: {}",
                refused.text
            );
        }
        let mut wrong = token.clone();
        wrong.replace_range(..1, if token.starts_with('0') { "1" } else { "0" });
        for given in ["", "0", &wrong] {
            let refused = browser.post(path, &[("Origin", &own)], &[("form_token", given), ("key", &key)]);
            assert!(refused.status == 403 && refused.text.contains("does not belong"), "{path}: {}", refused.text);
        }
        let json = [("Content-Type", "text/plain"), ("Origin", own.as_str())];
        let body = format!("form_token={token}");
        assert_eq!(browser.send("POST", path, &json, Some(body.as_bytes())).status, 400, "{path}");
    }
    browser.page("/");
    // A client that is no browser sends no such header.
    assert_eq!(browser.post("/sign-out", &[], &[("form_token", &token)]).status, 303);
}

#[test]
fn wrong_keys_are_limited_as_they_are_for_the_api() {
    let server = Server::start(&[("rate_limit.wrong_keys_per_minute", "3")]);
    let key = server.key("*");
    let mut browser = Browser::new(&server);
    let wrong = format!("tc_live_{}", "0".repeat(40));
    for given in [wrong.as_str(), "x", ""] {
        let refused = browser.sign_in(given);
        assert!(refused.status == 403 && refused.text.contains("role=\"alert\""), "{}", refused.text);
        assert!(!refused.text.contains(&wrong), "the key is on the page");
    }
    let refused = browser.sign_in(&wrong);
    assert!(refused.status == 429 && refused.header("retry-after").is_some(), "{}", refused.text);
    assert_eq!(server.client_with(&wrong).get("/webhooks").status, 429, "the same count");
    assert_eq!(browser.sign_in(&key).status, 303, "whoever has a key signs in all the same");
    assert!(!server.log().contains(&wrong) && !server.log().contains(&key), "{}", server.log());
}

#[test]
fn no_page_is_kept_or_framed_or_runs_what_is_not_ours() {
    let server = Server::start(&[]);
    let mut browser = Browser::signed_in(&server, &server.key("*"));
    let mut stranger = Browser::new(&server);
    for answer in [browser.get("/"), stranger.get("/sign-in"), stranger.get("/"), stranger.post("/sign-in", &[], &[])] {
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.asked);
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let page = browser.page("/");
    for part in [" style=", "<style", " onclick=", "javascript:", "http://", "https://"] {
        let shown = page.replace(&format!("http://{}", server.address()), "");
        assert!(!shown.contains(part), "{part} in {shown}");
    }
    for path in page.split(['"']).filter(|part| part.starts_with("/assets/")) {
        let asset = stranger.get(path).expect(200);
        assert!(asset.header("cache-control").unwrap().contains("max-age"), "{path}");
    }
    assert!(page.len() < 20_000, "{} bytes", page.len());
}

#[test]
fn after_signing_in_comes_the_page_that_was_asked_for_and_never_another_site() {
    let server = Server::start(&[]);
    let key = server.key("*");
    for (next, then) in [
        ("/?x=1", "/?x=1"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/\r\nSet-Cookie: a=b", "/"),
    ] {
        let mut browser = Browser::new(&server);
        let answer = browser.submit("/sign-in", "/sign-in", &[("key", &key), ("next", next)]);
        assert_eq!((answer.status, answer.header("location")), (303, Some(then)), "{next}");
    }
    let mut browser = Browser::new(&server);
    let away = browser.get("/?x=%22%3E%3Cscript%3E");
    let away = away.header("location").unwrap();
    assert!(away.starts_with("/sign-in?next=%2F%3Fx"), "{away}");
    let page = browser.page(away);
    assert!(!page.contains("\"><script>"), "{page}");
    // A browser that follows a link on another site sends no cookie at first.
    let cross = Browser::new(&server).send("GET", "/?x=1", &[("Sec-Fetch-Site", "cross-site")], None);
    assert!(cross.status == 200 && cross.text.contains("url=/?x=1"), "{}", cross.text);
}

#[test]
fn a_link_signs_the_operator_in_once() {
    let server = Server::start(&[]);
    let event = server.client_of("mine").publish("clock_in", &clock_in(1));
    let made = printed(&server.cli(&["dashboard", "--account", "mine", "--json"]));
    let url = made["data"]["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", server.address())).unwrap();
    let link = path.split_once("link=").unwrap().1;
    let mut browser = Browser::new(&server);
    // To look at it, as a mail scanner does, does not use it up.
    assert!(Browser::new(&server).page(path).contains("Sign in"));
    let answer = browser.submit(path, "/sign-in/link", &[("link", link)]);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "{}", answer.text);
    assert!(browser.page("/").contains(&event));
    let again = Browser::new(&server).submit(path, "/sign-in/link", &[("link", link)]);
    assert!(again.status == 403 && again.text.contains("no longer valid"), "{}", again.text);
    assert!(!server.log().contains(link), "{}", server.log());
    assert_eq!(server.cli(&["dashboard", "--account", "nobody"]).code, Some(5));
}

#[test]
fn a_key_for_some_networks_signs_in_from_there_alone() {
    let server = Server::start(&[]);
    let key = |network: &str| {
        let made = server.create_key(&["--name", "n", "--scopes", "*", "--networks", network]);
        made["key"].as_str().unwrap().to_owned()
    };
    assert_eq!(Browser::new(&server).sign_in(&key("10.0.0.0/8")).status, 403);
    Browser::signed_in(&server, &key("127.0.0.0/8")).page("/");
}

#[test]
fn behind_a_proxy_the_public_url_decides_over_links_forms_and_cookies() {
    let server = Server::start(&[("server.public_url", "\"https://clock.example\"")]);
    let key = server.key("*");
    let mut browser = Browser::new(&server);
    let token = form_token(&browser.page("/sign-in"));
    let cookie = browser.cookie.clone().unwrap();
    assert!(cookie.starts_with("__Host-"), "{cookie}");
    let fields = [("form_token", token.as_str()), ("key", &key)];
    let answer = browser.post("/sign-in", &[("Origin", "https://clock.example")], &fields).expect(303);
    let given = answer.header("set-cookie").unwrap();
    for part in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(given.contains(part), "{given}");
    }
    let made = server.cli(&["dashboard"]);
    assert!(made.stdout.starts_with("https://clock.example/sign-in/link?link="), "{made:?}");
    let wrong = Server::stopped(&[("server.public_url", "\"clock.example\"")]).fail_to_start();
    assert!(wrong.code == Some(3) && wrong.stderr.contains("https://clock.example.com"), "{wrong:?}");
}

#[test]
fn a_server_without_dashboard_shows_no_page() {
    let server = Server::start(&[("server.dashboard", "false")]);
    server.key("*");
    for path in ["/", "/sign-in", "/assets/dashboard.css"] {
        Browser::new(&server).get(path).expect(404).expect_error("not_found");
    }
    let refused = server.cli(&["dashboard"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("server.dashboard"), "{refused:?}");
}
