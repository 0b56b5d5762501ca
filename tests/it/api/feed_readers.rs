//! The readers of a feed in `docs/integrate.md` read a feed of the real server to its end and go on with what comes, and
//! process and acknowledge nothing that is not genuine.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::programs::{Program, Running};
use crate::harness::{Receiver, Reply, Server, clock_in, eventually, signature_standard};

/// The languages, as they are marked on the page.
pub const RUN_HERE: [&str; 3] = ["python", "php", "csharp"];
/// Not that of any subscription.
const FOREIGN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[track_caller]
fn launch(language: &str, url: &str, key: &str, secret: &str) -> Running {
    let variables = [("FEED_URL", url), ("FEED_KEY", key), ("FEED_SECRET", secret)];
    Running::launch(&Program::of_page(language, "feed"), &variables.map(|(name, value)| (name, Some(value))))
}

#[track_caller]
fn assert_reads(language: &str) {
    let server = Server::start(&[]);
    let client = server.client_with(&server.key("*"));
    let made = client.post("/webhooks", &json!({"events": ["clock_in"], "mode": "pull"})).expect(201);
    let (id, secret) = (made.data()["id"].clone(), made.data()["secret"].as_str().unwrap().to_owned());
    let publish = |entry: u64| {
        let mut data = clock_in(entry);
        data["worker_name"] = "Zoë \"Z\" O'Neil \u{1f600} </script>\\".into();
        data["{odd} name"] = json!([{"": null}, 1e300]);
        client.delivery_ids(&client.publish("clock_in", &data)).remove(0)
    };
    let mut expected = vec![publish(1), publish(2)];
    let delivered = format!("/webhooks/{id}/deliveries?status=delivered");
    let url = format!("http://{}/api/v1/feeds/{id}", server.address());
    let mut reader = launch(language, &url, &server.key("feed:read"), &secret);
    let mut assert_has_read = |expected: &[String]| {
        eventually("everything is read and acknowledged", || {
            let said = reader.said();
            assert!(!reader.has_ended(), "is the language installed? run tests/run; it said: {said}");
            (client.total(&delivered) == expected.len() as u64).then_some(())
        });
        let lines: Vec<String> = expected.iter().map(|delivery| format!("{delivery} clock_in")).collect();
        assert_eq!(reader.said(), lines.join("\n") + "\n");
    };
    assert_has_read(&expected);
    expected.push(publish(3));
    assert_has_read(&expected);
}

/// A page as a feed has it, with one event.
fn page(signed_with: &str, sent_at: Timestamp) -> Reply {
    let body = json!({
        "data": [{"delivery_id": "dlv_1", "event": {"id": "evt_1", "event": "clock_in", "data": clock_in(1)}}],
        "pagination": {"next_cursor": "cur_1_1", "has_more": false},
    });
    let (body, sent) = (body.to_string(), sent_at.as_second().to_string());
    let signature = signature_standard(signed_with, "page_1", &sent, body.as_bytes());
    answer(&format!("webhook-id: page_1\r\nwebhook-timestamp: {sent}\r\nwebhook-signature: {signature}\r\n"), &body)
}

/// An answer in JSON, after which the connection ends: one of the readers waits for that.
fn answer(headers: &str, body: &str) -> Reply {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nConnection: close\r\n";
    Reply::Raw(format!("{head}{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

#[track_caller]
fn assert_refuses(language: &str) {
    let secret = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
    let hour = Duration::from_hours(1);
    let feed = Receiver::answering(move |request| match request.path.split('?').next().unwrap() {
        "/foreign" => page(FOREIGN, request.wall),
        "/old" => page(secret, request.wall - hour),
        "/unsigned" => answer("", r#"{"data": []}"#),
        "/genuine" if request.path.ends_with("cursor=") => page(secret, request.wall),
        "/genuine" => Reply::Hang,
        _ => answer("", "{}"),
    });
    let start = |path: &str| launch(language, &feed.url(path), "key", secret);
    let refused = ["/foreign", "/old", "/unsigned"].map(start);
    let genuine = start("/genuine");
    for mut reader in refused {
        let said = eventually("it says that it refuses the page", || {
            assert!(!reader.has_ended(), "{}", reader.said());
            Some(reader.said()).filter(|said| said.ends_with('\n'))
        });
        assert!(said.contains("not genuine") && !said.contains("dlv_1"), "{said}");
    }
    let came = feed.wait_until("an acknowledgement", |all| all.iter().any(|request| request.method == "POST"));
    let acknowledged: Vec<_> = came.iter().filter(|request| request.method == "POST").collect();
    assert!(acknowledged.iter().all(|request| request.path == "/genuine/ack"), "{acknowledged:?}");
    assert_eq!(acknowledged[0].json(), json!({"cursor": "cur_1_1"}));
    assert_eq!(acknowledged[0].header("authorization"), "Bearer key");
    assert!(genuine.said().starts_with("dlv_1 clock_in\n"), "{}", genuine.said());
}

#[test]
fn the_feed_reader_in_python_reads_all_and_nothing_that_is_not_genuine() {
    assert_reads("python");
    assert_refuses("python");
}

#[test]
fn the_feed_reader_in_php_reads_all_and_nothing_that_is_not_genuine() {
    assert_reads("php");
    assert_refuses("php");
}

#[test]
fn the_feed_reader_in_c_sharp_reads_all_and_nothing_that_is_not_genuine() {
    assert_reads("csharp");
    assert_refuses("csharp");
}
