//! What a configuration as a whole promises: its defaults, the order of its sources, its warnings.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::domain::event::catalogue::Catalogue;

mod broken;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Loads from a file with this text, in which errors call it `config.toml`, and the environment.
fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    load_bytes(text.as_bytes(), environment, &[])
}

fn load_bytes(
    bytes: &[u8],
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Loaded, ConfigErrors> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    let flag = |(key, text): &(&'static str, &str)| (*key, (*text).to_owned());
    Config::load(&Sources {
        file: Some(file.path().to_owned()),
        environment: environment.iter().map(owned).collect(),
        flags: flags.iter().map(flag).collect(),
    })
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_defaults_are_the_published_ones() {
    let loaded = Config::load(&Sources::default()).unwrap();
    let retries = [5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, DAY];
    let expected = Config {
        server: ServerSection {
            listen: "127.0.0.1:8080".parse().unwrap(),
            control_socket: None,
            dashboard: true,
            public_url: None,
            tls_certificate: None,
            tls_key: None,
            metrics_listen: None,
            workers: 2,
            max_connections: 1000,
            request_timeout: seconds(15),
            keep_alive: seconds(150),
        },
        storage: StorageSection {
            engine: StorageEngine::Embedded,
            postgres_url_file: None,
            postgres_schema: "tempclock_webhooks".to_owned(),
            data_dir: PathBuf::from("/var/lib/tempclock-webhooks"),
            encryption_key_file: None,
            free_space_reserve_bytes: 64 << 20,
            cache_bytes: 32 << 20,
        },
        retention: RetentionSection {
            events: seconds(30 * DAY),
            idempotency: seconds(3 * DAY),
            attempts: seconds(30 * DAY),
            held: seconds(30 * DAY),
            audit: seconds(366 * DAY),
        },
        delivery: DeliverySection {
            threads: 64,
            max_in_flight_per_endpoint: 16,
            timeout: seconds(30),
            drain: seconds(30),
            retry_schedule: retries.map(seconds).to_vec(),
            retry_after_max: seconds(DAY),
            disable_after: seconds(5 * DAY),
            allow_http: false,
            allow_networks: Vec::new(),
            allow_hosts: Vec::new(),
            ca_certificates: None,
            client_certificates: Vec::new(),
            proxy: None,
            proxy_credentials_file: None,
            no_proxy: Vec::new(),
        },
        limits: LimitsSection { event_bytes: 256 << 10, subscriptions_per_account: 100 },
        rate_limit: RateLimitSection {
            management_per_minute: 60,
            publish_per_minute: 0,
            feed_per_minute: 0,
            wrong_keys_per_minute: 20,
        },
        alerts: AlertsSection {
            email_to: Vec::new(),
            email_from: None,
            smtp: None,
            smtp_credentials_file: None,
            webhook_url: None,
            webhook_secret_file: None,
            command: None,
            digest: None,
            failing_after: seconds(HOUR),
            backup_missed_after: seconds(36 * HOUR),
            feed_behind_after: seconds(HOUR),
        },
        log: LogSection { level: "info".to_owned(), format: LogFormat::Text },
        catalogue: Catalogue::built_in(),
    };
    assert_eq!(loaded.config, expected);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert!(loaded.origins.values().all(|o| *o == Origin::Default));
}

#[test]
fn the_example_has_every_key_that_is_read_and_no_other() {
    let mut errors_found = ErrorCollector::new(String::new());
    let gathered = source::gather(&Sources::default(), &mut errors_found);
    let in_example: BTreeSet<&str> = gathered.keys().collect();
    let loaded = Config::load(&Sources::default()).unwrap();
    assert_eq!(loaded.origins.keys().copied().collect::<BTreeSet<_>>(), in_example);
    assert_eq!(loaded.values.keys().copied().collect::<BTreeSet<_>>(), in_example);
}

#[test]
fn the_example_explains_every_key_in_the_line_above_it() {
    let mut before = "";
    for line in EXAMPLE.lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(before.starts_with("# ") && before.ends_with('.'), "{line}");
        }
        before = line;
    }
}

