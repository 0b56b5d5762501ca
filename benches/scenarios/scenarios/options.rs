//! What the options of a subscription cost: `OAuth2`, headers and further signatures in processor time of a delivery, client
//! certificates in memory.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Bench, at_most, complete};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System, median};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand, certificate_name};

const NONE: &str = "none";
/// `OAuth2`, three headers, and the signature of a second secret.
const SIGNED_IN: &str = "signed-in";
/// The same, and the signature of a key pair.
const KEY_PAIR: &str = "key-pair";
const TOKENS: &str = "tokens";
const GROUP: &str = "default";
const PATIENCE: Duration = Duration::from_secs(10);
/// More than without any option.
const MORE_CPU_US: f64 = 15.0;
const CERTIFICATES: usize = 1_000;
/// More than without client certificates.
const MORE_RSS_MB: f64 = 40.0;

/// Processor time, then memory.
pub fn run(bench: &Bench) -> Vec<Row> {
    let mut rows = bench.server_alone("options", |system| processor_time(bench, system));
    rows.extend(bench.server_alone("client certificates", memory));
    rows
}

/// The same load on a subscription without options and on two with some, in turn, as the machine drifts.
fn processor_time(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    const COMPARED: [(&str, &str); 3] = [
        (NONE, "1 endpoint without options"),
        (SIGNED_IN, "1 endpoint: OAuth2, 3 headers, a second secret"),
        (KEY_PAIR, "1 endpoint: the same and ed25519"),
    ];
    let groups = COMPARED.iter().map(|(name, _)| Group::new(name, Behaviour::Healthy, 1));
    let groups = groups.chain([Group::new(TOKENS, Behaviour::Tokens, 1)]).collect();
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    let token_url = stand.receiver.urls(TOKENS).first().cloned().ok_or("no token URL")?;
    let server = stand.server()?;
    for (account, signatures) in
        [(SIGNED_IN, json!(["tempclock", "standard"])), (KEY_PAIR, json!(["tempclock", "standard", "ed25519"]))]
    {
        server.change(account, |_| options(&token_url, &signatures))?;
        server.rotate(account)?;
    }
    for (account, _) in COMPARED {
        stand.warm_up(account, 1_000)?;
    }
    let load = Load::full(128, 30.0).limit(bench.pick(100_000, 20_000));
    let mut rounds = COMPARED.map(|_| Vec::new());
    for _ in 0..bench.pick(5, 3) {
        for ((account, _), rounds) in COMPARED.iter().zip(&mut rounds) {
            stand.receiver.reset()?;
            rounds.push(stand.measure(account, load, PATIENCE)?);
        }
    }
    let mut rows: Vec<Row> = rounds.iter().map(|rounds| Row::median(rounds)).collect();
    let [without, ..] = &rounds;
    for (row, with) in rows.iter_mut().zip(&rounds).skip(1) {
        row.targets.push(at_most("CPU µs more", median_difference(with, without), MORE_CPU_US));
    }
    let named = rows.into_iter().zip(COMPARED).map(|(mut row, (_, name))| {
        row.targets.extend(complete(&row));
        row.named(name, system)
    });
    Ok(named.collect())
}

/// How much more processor time a delivery takes: the median of the differences in each round, as the machine drifts from
/// one round to the next.
fn median_difference(with: &[Row], without: &[Row]) -> Option<f64> {
    let pairs = with.iter().zip(without).filter_map(|(with, without)| with.cpu_us.zip(without.cpu_us));
    median(pairs.map(|(with, without)| with - without).collect())
}

fn options(token_url: &str, signatures: &Value) -> Value {
    json!({
        "headers": {"X-Site": "north", "X-Tenant": "agency-48213", "X-Route": "payroll/clock"},
        "auth": {
            "type": "oauth2_client_credentials", "token_url": token_url, "client_id": "agency",
            "client_secret": "a-secret-of-the-benchmark", "scope": "events:write",
        },
        "signatures": signatures,
    })
}

/// A thousand https endpoints, without client certificates and with one for each.
fn memory(system: &System) -> Result<Vec<Row>> {
    let mut without = first_attempts(system, Speaks::Https)?;
    let mut with = first_attempts(system, Speaks::HttpsToKnownCallers)?;
    let more = with.rss.zip(without.rss).map(|(with, without)| (float(with) - float(without)) / 1e6);
    with.targets.push(at_most("RSS MB more", more, MORE_RSS_MB));
    for row in [&mut without, &mut with] {
        row.targets.extend(complete(row));
    }
    Ok(vec![
        without.named("1,000 https origins, no client certificates", system),
        with.named("1,000 https origins, 1,000 client certificates", system),
    ])
}

/// One event for all of them, and what is resident then.
fn first_attempts(system: &System, speaks: Speaks) -> Result<Row> {
    let groups = vec![Group::new(GROUP, Behaviour::Healthy, CERTIFICATES)];
    let mut stand = Stand::new(system, groups, speaks, &Settings::default())?;
    if speaks == Speaks::HttpsToKnownCallers {
        stand.server()?.change(GROUP, |index| json!({"client_certificate": certificate_name(index)}))?;
    }
    let row = stand.measure(GROUP, Load::full(1, 10.0).limit(1), PATIENCE)?;
    Ok(Row { rss: Some(stand.usage()?.rss), ..row })
}
