//! A configuration is read from four places, and a wrong one stops the start with all its errors.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use rcgen::date_time_ymd;
use tempfile::TempDir;

use crate::harness::{Identity, Output, Server, run};

fn check(text: &str, environment: &[(&str, &str)]) -> Output {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, text).unwrap();
    run(&["config", "check", "--config", file.to_str().unwrap()], environment)
}

#[track_caller]
fn assert_invalid(output: &Output, named: &[&str]) {
    assert_eq!(output.code, Some(3), "{output:?}");
    for name in named {
        assert!(output.stderr.contains(name), "{name} is not named: {}", output.stderr);
    }
}

const BROKEN: &str = r#"
[server]
listen = "nowhere"
[delivery]
threads = 0
timeout = "30 lightyears"
retry_schedule = ["5s", 7]
allow_networks = ["10.0.0.0/99"]
allow_http = "maybe"
[limits]
event_bytes = "lots"
[rate_limit]
management_per_minute = -1
[colour]
red = 1
"#;

const BROKEN_NAMES: [&str; 9] = [
    "listen",
    "threads",
    "timeout",
    "retry_schedule",
    "allow_networks",
    "allow_http",
    "event_bytes",
    "management_per_minute",
    "colour",
];

#[test]
fn all_errors_of_a_configuration_are_told_at_once() {
    assert_invalid(&check(BROKEN, &[]), &BROKEN_NAMES);
}

