//! What is fuzzed, shared by libFuzzer's targets and by the bounded run of the ordinary tests. Each function takes any
//! bytes, hands them to a reader of untrusted text, and panics when what comes out breaks a promise.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use tempclock_webhooks::config::{Config, Origin, Sources};
use tempclock_webhooks::domain::delivery::retry::parse_retry_after;
use tempclock_webhooks::domain::endpoint::address::AddressRule;
use tempclock_webhooks::domain::endpoint::{Endpoint, EndpointPolicy, MAX_URL_LENGTH};
use tempclock_webhooks::domain::event::catalogue::Catalogue;
use tempclock_webhooks::domain::event::data::MAX_DEPTH;
use tempclock_webhooks::domain::event::event_type::EventType;
use tempclock_webhooks::domain::event::event_types::EventTypes;
use tempclock_webhooks::domain::options::{OptionLimits, Options};
use tempclock_webhooks::domain::signing::SigningSecret;
use tempclock_webhooks::domain::signing_keys::SigningKeys;
use tempclock_webhooks::domain::subscription::{Subscription, SubscriptionState};
use tempclock_webhooks::domain::{AccountId, EventId, KeyId, SubscriptionId, Timestamp};
use tempclock_webhooks::http::api::event_body::EventRules;
use tempclock_webhooks::http::api::subscription_body::{Purpose, Read, SubscriptionRules};
use tempclock_webhooks::http::api::{event_body, subscription_body};
use tempclock_webhooks::http::request::error::ApiError;
use tempclock_webhooks::storage::rows::delivery_record;
use tempclock_webhooks::storage::rows::format_2;
use tempclock_webhooks::storage::rows::history_record;
use tempclock_webhooks::storage::rows::record;
use tempclock_webhooks::storage::rows::subscription_record::{self, SubscriptionRow};
use tempclock_webhooks::storage::sealing::Seal;

/// One thing that reads what others wrote.
pub type Target = fn(&[u8]);

/// All of them, by the names of their folders in the corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("publish", publish),
    ("subscription", subscription),
    ("url", url),
    ("record", record),
    ("configuration", configuration),
    ("retry_after", retry_after),
];

/// A refusal blames the caller, and says something.
fn check_refusal(error: &ApiError) {
    assert!((400..500).contains(&error.status()), "{error}");
    assert!(!error.to_string().is_empty());
}

/// The body of `POST /events` and of `POST /events/batch`.
pub fn publish(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let catalogue = Catalogue::built_in();
    let rules = EventRules { event_bytes: 64 * 1024, catalogue: &catalogue, filtered: &[] };
    let body = text.into();
    match event_body::one(&body, Some("key"), &rules) {
        Err(error) => check_refusal(&error),
        Ok(event) => {
            assert!(text.contains(&*event.data), "the data is not what was published");
            let value: serde_json::Value = serde_json::from_str(&event.data).expect("data that receivers can read");
            assert!(depth(&value) <= MAX_DEPTH);
        }
    }
    match event_body::batch(&body, Some("key"), &rules) {
        Err(error) => check_refusal(&error),
        Ok(events) => assert!((1..=1000).contains(&events.len())),
    }
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The body of `POST /webhooks` and `PUT /webhooks/{id}`.
pub fn subscription(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let policy = EndpointPolicy { allow_http: true, addresses: AddressRule::default() };
    let before = before();
    let limits = OptionLimits { timeout: Duration::from_secs(30), max_in_flight: 16 };
    for purpose in [Purpose::Create, Purpose::Change(&before)] {
        let (policy, catalogue, account) = (&policy, Catalogue::built_in(), "default");
        let rules = SubscriptionRules { policy, limits, catalogue, certificates: &[], account };
        match subscription_body::read(text, rules, purpose) {
            Err(error) => check_refusal(&error),
            Ok(Read { change, options, .. }) => {
                let is_whole = change.endpoint.is_some() && change.events.is_some();
                assert!(is_whole || matches!(purpose, Purpose::Change(_)));
                assert_eq!(Options::from_json(&options.to_json(true)), Some(options));
                change.endpoint.iter().for_each(check_endpoint);
            }
        }
    }
}

/// A subscription to change.
fn before() -> Subscription {
    let at = Timestamp::from_ms(1);
    Subscription {
        id: SubscriptionId(1),
        account: AccountId(1),
        endpoint: Endpoint::from_stored("https://crm.example/").unwrap(),
        events: EventTypes::parse(["clock_in"], &Catalogue::built_in(), None).unwrap(),
        description: String::new(),
        keys: SigningKeys::of(SigningSecret::from_random(&[1; 32])),
        options: Options::defaults(),
        state: SubscriptionState::Active,
        created_at: at,
        updated_at: at,
    }
}

/// A URL, and the rule for the address that it may name.
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let policy = EndpointPolicy { allow_http: true, addresses: AddressRule::default() };
    match Endpoint::parse(text, &policy) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(endpoint) => check_endpoint(&endpoint),
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let verdict = policy.addresses.check(text, &[address]);
        let known = text.parse::<IpAddr>().ok().is_some_and(is_plainly_private);
        assert!(!(known && verdict.is_ok()), "{text} is let through");
    }
}

