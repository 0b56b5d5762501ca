//! What a filter that does not fit costs: the same load on one endpoint, alone and beside subscriptions that get none of it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Bench, at_most, complete};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const NONE: &str = "none";
/// Subscriptions with one line, which does not fit.
const SHORT: &str = "short";
/// Subscriptions with as many lines as are allowed, of which only the last does not fit.
const LONG: &str = "long";
const FILTERS: u64 = 100;
const LINES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(10);
/// For each filter and event.
const FILTER_US: f64 = 1.0;

/// Processor time of a filter and an event.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("filters", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    const COMPARED: [(&str, &str, usize); 3] = [
        (NONE, "1 endpoint, no filter beside it", 0),
        (SHORT, "1 endpoint beside 100 filters of 1 line", 1),
        (LONG, "1 endpoint beside 100 filters of 10 lines", LINES),
    ];
    let groups = COMPARED.iter().map(|(name, ..)| Group::new(name, Behaviour::Healthy, 1)).collect();
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    for (account, _, lines) in COMPARED {
        let url = stand.receiver.urls(account).first().cloned().ok_or("no URL")?;
        for _ in 0..if lines == 0 { 0 } else { FILTERS } {
            stand.server()?.subscribe(account, &json!({"url": url, "filter": filter(lines)}))?;
        }
        stand.warm_up(account, 1_000)?;
    }
    let load = Load::full(128, 30.0).limit(bench.pick(100_000, 30_000));
    let mut rounds = COMPARED.map(|_| Vec::new());
    for _ in 0..bench.pick(3, 1) {
        for ((account, ..), rounds) in COMPARED.iter().zip(&mut rounds) {
            stand.receiver.reset()?;
            rounds.push(stand.measure(account, load, PATIENCE)?);
        }
    }
    let mut rows: Vec<Row> = rounds.iter().map(|rounds| Row::median(rounds)).collect();
    let without = rows.first().and_then(|row| row.cpu_us);
    for row in rows.iter_mut().skip(1) {
        let each = row.cpu_us.zip(without).map(|(with, without)| (with - without) / float(FILTERS));
        row.targets.push(at_most("CPU µs a filter", each, FILTER_US));
    }
    let named = rows.into_iter().zip(COMPARED).map(|(mut row, (_, name, _))| {
        row.targets.extend(complete(&row));
        row.named(name, system)
    });
    Ok(named.collect())
}

/// Lines that fit what the driver publishes, and one that does not.
fn filter(lines: usize) -> Value {
    let fits = [
        "clock_in",
        "device",
        "entry_id",
        "location_id",
        "location_name",
        "sent_us",
        "worker_id",
        "worker_name",
        "a.b",
    ];
    let mut filter = Map::new();
    for path in &fits[..lines - 1] {
        filter.insert((*path).to_owned(), json!({"not": ["elsewhere"]}));
    }
    filter.insert("z".to_owned(), json!("elsewhere"));
    filter.into()
}
