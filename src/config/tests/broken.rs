//! Broken configurations: each is refused with the key, the place and a way out.

use super::*;

/// Errors with the name of the temporary file replaced by the one people know.
fn told(loaded: Result<Loaded, ConfigErrors>) -> Vec<ConfigError> {
    let mut errors = loaded.unwrap_err().errors().to_vec();
    for error in &mut errors {
        if let Some(at) = error.place.find(" line ") {
            error.place.replace_range(..at, "config.toml");
        }
    }
    errors
}

fn lines(loaded: Result<Loaded, ConfigErrors>) -> Vec<String> {
    told(loaded).iter().map(ToString::to_string).collect()
}

/// Section, line in it, and what the error says, apart from the key.
const BROKEN: &[(&str, &str, &str)] = &[
    ("server", "listen = 'localhost:8080'", "127.0.0.1:8080"),
    ("server", "listen = ''", "address"),
    ("server", "listen = '127.0.0.1'", "port"),
    ("server", "listen = '127.0.0.1:70000'", "port"),
    ("server", "listen = 8080", "address"),
    ("server", "metrics_listen = ':9090'", "address"),
    ("server", "control_socket = 5", "path"),
    ("server", "tls_key = \"\"\"a\nb\"\"\"", "line break"),
    ("server", "tls_certificate = '/etc/x.pem'", "set both or none"),
    ("server", "workers = 0", "1 to 64"),
    ("server", "workers = 65", "1 to 64"),
    ("server", "workers = '2'", "without quotes"),
    ("server", "max_connections = 0", "1 to 100000"),
    ("server", "max_connections = -5", "1 to 100000"),
    ("server", "request_timeout = '0s'", "1ms to 1h"),
    ("server", "request_timeout = 15", "\"30s\""),
    ("server", "keep_alive = '0s'", "1s to 1h"),
    ("server", "keep_alive = '61m'", "1s to 1h"),
    ("storage", "engine = 'oracle'", "\"embedded\" or \"postgres\""),
    ("storage", "engine = 'postgres'", "name the file"),
    ("storage.postgres", "url_file = 5", "path"),
    ("storage.postgres", "schema = 'Events'", "a-z"),
    ("storage.postgres", "schema = 'pg_events'", "pg_"),
    ("storage", "data_dir = ''", "empty"),
    ("storage", "data_dir = '  '", "spaces"),
    ("storage", "data_dir = ['/a']", "path"),
    ("storage", "free_space_reserve = '64 bananas'", "\"64KiB\""),
    ("storage", "free_space_reserve = '-1MiB'", "size"),
    ("storage", "free_space_reserve = '99999999999EiB'", "1TiB"),
    ("storage", "cache = '7MiB'", "8MiB to 16GiB"),
    ("storage", "cache = '17GiB'", "8MiB to 16GiB"),
    ("storage", "cache = 0", "8MiB to 16GiB"),
    ("storage", "cache = true", "size"),
    ("retention", "events = '23h'", "24h"),
    ("retention", "events = '367d'", "366d"),
    ("retention", "idempotency = '23h'", "1d to 7d"),
    ("retention", "idempotency = '8d'", "7d"),
    ("retention", "attempts = '0'", "366d"),
    ("retention", "held = '0'", "366d"),
    ("retention", "held = '367d'", "366d"),
    ("retention", "attempts = '1M'", "months"),
    ("retention", "attempts = '1y'", "years"),
    ("retention", "attempts = '99999999999999999999d'", "duration"),
    ("delivery", "threads = 0", "1 to 1024"),
    ("delivery", "threads = 1025", "1 to 1024"),
    ("delivery", "threads = 6.4", "decimals"),
    ("delivery", "threads = 99999999999999999999", "1 to 1024"),
    ("delivery", "threads = 2026-01-01", "date"),
    ("delivery", "threads = {}", "table"),
    ("delivery", "max_in_flight_per_endpoint = 257", "1 to 256"),
    ("delivery", "timeout = '30 bananas'", "\"30s\", \"5m\", \"2h\", \"5d\""),
    ("delivery", "timeout = '61m'", "1ms to 1h"),
    ("delivery", "timeout = '999ns'", "1ms to 1h"),
    ("delivery", "drain = '11m'", "0s to 10m"),
    ("delivery", "drain = '-1s'", "duration"),
    ("delivery", "retry_schedule = '5s'", "list"),
    ("delivery", "retry_schedule = ['5s', 'soon']", "entry 2"),
    ("delivery", "retry_schedule = [5]", "entry 1"),
    ("delivery", "retry_schedule = ['0s']", "1ms to 366d"),
    ("delivery", "retry_after_max = '1 year'", "years"),
    ("delivery", "disable_after = ''", "duration"),
    ("delivery", "allow_http = 'yes'", "true or false"),
    ("delivery", "allow_http = 1", "true or false"),
    ("delivery", "allow_networks = ['10.0.0.1/8']", "10.0.0.0/8"),
    ("delivery", "allow_networks = ['intranet']", "10.20.0.0/16"),
    ("delivery", "allow_hosts = ['https://crm']", "no scheme"),
    ("delivery", "allow_hosts = ['10.0.0.1']", "allow_networks"),
    ("delivery", "ca_certificates = false", "path"),
    ("limits", "event_bytes = '1023B'", "1KiB to 16MiB"),
    ("limits", "event_bytes = '17MiB'", "1KiB to 16MiB"),
    ("limits", "subscriptions_per_account = 0", "1 to 100000"),
    ("limits", "subscriptions_per_account = 100001", "1 to 100000"),
    ("rate_limit", "management_per_minute = -1", "0 to 4294967295"),
    ("rate_limit", "publish_per_minute = 'many'", "whole number"),
    ("log", "level = 'inof'", "\"info\""),
    ("log", "level = 3", "log filter"),
];