/// What the standard library knows to be private is never let through.
fn is_plainly_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(a) => {
            a.is_private() || a.is_loopback() || a.is_link_local() || a.is_multicast() || a.is_unspecified()
        }
        IpAddr::V6(a) => a.is_loopback() || a.is_unique_local() || a.is_unicast_link_local() || a.is_multicast(),
    }
}

fn check_endpoint(endpoint: &Endpoint) {
    let text = endpoint.as_str();
    assert!(text.len() <= MAX_URL_LENGTH && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    assert!(text.starts_with(&format!("{}/", endpoint.origin())), "{text}");
    assert_eq!(Endpoint::from_stored(text).as_ref(), Some(endpoint), "{text}");
    // The HTTP client has a reader of URLs of its own; both have to see the same host.
    let seen: ureq::http::Uri = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let seen = seen.host().unwrap_or_default().trim_matches(['[', ']']);
    match endpoint.host().parse::<IpAddr>() {
        Ok(address) => {
            // One address of version 6 can be written in several ways.
            assert_eq!(seen.parse(), Ok(address), "{text}");
            assert!(!is_plainly_private(address), "{text} is let through");
        }
        Err(_) => assert_eq!(seen, endpoint.host(), "{text}"),
    }
}

/// Rows as a damaged or strange file may hold them.
pub fn record(data: &[u8]) {
    if let Ok(row) = record::EventRow::decode(data, |_| Ok(Vec::new().into())) {
        let _ = row.content.is_intact();
        assert!(row.encode(0).is_ok());
    }
    if let Ok(row) = format_2::event(EventId(1), data) {
        let _ = row.content.is_intact();
        assert!(row.encode(0).is_ok());
    }
    let _ = record::EventHead::decode(data);
    let _ = record::IdempotencyRow::decode(data);
    let _ = delivery_record::decode_state(data);
    if let Ok(delivery) = delivery_record::decode(data, EventType::ClockIn) {
        let again = delivery_record::encode(&delivery).expect("a delivery that was read can be written");
        assert!(delivery_record::decode(&again, EventType::ClockIn).is_ok());
    }
    if let Ok(history) = history_record::decode(data) {
        assert!(history_record::encode(&history).is_ok());
    }
    let open = |data: &[u8]| SubscriptionRow::decode(data)?.open(SubscriptionId(1), &Seal::NONE);
    if let Ok(subscription) = open(data) {
        let again = subscription_record::encode(&subscription, &Seal::NONE);
        assert!(open(&again.expect("a subscription that was read can be written")).is_ok());
    }
    if let Ok(key) = tempclock_webhooks::storage::rows::key_record::decode(KeyId(1), data) {
        let again =
            tempclock_webhooks::storage::rows::key_record::encode(&key).expect("a key that was read can be written");
        assert_eq!(tempclock_webhooks::storage::rows::key_record::decode(KeyId(1), &again).ok(), Some(key));
    }
}

/// A configuration file, and the same text as a flag's value.
pub fn configuration(data: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(data).expect("a temporary file that can be written");
    let from_file = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    let flag = ("delivery.retry_schedule", String::from_utf8_lossy(data).into_owned());
    for sources in [from_file, Sources { flags: vec![flag], ..Sources::default() }] {
        match Config::load(&sources) {
            Err(errors) => assert!(!errors.errors().is_empty() && !errors.to_string().is_empty()),
            Ok(loaded) => {
                let delivery = &loaded.config.delivery;
                assert!((1..=1024).contains(&delivery.threads));
                // The default gives way to fewer threads where attempts are scheduled.
                let most = "delivery.max_in_flight_per_endpoint";
                let is_default = loaded.origins.get(most) == Some(&Origin::Default);
                assert!(is_default || delivery.max_in_flight_per_endpoint <= delivery.threads);
                assert!(delivery.retry_schedule.iter().all(|wait| *wait > Duration::ZERO));
            }
        }
    }
}

/// `Retry-After` of a receiver.
pub fn retry_after(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let dates = [None, Some(text), Some("Thu, 01 Jan 1970 00:01:00 GMT")];
    for (now_s, date) in [0, 1_760_000_000, u64::MAX / 2].into_iter().flat_map(|now_s| dates.map(|date| (now_s, date)))
    {
        if let Some(wait) = parse_retry_after(text, date, now_s) {
            let digits = text.trim();
            if let Ok(seconds) = digits.parse::<u64>() {
                assert_eq!(wait, Duration::from_secs(seconds), "{text}");
            }
        }
    }
}
