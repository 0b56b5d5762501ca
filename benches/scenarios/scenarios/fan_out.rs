//! Events for very many subscriptions of one account: whoever publishes and awaits each answer is never told to come again,
//! although each event makes as many deliveries, and their outcomes are stored meanwhile.

use serde_json::json;

use super::{Bench, at_most};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const GROUP: &str = "default";
const EVENTS: u64 = 60;
/// Each awaits its answer.
const CONNECTIONS: usize = 4;
const SECONDS: f64 = 600.0;

/// A thousand subscriptions, then ten thousand.
pub fn run(bench: &Bench) -> Vec<Row> {
    let counts: &[usize] = bench.pick(&[1_000, 10_000], &[1_000]);
    counts
        .iter()
        .flat_map(|&count| bench.server_alone("fan-out", |system| measure(system, count).map(|row| vec![row])))
        .collect()
}

fn measure(system: &System, subscriptions: usize) -> Result<Row> {
    let mut stand =
        Stand::new(system, vec![Group::new(GROUP, Behaviour::Healthy, 1)], Speaks::Http, &Settings::default())?;
    let wish = json!({"url": stand.receiver.urls(GROUP).first().ok_or("no endpoint")?});
    for _ in 1..subscriptions {
        stand.server()?.subscribe(GROUP, &wish)?;
    }
    let report = stand.drive(GROUP, Load::full(CONNECTIONS, SECONDS).limit(EVENTS))?.finish()?;
    let refused = report.refused + report.unanswered;
    let row = Row {
        accept: report.latency,
        rss: Some(stand.usage()?.rss_peak),
        refused,
        targets: vec![at_most("refused", Some(float(refused)), 0.0)],
        ..Row::default()
    };
    Ok(row.named(&format!("{EVENTS} events for {subscriptions} subscriptions, {CONNECTIONS} connections"), system))
}