#[test]
fn every_broken_value_is_refused_with_its_key_line_and_a_way_out() {
    for (section, setting, way_out) in BROKEN {
        let errors = told(load(&format!("\n[{section}]\n{setting}\n"), &[]));
        assert_eq!(errors.len(), 1, "{setting}: {errors:?}");
        let error = &errors[0];
        let name = match *setting {
            "tls_certificate = '/etc/x.pem'" => "tls_key",
            "engine = 'postgres'" => "postgres.url_file",
            _ => setting.split(' ').next().unwrap(),
        };
        let key = format!("{section}.{name}");
        assert_eq!(error.key.as_deref(), Some(key.as_str()), "{setting}");
        assert_eq!(error.place, "config.toml line 3", "{setting}");
        assert!(error.message.contains(&key), "{setting}: {error}");
        assert!(error.message.contains(way_out), "{setting}: {error}");
    }
}

#[test]
fn every_broken_value_is_refused_in_the_environment_too() {
    let plain = |(_, setting, _): &&(&str, &str, &str)| {
        let value = setting.split_once(" = ").map_or("", |(_, value)| value);
        // Quotes and kinds are TOML's; what is plain text here may be right.
        !value.is_empty() && !value.contains(['"', '{']) && !setting.starts_with("tls_")
    };
    let right_as_text = [
        "control_socket = 5",
        "url_file = 5",
        "engine = 'postgres'",
        "workers = '2'",
        "data_dir = ['/a']",
        "ca_certificates = false",
        "retry_schedule = '5s'",
    ];
    for (section, setting, _) in BROKEN.iter().filter(plain) {
        if right_as_text.contains(setting) {
            continue;
        }
        let (name, value) = setting.split_once(" = ").unwrap();
        let key = format!("{section}.{name}");
        let variable = source::variable_name(&key);
        let errors = told(load("", &[(&variable, value.trim_matches('\''))]));
        assert_eq!(errors.len(), 1, "{setting}: {errors:?}");
        assert_eq!(errors[0].key, Some(key), "{setting}");
        assert_eq!(errors[0].place, format!("environment variable {variable}"));
    }
}

