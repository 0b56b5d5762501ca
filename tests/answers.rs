//! No byte that came before a request was sent answers it, and a delivery is told what answered its request and nothing
//! else: the real transport over real sockets, with a receiver that sends valid, cut, damaged, doubled and stray answers in
//! pieces of any length, several deliveries a connection.
//!
//! The long form makes 1,000,000 deliveries: `TEMPCLOCK_LONG=1 cargo test --release --test answers --
//! --nocapture`. `TEMPCLOCK_SEED=n` draws other ones.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as promised")]

#[path = "simulation/dice.rs"]
mod dice;
#[path = "answers/peer.rs"]
mod peer;
#[path = "answers/plan.rs"]
mod plan;

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tempclock_webhooks::clock::Clock;
use tempclock_webhooks::delivery::Transport;
use tempclock_webhooks::delivery::send::address::guard::Guard;
use tempclock_webhooks::delivery::send::tls::{TlsSettings, client_config};
use tempclock_webhooks::delivery::send::transport::{Sent, TransportSettings};
use tempclock_webhooks::domain::endpoint::address::AddressRule;
use tempclock_webhooks::domain::endpoint::{Endpoint, EndpointPolicy};
use tempclock_webhooks::domain::event::content::EventContent;
use tempclock_webhooks::domain::event::event_type::EventType;
use tempclock_webhooks::domain::event::event_types::EventTypes;
use tempclock_webhooks::domain::options::Options;
use tempclock_webhooks::domain::signing::SigningSecret;
use tempclock_webhooks::domain::signing_keys::SigningKeys;
use tempclock_webhooks::domain::subscription::{Subscription, SubscriptionState};
use tempclock_webhooks::domain::{AccountId, EventId, SubscriptionId, Timestamp};

use dice::Dice;
use peer::{Peer, Seen};
use plan::Plan;

const DELIVERIES: u64 = 6_000;
const DELIVERIES_IN_LONG: u64 = 1_000_000;

/// What the receiver speaks.
struct Kind {
    name: &'static str,
    version: Option<&'static SupportedProtocolVersion>,
    /// How many of a hundred deliveries go to it.
    percent: u64,
}

const PLAIN: Kind = Kind { name: "http", version: None, percent: 40 };
const TLS_1_3: Kind = Kind { name: "TLS 1.3", version: Some(&TLS13), percent: 40 };
const TLS_1_2: Kind = Kind { name: "TLS 1.2", version: Some(&TLS12), percent: 20 };

#[derive(Default, Debug)]
struct Counts {
    deliveries: u64,
    delivered: u64,
    false_successes: u64,
    connections: usize,
    spoken_first: u64,
}

#[test]
fn over_plain_http_each_delivery_is_told_what_answered_it() {
    deliver(&PLAIN);
}

#[test]
fn over_tls_1_3_each_delivery_is_told_what_answered_it() {
    deliver(&TLS_1_3);
}

#[test]
fn over_tls_1_2_each_delivery_is_told_what_answered_it() {
    deliver(&TLS_1_2);
}

fn deliver(kind: &Kind) {
    let seed = std::env::var("TEMPCLOCK_SEED").map_or(1, |text| text.parse().unwrap());
    let all = if std::env::var_os("TEMPCLOCK_LONG").is_some() { DELIVERIES_IN_LONG } else { DELIVERIES };
    let deliveries = all * kind.percent / 100;
    println!("{}: {deliveries} deliveries with TEMPCLOCK_SEED={seed}", kind.name);

    let (authority, tls) = certificates(kind.version);
    let mut peer = Peer::new(tls, Dice::new(!seed));
    let scheme = if kind.version.is_some() { "https" } else { "http" };
    let mut receiving = subscription(&format!("{scheme}://{}/hook", peer.address()));
    let (give, plans) = mpsc::sync_channel::<Arc<Plan>>(0);
    let (report, reports) = mpsc::sync_channel::<Seen>(0);
    let (mut bell, rung) = UnixStream::pair().unwrap();
    let receiver = thread::spawn(move || {
        stay_on_one_processor();
        for plan in plans {
            if report.send(peer.carry_out(&plan, &rung)).is_err() {
                return;
            }
        }
    });

    let transport = transport(authority);
    let mut dice = Dice::new(seed);
    let mut counts = Counts::default();
    for number in 1..=deliveries {
        let plan = Arc::new(Plan::draw(&mut dice, number));
        give.send(Arc::clone(&plan)).unwrap();
        let body = vec![b'e'; if dice.one_in(10) { dice.below(20_000) } else { 200 }];
        let content = EventContent::new(EventType::ClockIn, body);
        let sent = transport.send(&receiving, "own", &Sent::One(EventId(number.into()), &content), 1);
        bell.write_all(b"x").unwrap();
        let happened = reports.recv().unwrap();

        counts.deliveries += 1;
        counts.delivered += u64::from(sent.attempt.outcome.is_delivered());
        counts.false_successes += u64::from(plan.is_false_success(&sent.attempt.outcome, happened.requests));
        counts.connections += happened.connections;
        counts.spoken_first += u64::from(happened.has_spoken_first);
        assert_eq!(counts.false_successes, 0, "delivery {number} of seed {seed}: {:?}", sent.attempt.outcome);
        assert_eq!(happened.fault, None, "delivery {number} of seed {seed}");
        plan.check(&sent.attempt, happened.requests, happened.has_spoken_first);
        if let Some(address) = happened.moved_to {
            receiving = subscription(&format!("{scheme}://{address}/hook"));
        }
    }
    drop(give);
    receiver.join().unwrap();
    println!("{}: {counts:?}", kind.name);
    let made = u64::try_from(counts.connections).unwrap();
    assert!(made > deliveries / 10 && made < deliveries, "{made} connections for {deliveries} deliveries");
}

/// What is sent on one processor arrives in order, whichever sockets it goes over.
fn stay_on_one_processor() {
    let allowed = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|number| allowed.is_set(*number)).unwrap();
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).unwrap();
}

fn transport(authority: Vec<CertificateDer<'static>>) -> Arc<Transport> {
    let settings = TransportSettings {
        timeout: Duration::from_mins(1),
        per_endpoint: 4,
        connections: 16,
        allow_http: true,
        retry_after_max: Duration::from_hours(24),
    };
    let rule = AddressRule::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
    let tls = TlsSettings { plain: client_config(authority).unwrap(), certificates: Vec::new() };
    Transport::new(settings, tls, Guard::new(rule, 1), None, Clock::start())
}

fn subscription(url: &str) -> Subscription {
    let addresses = AddressRule::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
    let now = Timestamp::from_ms(0);
    Subscription {
        id: SubscriptionId(1),
        account: AccountId(1),
        endpoint: Endpoint::parse(url, &EndpointPolicy { allow_http: true, addresses }).unwrap(),
        events: EventTypes::from_stored(["clock_in"]).unwrap(),
        description: String::new(),
        keys: SigningKeys::of(SigningSecret::from_random(&[7; 32])),
        options: Options::defaults(),
        state: SubscriptionState::Active,
        created_at: now,
        updated_at: now,
    }
}

/// An authority, and what a receiver with a certificate of it serves with.
fn certificates(
    version: Option<&'static SupportedProtocolVersion>,
) -> (Vec<CertificateDer<'static>>, Option<Arc<ServerConfig>>) {
    let Some(version) = version else { return (Vec::new(), None) };
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&params, &authority_key);
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    config.send_half_rtt_data = version == &TLS13;
    (vec![root.der().clone()], Some(Arc::new(config)))
}
