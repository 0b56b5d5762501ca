//! A replay of a long history to a new endpoint, behind live traffic: what it costs the live endpoint of the same account,
//! and how fast it is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Bench, at_most, complete, ratio};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const LIVE: &str = "live";
const NEW: &str = "new";
const RATE: f64 = 200.0;
const PATIENCE: Duration = Duration::from_secs(20);
const P99_SHARE: f64 = 1.2;

/// The live endpoint without a replay, and with one.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("replay", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let history = bench.pick(200_000, 40_000);
    let load = Load::paced(RATE, bench.pick(15.0, 5.0));
    let groups = vec![Group::new(LIVE, Behaviour::Healthy, 1), Group::new(NEW, Behaviour::Healthy, 1)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    let filled = stand.drive(LIVE, Load::full(4, 600.0).batch(100).limit(history))?.finish()?;
    stand.done(&filled);
    stand.await_deliveries(LIVE, filled.accepted, PATIENCE)?;
    // It gets what is live, too, in both measurements.
    let url = json!({"url": stand.receiver.urls(NEW)[0]});
    let new = stand.server()?.subscribe(LIVE, &url)?;
    stand.receiver.reset()?;
    let alone = stand.measure(LIVE, load, PATIENCE)?;

    stand.receiver.reset()?;
    let began = Instant::now();
    let wish = json!({"since": "2001-01-01T00:00:00Z"});
    let made = stand.server()?.call(LIVE, "POST", &format!("/webhooks/{new}/replay"), &wish)?;
    let job = made["data"]["job"]["id"].as_str().ok_or("no job")?.to_owned();
    let mut beside = stand.measure(LIVE, load, PATIENCE)?;
    let seconds = began.elapsed().as_secs_f64();
    let seen = stand.server()?.call(LIVE, "GET", &format!("/jobs/{job}"), &Value::Null)?;
    let is_running = seen["data"]["state"] == "running";
    let arrived = stand.receiver.report()?.groups.remove(NEW).ok_or("no such group")?;

    let p99 = |row: &Row| row.arrive.map(|arrive| arrive.p99);
    beside.targets = vec![at_most("p99 to without", ratio(p99(&beside), p99(&alone)), P99_SHARE)];
    beside.targets.extend(complete(&beside));
    let state = if is_running { "still going on at the end" } else { "ended before" };
    let replayed = Row { delivered: Some(float(arrived.delivered) / seconds), ..Row::default() };
    Ok(vec![
        alone.named("1 live endpoint, 200/s, beside no replay", system),
        beside.named(&format!("1 live endpoint, 200/s, beside a replay ({state})"), system),
        replayed.named(&format!("the new endpoint, {history} to replay"), system),
    ])
}
