//! What somebody meets who sets the server up by hand: nothing has to be guessed, and nothing that is shown once is
//! broken over two lines.

use serde_json::json;

use crate::harness::{Server, clock_in, printed, run};

#[test]
fn the_secret_of_a_new_subscription_is_the_last_line_and_whole() {
    let server = Server::start(&[]);
    server.key("*");
    let config = server.config_file().display().to_string();
    let create =
        ["subscriptions", "create", "--url", "http://127.0.0.1:1/", "--events", "clock_in", "--config", &config];
    let made = run(&create, &[("COLUMNS", "80")]);
    let last = made.stdout.lines().last().unwrap();
    assert!(last.len() == 64 && last.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made:?}");
    assert_eq!(made.stdout.matches(last).count(), 1, "{made:?}");
    assert!(made.stderr.contains("0600"), "{made:?}");
    let shown = server.cli(&["subscriptions", "show", "1"]);
    assert!(!shown.stdout.contains(last), "{shown:?}");
}

#[test]
fn a_payload_is_shown_without_breaks_inside_of_it() {
    let server = Server::start(&[]);
    let client = server.client();
    client.subscribe("http://127.0.0.1:1/", &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.delivery_ids(&event).remove(0);
    let body = client.get(&format!("/deliveries/{delivery}")).expect(200).data()["body"].as_str().unwrap().to_owned();
    let config = server.config_file().display().to_string();
    let shown = run(&["deliveries", "show", &delivery, "--config", &config], &[("COLUMNS", "80")]);
    assert!(shown.stdout.contains(&body), "{shown:?}");
}

#[test]
fn init_takes_a_folder_and_may_be_run_again() {
    let server = Server::stopped(&[]);
    let folder = server.folder().join("elsewhere");
    let init = ["init", "--data-dir", folder.to_str().unwrap()];
    let made = server.cli(&init);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.starts_with("tc_live_") && folder.join("tempclock.redb").exists(), "{made:?}");
    for words in [folder.to_str().unwrap(), "start the server", "every scope", "revoke"] {
        assert!(made.stderr.contains(words), "{words}: {made:?}");
    }
    assert_eq!(server.cli(&init).code, Some(1));
    let again = server.cli(&[&init[..], &["--if-missing"]].concat());
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""), "{again:?}");
    // While the server runs, there is nothing to start.
    let running = Server::start(&[]);
    let made = running.cli(&["init"]);
    assert!(made.code == Some(0) && !made.stderr.contains("start the server"), "{made:?}");
    assert!(running.log().contains("there is no API key yet"), "{}", running.log());
    assert!(running.log().contains(running.data_dir().to_str().unwrap()), "{}", running.log());
}

#[test]
fn an_empty_name_of_the_configuration_is_none() {
    let checked = run(&["config", "show"], &[("TEMPCLOCK_WEBHOOKS_CONFIG", "")]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn an_event_that_nobody_wants_is_said_to_be() {
    let server = Server::start(&[]);
    server.key("*");
    let data = clock_in(1).to_string();
    let published = server.cli(&["events", "publish", "--event", "clock_in", "--data", &data]);
    assert!(published.code == Some(0) && published.stderr.contains("no subscription has the event type clock_in"));
}

#[test]
fn listen_signs_with_a_secret_that_the_program_has_already() {
    let server = Server::start(&[]);
    let client = server.client();
    let secret = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let (url, key) = (format!("http://{}", server.address()), server.key("webhooks:write"));
    let mut process =
        crate::harness::Process::start(&["listen", "--json", "--api-url", &url, "--api-key", &key, "--secret", secret]);
    process.wait_for_line("where it listens", |line| line.starts_with('{'));
    let event = client.publish("clock_in", &clock_in(1));
    let line = process.wait_for_line("the delivery", |line| line.contains(&event));
    let received: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(received["verified"], json!(true), "{received}");
    let end = process.stop(rustix::process::Signal::TERM);
    assert!(end.status.success(), "{end:?}");
    assert_eq!(printed(&server.cli(&["subscriptions", "list", "--json"]))["data"], json!([]));
}
