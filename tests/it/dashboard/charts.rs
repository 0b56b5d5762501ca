//! Charts: attempts of the last day and week, as bars and as a table, for those who see their subscriptions.

use super::Browser;
use crate::harness::{ALL_SCOPES, Receiver, Reply, Server, clock_in, eventually};

/// A page, once it has these words.
#[track_caller]
fn page_with(browser: &mut Browser, path: &str, words: &str) -> String {
    eventually(&format!("{words} on {path}"), || {
        let page = browser.page(path);
        page.contains(words).then_some(page)
    })
}

fn count(page: &str, part: &str) -> usize {
    page.matches(part).count()
}

#[test]
fn attempts_are_drawn_and_listed_by_hour_for_those_who_see_their_subscription() {
    let mut server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let mut browser = Browser::signed_in(&server, &key);
    let empty = browser.page("/");
    assert!(empty.contains("There were none.") && !empty.contains("<svg"), "{empty}");
    let receiver = Receiver::answering(|sent| Reply::status(if sent.path == "/bad" { 500 } else { 200 }));
    let good = client.subscribe(&receiver.url("/good"), &["clock_in"]).id;
    let bad = client.subscribe(&receiver.url("/bad"), &["clock_in"]).id;
    for entry in 1..=2 {
        let published = client.publish("clock_in", &clock_in(entry));
        for id in client.delivery_ids(&published) {
            client.wait_for_delivery(&id, "an outcome", |delivery| delivery["status"] != "pending");
        }
    }
    let all = page_with(&mut browser, "/", "4 attempts: 2 delivered, 2 failed; 50 % succeeded.");
    assert!(all.contains("role=\"img\"") && all.contains("class=\"delivered\"") && all.contains("#stripes"), "{all}");
    assert!(all.contains("there are none from before") && all.contains("Attempts in the last 24 hours"), "{all}");
    // Whole hours before the start are no rows: this one is, and the one before if an hour has just begun.
    let rows = count(&all, "<tr><th scope=\"row\"><time");
    assert!((1..=2).contains(&rows), "{rows} rows in {all}");
    let week = browser.page("/?range=7d");
    assert!(week.contains("Attempts in the last 7 days") && week.contains("4 attempts: 2 delivered"), "{week}");
    let one = browser.page(&format!("/subscriptions/{bad}"));
    assert!(
        one.contains("2 attempts: 0 delivered, 2 failed; 0 % succeeded.") && one.contains("99 of 100 took"),
        "{one}"
    );
    assert!(browser.page(&format!("/subscriptions/{bad}?range=7d")).contains("last 7 days"));
    let list = browser.page("/subscriptions");
    assert!(
        list.contains("<td class=\"number\">100 %</td>") && list.contains("<td class=\"number\">0 %</td>"),
        "{list}"
    );

    let id = good.to_string();
    let limited = server.create_key(&["--name", "one", "--scopes", "webhooks:read", "--subscriptions", &id]);
    let mut limited = Browser::signed_in(&server, limited["key"].as_str().unwrap());
    assert!(limited.page("/").contains("2 attempts: 2 delivered, 0 failed; 100 % succeeded."));
    let mut stranger = Browser::signed_in(&server, &server.key_for("other", ALL_SCOPES));
    assert!(stranger.page("/").contains("There were none."), "another account's attempts");

    server.restart();
    let mut browser = Browser::signed_in(&server, &key);
    let after = browser.page("/");
    assert!(after.contains("There were none.") && after.contains("there are none from before"), "{after}");
}
