//! Finding the events of one worker among very many.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Bench, at_most};
use crate::Result;
use crate::driver::FIRST_WORKER;
use crate::measure::{Latency, histogram, record};
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System, Target};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

/// Without an endpoint: events are stored, and go to nobody.
const GROUP: &str = "default";
const WORKERS: u64 = 10_000;
const P99_MS: f64 = 20.0;
/// The index is made behind the events.
const INDEX_LIMIT: Duration = Duration::from_mins(10);

/// Publishing them, and pages of one worker's events.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("find", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let events = bench.pick(2_000_000, 100_000);
    let mut stand =
        Stand::new(system, vec![Group::new(GROUP, Behaviour::Healthy, 0)], Speaks::Http, &Settings::default())?;
    let before = stand.usage()?;
    let load = Load::full(4, 1_800.0).batch(1_000).limit(events).workers(WORKERS);
    let filled = stand.drive(GROUP, load)?.finish()?;
    let nothing = crate::receiver::GroupReport::default();
    let row = stand.row(GROUP, &filled, &nothing, before, stand.usage()?, filled.accepted, filled.cpu_us);
    let filling = Row { delivered: None, lost: None, doubled: None, ..row };
    let began = Instant::now();
    await_index(&mut stand)?;
    let indexed = Target { text: format!("found by index {} s later", began.elapsed().as_secs()), met: true };

    let mut latency = histogram();
    for turn in 0..bench.pick(2_000, 500) {
        // Far apart from each other, so that each is somewhere else in the file.
        let worker = FIRST_WORKER + turn * 7_919 % WORKERS;
        let asked = Instant::now();
        let page = get(&mut stand, &format!("/events?worker_id={worker}&limit=100"))?;
        record(&mut latency, u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
        if page["data"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("no event of worker {worker}").into());
        }
    }
    let found = Latency::of(&latency);
    let text = found.map_or_else(String::new, |at| format!("p50 ms {:.2}, max ms {:.2}", at.p50, at.max));
    let targets = vec![at_most("p99 ms", found.map(|at| at.p99), P99_MS), Target { text, met: true }];
    let finding = Row { rss: Some(stand.usage()?.rss_peak), targets, ..Row::default() };
    Ok(vec![
        Row { targets: vec![indexed], ..filling }.named("publishing to nobody, batches of 1,000", system),
        finding.named(&format!("a page of one worker among {events} events"), system),
    ])
}

/// Waits until one call can tell that there is nothing of a worker who never was.
fn await_index(stand: &mut Stand) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < INDEX_LIMIT {
        if get(stand, "/events?worker_id=nobody")?["pagination"]["has_more"] == false {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("the index did not come up with the events".into())
}

fn get(stand: &mut Stand, path: &str) -> Result<Value> {
    stand.server()?.call(GROUP, "GET", path, &Value::Null)
}