#[test]
fn unknown_names_are_told_with_line_and_nearest_name() {
    for (text, expected) in [
        (
            "# a\n[delivery]\n\n\n\n\nthread = 5",
            r#"config.toml line 7: unknown key "delivery.thread"; did you mean "delivery.threads"?"#,
        ),
        ("threads = 5", r#"config.toml line 1: unknown key "threads"; did you mean "delivery.threads"?"#),
        (
            "[server]\nthreads = 5",
            r#"config.toml line 2: unknown key "server.threads"; did you mean "delivery.threads"?"#,
        ),
        (
            "[storag]\ncache = '64MiB'",
            r#"config.toml line 2: unknown key "storag.cache"; did you mean "storage.cache"?"#,
        ),
        ("[storag]\nred = 1\nwhite = 2", r#"config.toml line 2: unknown section "storag"; did you mean [storage]?"#),
        ("[storag]", r#"config.toml line 1: unknown section "storag"; did you mean [storage]?"#),
        (
            "\"server.listen\" = '[::1]:1'",
            r#"config.toml line 1: "server.listen" in quotes is one name with a dot; write server.listen unquoted"#,
        ),
        (
            "[delivery.retry]\nschedule = []",
            r#"config.toml line 1: unknown key "delivery.retry"; the nearest known one is "delivery.proxy"; config.toml.example lists all"#,
        ),
        ("delivery = 5", r#"config.toml line 1: "delivery" is a section; write [delivery] with its keys below it"#),
        (
            "[[delivery]]\nthreads = 5",
            r#"config.toml line 1: "delivery" is a section; write [delivery] with its keys below it"#,
        ),
    ] {
        assert_eq!(lines(load(text, &[])), [expected]);
    }
}

#[test]
fn unknown_variables_are_told_with_the_nearest_one() {
    for variable in [
        "TEMPCLOCK_WEBHOOKS_DELIVERY_THREADS",
        "TEMPCLOCK_WEBHOOKS_DELIVERY__THREAD",
        "TEMPCLOCK_WEBHOOKS_THREADS",
        "TEMPCLOCK_WEBHOOKS_delivery__threads",
    ] {
        assert_eq!(
            lines(load("", &[(variable, "5")])),
            [format!(
                "environment variable {variable}: does not name a key; \
                 did you mean TEMPCLOCK_WEBHOOKS_DELIVERY__THREADS?"
            )]
        );
    }
}

#[test]
fn errors_of_all_sources_come_together_in_order() {
    let text = "[log]\nlevel = 'inof'\n[delivery]\nthread = 5\ntimeout = '30 bananas'\n\
        retry_schedule = ['a', '5s', 'b']\n[retention]\nevents = '1h'";
    let environment = [
        ("TEMPCLOCK_WEBHOOKS_DELIVERY__THREADS", "many"),
        ("TEMPCLOCK_WEBHOOKS_SERVER__TLS_KEY", "/etc/key.pem"),
        ("TEMPCLOCK_WEBHOOKS_NONSENSE", ""),
    ];
    let flags = [("server.listen", "nowhere")];
    let errors = told(load_bytes(text.as_bytes(), &environment, &flags));
    let told: Vec<(&str, &str)> =
        errors.iter().map(|error| (error.place.as_str(), error.key.as_deref().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("config.toml line 2", "log.level"),
            ("config.toml line 4", "delivery.thread"),
            ("config.toml line 5", "delivery.timeout"),
            ("config.toml line 6", "delivery.retry_schedule"),
            ("config.toml line 6", "delivery.retry_schedule"),
            ("config.toml line 8", "retention.events"),
            ("environment variable TEMPCLOCK_WEBHOOKS_DELIVERY__THREADS", "delivery.threads"),
            ("environment variable TEMPCLOCK_WEBHOOKS_NONSENSE", "nonsense"),
            ("environment variable TEMPCLOCK_WEBHOOKS_SERVER__TLS_KEY", "server.tls_certificate"),
            ("flag --listen", "server.listen"),
        ]
    );
}

#[test]
fn a_broken_value_is_told_even_when_a_stronger_source_hides_it() {
    let environment = [("TEMPCLOCK_WEBHOOKS_DELIVERY__THREADS", "32")];
    let told = lines(load("[delivery]\nthreads = 0", &environment));
    assert_eq!(told, ["config.toml line 2: delivery.threads = 0 is out of range; allowed is 1 to 1024"]);
}

#[test]
fn a_rule_is_told_at_the_setting_that_broke_it() {
    let told = lines(load("[server]\n\ntls_certificate = '/c'", &[]));
    assert_eq!(told, ["config.toml line 3: server.tls_certificate is set but server.tls_key is not; set both or none"]);
    let broken = "[server]\ntls_certificate = 5";
    assert_eq!(lines(load(broken, &[])).len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_hides_no_other_error_and_breaks_no_rule() {
    let sources = Sources {
        file: Some("/nowhere/config.toml".into()),
        environment: vec![
            ("TEMPCLOCK_WEBHOOKS_SERVER__TLS_KEY".into(), "/k".into()),
            ("TEMPCLOCK_WEBHOOKS_SERVER__WORKERS".into(), "0".into()),
        ],
        flags: Vec::new(),
    };
    let errors = Config::load(&sources).unwrap_err();
    let [missing, workers] = errors.errors() else {
        panic!("{errors}");
    };
    assert_eq!(missing.place, "/nowhere/config.toml");
    assert!(missing.message.starts_with("cannot be read: "), "{missing}");
    assert_eq!(workers.key.as_deref(), Some("server.workers"));
}

#[test]
fn text_that_is_not_toml_or_not_text_is_told_with_line_and_column() {
    let place = |bytes: &[u8]| told(load_bytes(bytes, &[], &[]))[0].place.clone();
    assert_eq!(place(b"[log]\nlevel = \xff"), "config.toml line 2 column 9");
    assert_eq!(place(b"[log]\n  level info"), "config.toml line 2 column 9");
    assert_eq!(place(b"[log]\nlevel = 'a'\nlevel = 'b'"), "config.toml line 3 column 1");
    let pasted = lines(load("[server]\ntls_key = -----BEGIN SECRET", &[])).join("\n");
    assert!(!pasted.contains("SECRET"), "{pasted}");
}

#[test]
fn a_list_in_the_environment_that_is_none_is_told() {
    let variable = "TEMPCLOCK_WEBHOOKS_DELIVERY__ALLOW_HOSTS";
    for text in ["['a'", "[a]", "['a'] ['b']", "a,,b", "[1]"] {
        let errors = told(load("", &[(variable, text)]));
        assert_eq!(errors[0].key.as_deref(), Some("delivery.allow_hosts"), "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    let deep = "[".repeat(200_000);
    assert!(load(&format!("a = {deep}"), &[]).is_err());
    let variable = "TEMPCLOCK_WEBHOOKS_DELIVERY__ALLOW_HOSTS";
    assert!(load("", &[(variable, &deep)]).is_err());
}

#[test]
fn fifty_waits_are_allowed_and_one_more_is_not() {
    let schedule = |waits: usize| {
        let waits = vec!["'1s'"; waits].join(",");
        load(&format!("[delivery]\nretry_schedule = [{waits}]"), &[])
    };
    assert!(schedule(50).is_ok());
    assert!(told(schedule(51))[0].message.contains("0 to 50"));
}

#[test]
fn a_wrong_event_type_is_told_with_its_line_and_all_at_once() {
    let text =
        "[[event_type]]\nname = \"a\"\ndescripton = \"x\"\nopt_in = 1\n\n[[event_type]]\nrequired = { a = \"uuid\" }\n";
    let found = lines(load(text, &[]));
    for (line, words) in [
        (3, "event_type number 1: unknown key \"descripton\"; did you mean \"description\"?"),
        (4, "event_type number 1: opt_in = 1 is not true or false"),
        (7, "event_type number 2: required .a = \"uuid\" is not a known word"),
        (7, "event_type number 2: name is missing"),
    ] {
        let place = format!("config.toml line {line}: ");
        assert!(found.iter().any(|told| told.starts_with(&place) && told.contains(words)), "{line} {words}: {found:?}");
    }
    for (text, words) in [
        ("[event_type]\nname = \"a\"", "line 1: event_type is not a list of tables; write [[event_type]]"),
        ("event_type = [1]", "event_type number 1: is not a table"),
        ("[[event_type]]\nname = \"ping\"", "is a built-in type"),
        ("[[event_type]]\nname = \"a\"\n[[event_type]]\nname = \"a\"", "line 4: event_type declares \"a\" twice"),
        ("[[event_type]]\nname = \"a\"\nrequired = { b = \"id\" }\nexample = \"{}\"", "data.b is missing"),
        ("[[event_types]]\nname = \"a\"", "did you mean \"event_type\"?"),
    ] {
        let found = lines(load(text, &[]));
        assert!(found.len() == 1 && found[0].contains(words), "{text}: {found:?}");
    }
}