#[test]
fn a_wrong_configuration_stops_the_start_and_nothing_is_made() {
    let server = Server::stopped(&[]);
    fs::write(server.config_file(), BROKEN).unwrap();
    assert_invalid(&server.fail_to_start(), &BROKEN_NAMES);
    assert!(!server.data_dir().exists(), "the data folder was made");
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_name() {
    let output = check("[delivery]\n\nmax_in_flight_per_endpont = 5\n", &[]);
    assert_invalid(&output, &["max_in_flight_per_endpont", "max_in_flight_per_endpoint"]);
    let line = ["line 3", ":3"].iter().any(|spelling| output.stderr.contains(spelling));
    assert!(line, "line 3 is not named: {}", output.stderr);
    let output = check("[delivry]\nthreads = 5\n", &[]);
    assert_invalid(&output, &["delivry", "delivery"]);
}

#[test]
fn text_that_is_no_toml_is_told_with_its_line() {
    let output = check("[delivery]\nthreads = = 5\n", &[]);
    assert_invalid(&output, &["config.toml"]);
    let line = ["line 2", ":2"].iter().any(|spelling| output.stderr.contains(spelling));
    assert!(line, "line 2 is not named: {}", output.stderr);
}

#[test]
fn a_file_that_is_missing_is_named() {
    let output = run(&["config", "check", "--config", "/nonexistent/webhooks.toml"], &[]);
    assert!(output.code.is_some_and(|code| code == 1 || code == 3), "{output:?}");
    assert!(output.stderr.contains("/nonexistent/webhooks.toml"), "{}", output.stderr);
}

#[test]
fn more_attempts_to_one_endpoint_than_there_are_threads_are_told_with_all_other_errors() {
    let text = "[delivery]\nthreads = 8\nmax_in_flight_per_endpoint = 16\n[retention]\nevents = \"1h\"\n";
    assert_invalid(&check(text, &[]), &["delivery.max_in_flight_per_endpoint is 16", "retention.events"]);
    assert_eq!(check("[delivery]\nthreads = 8\n", &[]).code, Some(0), "the default gives way");
    let many = (0..50).map(|number| format!("key_{number} = 1")).collect::<Vec<_>>().join("\n");
    let output = check(&format!("[delivery]\n{many}"), &[]);
    assert_invalid(&output, &["and 30 more"]);
    assert_eq!(output.stderr.lines().count(), 21, "{}", output.stderr);
}

#[test]
fn a_certificate_without_its_key_is_told() {
    assert_invalid(&check("[server]\ntls_certificate = \"/tmp/cert.pem\"\n", &[]), &["tls_certificate", "tls_key"]);
}

#[test]
fn wrong_values_and_files_that_are_no_good_are_told_at_once() {
    let text = "[server]\ntls_certificate = '/nonexistent/cert.pem'\ntls_key = '/nonexistent/key.pem'\n\
        [storage]\nencryption_key_file = '/nonexistent/secrets.key'\n[delivery]\nthreads = 0\n";
    let output = check(text, &[]);
    assert_invalid(&output, &["delivery.threads", "server.tls_certificate", "server.tls_key", "encryption_key_file"]);
    assert_eq!(output.stderr.lines().count(), 4, "{}", output.stderr);
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = format!(
        "[server]\ntls_certificate = '{0}'\ntls_key = '{0}'\n[storage]\nencryption_key_file = '{0}'\n",
        pipe.display()
    );
    let output = check(&text, &[]);
    assert_invalid(
        &output,
        &["tls_certificate", "tls_key", "not a regular file", "does not contain an encryption key"],
    );
}

#[test]
fn a_certificate_of_another_key_or_at_its_end_is_told_in_plain_words() {
    let days = |days: u64| SystemTime::now() + Duration::from_hours(24 * days);
    let mut server = Server::stopped(&[("server.listen", "\"127.0.0.1:1\"")]);
    assert_eq!(server.cli(&["init"]).code, Some(0));
    let expired = Identity::self_signed("localhost", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let later = Identity::self_signed("localhost", |params| params.not_before = date_time_ymd(3000, 1, 1));
    let soon = Identity::self_signed("localhost", |params| params.not_after = days(10).into());
    let good = Identity::self_signed("localhost", |params| params.not_after = days(20).into());
    for (name, identity, wanted) in [
        ("expired", &expired, Some("expired on 2020-01-01")),
        ("later", &later, Some("is not valid before 3000-01-01")),
        ("soon", &soon, Some("expires on ")),
        ("good", &good, None),
    ] {
        let [certificate, key] = identity.write_to(server.folder(), name).map(|path| format!("'{}'", path.display()));
        server.configure(&[("server.tls_certificate", &certificate), ("server.tls_key", &key)]);
        let output = server.cli(&["config", "check"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        let warned = output.stderr.lines().find(|line| line.starts_with("warning: server.tls_certificate"));
        assert_eq!(warned.is_some(), wanted.is_some(), "{name}: {output:?}");
        assert!(warned.is_none_or(|line| line.contains(wanted.unwrap())), "{name}: {output:?}");
        let doctor = server.cli(&["doctor"]);
        let warned = doctor.stdout.lines().find(|line| line.starts_with("warning files: "));
        assert!(warned.is_some() == wanted.is_some(), "{name}: {}", doctor.stdout);
        assert!(warned.is_none_or(|line| line.contains(wanted.unwrap())), "{name}: {}", doctor.stdout);
    }
    let [certificate, key] = expired.write_to(server.folder(), "used").map(|path| format!("'{}'", path.display()));
    let free = ("server.listen", "\"127.0.0.1:0\"");
    server.configure(&[free, ("server.tls_certificate", &certificate), ("server.tls_key", &key)]);
    server.launch();
    assert!(server.log().contains("expired on 2020-01-01"), "{}", server.log());
    assert!(server.terminate().success());
    let other = format!("'{}'", server.folder().join("soon.key").display());
    server.configure(&[("server.tls_key", &other)]);
    let output = server.cli(&["config", "check"]);
    assert_invalid(&output, &["does not belong to the private key of server.tls_key"]);
    assert!(!output.stderr.contains("KeyMismatch"), "{output:?}");
    let certificate = format!("'{}'", server.folder().join("good.pem").display());
    server.configure(&[("server.tls_key", &certificate)]);
    assert_invalid(&server.cli(&["config", "check"]), &["it contains no PEM private key"]);
}

#[test]
fn the_example_is_valid_and_shows_every_promised_default() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml.example");
    let output = run(&["config", "check", "--config", example.to_str().unwrap()], &[]);
    assert_eq!(output.code, Some(0), "{output:?}");

    let shown: toml::Table = toml::from_str(&fs::read_to_string(example).unwrap()).unwrap();
    let promised: toml::Table = toml::from_str(PROMISED).unwrap();
    for (section, keys) in promised {
        for (key, value) in keys.as_table().unwrap() {
            assert_eq!(shown[&section].get(key), Some(value), "{section}.{key}");
        }
    }
}

const PROMISED: &str = r#"
[server]
listen = "127.0.0.1:8080"
control_socket = ""
tls_certificate = ""
tls_key = ""
metrics_listen = ""
[storage]
data_dir = "/var/lib/tempclock-webhooks"
encryption_key_file = ""
free_space_reserve = "64MiB"
[retention]
events = "30d"
attempts = "30d"
[delivery]
threads = 64
max_in_flight_per_endpoint = 16
timeout = "30s"
drain = "30s"
retry_schedule = ["5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"]
disable_after = "5d"
allow_http = false
allow_networks = []
allow_hosts = []
ca_certificates = ""
[limits]
event_bytes = "256KiB"
subscriptions_per_account = 100
[rate_limit]
management_per_minute = 60
publish_per_minute = 0
"#;

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let mut server = Server::stopped(&[
        ("server.listen", r#""127.0.0.1:1""#),
        ("rate_limit.management_per_minute", "7"),
        ("rate_limit.publish_per_minute", "11"),
    ]);
    server.environment("TEMPCLOCK_WEBHOOKS_SERVER__LISTEN", "127.0.0.1:2");
    server.environment("TEMPCLOCK_WEBHOOKS_RATE_LIMIT__MANAGEMENT_PER_MINUTE", "9");
    server.launch();
    assert!(server.address().port() > 2, "the flag was not heard");
    let client = server.client();
    assert_eq!(client.get("/webhooks").expect(200).header("x-ratelimit-limit"), Some("9"));
    let body = serde_json::json!({"event": "clock_in", "data": crate::harness::clock_in(1)});
    assert_eq!(client.post("/events", &body).expect(202).header("x-ratelimit-limit"), Some("11"));
}

#[test]
fn a_wrong_or_unknown_variable_is_named() {
    let wrong = [("TEMPCLOCK_WEBHOOKS_DELIVERY__THREADS", "many")];
    assert_invalid(&check("", &wrong), &["TEMPCLOCK_WEBHOOKS_DELIVERY__THREADS"]);
    let unknown = [("TEMPCLOCK_WEBHOOKS_DELIVERY__THREAD", "5")];
    assert_invalid(&check("", &unknown), &["TEMPCLOCK_WEBHOOKS_DELIVERY__THREAD"]);
    let good = [("TEMPCLOCK_WEBHOOKS_DELIVERY__RETRY_SCHEDULE", r#"["1s", "2m"]"#)];
    assert_eq!(check("", &good).code, Some(0), "{:?}", check("", &good));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let server = Server::stopped(&[]);
    let (config, data) = (server.config_file(), server.data_dir());
    let arguments =
        ["serve", "--config", config.to_str().unwrap(), "--listen", &address, "--data-dir", data.to_str().unwrap()];
    let output = run(&arguments, &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains(&address), "{address} is not named: {}", output.stderr);
    assert!(output.stderr.contains("; another program listens there"), "{}", output.stderr);
    let elsewhere = run(&["serve", "--listen", "192.0.2.1:80", "--data-dir", data.to_str().unwrap()], &[]);
    assert!(elsewhere.stderr.contains("; this machine has no such address"), "{elsewhere:?}");
}

#[test]
fn what_cannot_be_understood_on_the_command_line_ends_with_two() {
    for arguments in [vec![], vec!["srve"], vec!["serve", "--nonsense"], vec!["keys", "revoke"]] {
        let output = run(&arguments, &[]);
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains("Usage"), "{arguments:?}: {}", output.stderr);
        assert_eq!(output.stdout, "");
    }
    let version = run(&["--version"], &[]);
    assert_eq!(version.code, Some(0));
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", version.stdout);
    let help = run(&["--help"], &[]);
    assert_eq!(help.code, Some(0));
    for command in ["serve", "demo", "init", "keys", "config"] {
        assert!(help.stdout.contains(command), "{command} is not in {}", help.stdout);
    }
}