#[test]
fn the_example_read_as_a_file_changes_nothing_but_the_origins() {
    let as_file = load(EXAMPLE, &[]).unwrap();
    let as_default = Config::load(&Sources::default()).unwrap();
    assert_eq!(as_file.config, as_default.config);
    assert_eq!(as_file.values, as_default.values);
    let elsewhere = as_file.origins.iter().filter(|(_, origin)| !matches!(origin, Origin::File { .. }));
    // A list of tables cannot be shown at its default, which is none.
    assert_eq!(elsewhere.map(|(key, _)| *key).collect::<Vec<_>>(), ["delivery.client_certificate", "event_type"]);
}

/// The suggestions at the end of the example, without their comment signs.
fn suggestions() -> String {
    let (_, commented) = EXAMPLE.split_once("\n# [[event_type]]\n").unwrap();
    let lines = commented.lines().map(|line| line.strip_prefix("# ").unwrap_or_default());
    format!("[[event_type]]\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_suggested_event_types_are_valid_as_they_stand() {
    let whole = load(&format!("{EXAMPLE}\n{}", suggestions()), &[]).unwrap();
    let built_in = Catalogue::built_in().types().len();
    let suggested = &whole.config.catalogue.types()[built_in..];
    assert_eq!(
        suggested.iter().map(|known| known.event_type.name()).collect::<Vec<_>>(),
        ["clock_edited", "clock_deleted", "break_started", "break_ended", "timesheet_approved", "pay_period_closed"]
    );
    assert!(suggested.iter().all(|known| !known.description.is_empty() && !known.fields.is_empty()));
    let shown = format!("event_type = {}", whole.values["event_type"]);
    assert_eq!(load(&shown, &[]).unwrap().config.catalogue, whole.config.catalogue);
    let by_environment = [("TEMPCLOCK_WEBHOOKS_EVENT_TYPE", whole.values["event_type"].as_str())];
    assert_eq!(load("", &by_environment).unwrap().config.catalogue, whole.config.catalogue);
}

#[test]
fn the_effective_values_are_a_configuration_that_says_the_same() {
    let environment = [
        ("TEMPCLOCK_WEBHOOKS_DELIVERY__RETRY_SCHEDULE", "1s, 2m"),
        ("TEMPCLOCK_WEBHOOKS_DELIVERY__THREADS", "128"),
        ("TEMPCLOCK_WEBHOOKS_STORAGE__DATA_DIR", "/srv/a \"b\" \\c"),
    ];
    let loaded = load("", &environment).unwrap();
    let lines = loaded.values.iter();
    let lines: Vec<String> = lines.map(|(key, value)| format!("{key} = {value}")).collect();
    assert_eq!(load(&lines.join("\n"), &[]).unwrap().config, loaded.config);
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let variable = "TEMPCLOCK_WEBHOOKS_SERVER__LISTEN";
    let key = "server.listen";
    let text = "[server]\n\nlisten = \"127.0.0.1:2\"\n";
    let environment = [(variable, "127.0.0.1:3")];
    let flags = [(key, "127.0.0.1:4")];
    let by_variable = Origin::Environment { variable: variable.to_owned() };
    for (loaded, port, origin) in [
        (load_bytes(b"", &[], &[]), 8080, Origin::Default),
        (load(text, &[]), 2, Origin::File { line: 3 }),
        (load(text, &environment), 3, by_variable.clone()),
        (load("", &environment), 3, by_variable),
        (load_bytes(text.as_bytes(), &[], &flags), 4, Origin::Flag),
        (load_bytes(text.as_bytes(), &environment, &flags), 4, Origin::Flag),
    ] {
        let loaded = loaded.unwrap();
        assert_eq!(loaded.config.server.listen.port(), port);
        assert_eq!(loaded.origins[key], origin);
        assert_eq!(loaded.values[key], format!("\"127.0.0.1:{port}\""));
    }
}

#[test]
fn an_empty_value_of_a_stronger_source_takes_a_path_away() {
    let environment = [("TEMPCLOCK_WEBHOOKS_DELIVERY__CA_CERTIFICATES", "")];
    let text = "[delivery]\nca_certificates = \"/etc/roots.pem\"\n";
    let set = load(text, &[]).unwrap().config.delivery.ca_certificates;
    assert_eq!(set, Some(PathBuf::from("/etc/roots.pem")));
    let unset = load(text, &environment).unwrap();
    assert_eq!(unset.config.delivery.ca_certificates, None);
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    let defaults = Config::load(&Sources::default()).unwrap();
    for (key, value) in &defaults.values {
        let variable = source::variable_name(key);
        let text = value.trim_matches('"');
        let loaded = load("", &[(&variable, text)]).unwrap();
        assert_eq!(loaded.config, defaults.config, "{variable}");
        assert_eq!(loaded.origins[key], Origin::Environment { variable });
    }
}

#[test]
fn lists_and_switches_are_read_from_the_environment() {
    let variable = "TEMPCLOCK_WEBHOOKS_DELIVERY__RETRY_SCHEDULE";
    for (text, expected) in [
        ("5s,1m", vec![5, 60]),
        (" 5s , 1m ", vec![5, 60]),
        ("[\"5s\", \"1m\"]", vec![5, 60]),
        ("5s", vec![5]),
        ("", vec![]),
        ("[]", vec![]),
    ] {
        let loaded = load("", &[(variable, text)]).unwrap();
        let expected: Vec<Duration> = expected.into_iter().map(seconds).collect();
        assert_eq!(loaded.config.delivery.retry_schedule, expected, "{text}");
    }
    let environment = [("TEMPCLOCK_WEBHOOKS_DELIVERY__ALLOW_HTTP", "true")];
    assert!(load("", &environment).unwrap().config.delivery.allow_http);
}

#[test]
fn variables_of_others_and_the_one_for_the_file_are_passed_over() {
    let environment = [("PATH", "/bin"), ("TEMPCLOCK_WEBHOOK", "x"), (CONFIG_VARIABLE, "/etc/x.toml")];
    assert!(load("", &environment).is_ok());
}

#[test]
fn the_ends_of_a_range_are_inside_it() {
    let text = "
        server = { workers = 64, max_connections = 100_000, request_timeout = '1h', keep_alive = '1h' }
        storage = { cache = '8MiB', free_space_reserve = '0' }
        retention = { events = '24h', idempotency = '7d', attempts = '366d', held = '1h' }
        limits = { event_bytes = 1024, subscriptions_per_account = 1 }
        rate_limit = { publish_per_minute = 0xffff_ffff }
        [delivery]
        threads = 1024
        max_in_flight_per_endpoint = 256
        drain = '0s'
        timeout = '1ms'
        retry_schedule = []
        retry_after_max = '366d'
    ";
    let config = load(text, &[]).unwrap().config;
    assert_eq!(config.limits.event_bytes, 1024);
    assert_eq!(config.rate_limit.publish_per_minute, u32::MAX);
    assert!(config.delivery.retry_schedule.is_empty());
    let marked = "\u{feff}[delivery]\r\nthreads = 16\r\n";
    assert_eq!(load(marked, &[]).unwrap().config.delivery.threads, 16);
}

#[test]
fn settings_that_are_seldom_meant_are_warned_about() {
    for (setting, expected) in [
        ("drain = '29s'", "delivery.drain"),
        ("allow_http = true", "delivery.allow_http"),
        ("allow_networks = ['127.0.0.0/8']", "127.0.0.0/8"),
        ("allow_networks = ['10.0.0.0/8', '::/0']", "::/0"),
        ("allow_hosts = ['crm.internal']", "crm.internal"),
    ] {
        let warnings = load(&format!("[delivery]\n{setting}"), &[]).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{setting}: {warnings:?}");
        assert!(warnings[0].contains(expected), "{setting}: {warnings:?}");
    }
    for (setting, count) in [
        ("listen = '0.0.0.0:8080'", 1),
        ("listen = '[::]:8080'", 1),
        ("listen = '[::1]:8080'", 0),
        ("listen = '[::ffff:127.0.0.1]:8080'", 0),
        ("listen = '0.0.0.0:8080'\ntls_certificate = 'a'\ntls_key = 'b'", 0),
    ] {
        let warnings = load(&format!("[server]\n{setting}"), &[]).unwrap().warnings;
        assert_eq!(warnings.len(), count, "{setting}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("server.listen")), "{setting}: {warnings:?}");
    }
    for (setting, count) in [("24h", 1), ("167h", 1), ("7d", 0)] {
        let warnings = load(&format!("[retention]\nevents = '{setting}'"), &[]).unwrap().warnings;
        assert_eq!(warnings.len(), count, "{setting}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("retention.events")), "{setting}: {warnings:?}");
    }
    let quiet = "[delivery]\nallow_networks = ['10.0.0.0/8']\ndrain = '31s'";
    assert_eq!(load(quiet, &[]).unwrap().warnings, Vec::<String>::new());
}
