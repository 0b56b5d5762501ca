//! What publishers notice while retention removes very many events of very many subscriptions.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{ACCOUNT, await_total, kept_for_a_week, of_quick, total};
use crate::Result;
use crate::driver::FIRST_WORKER;
use crate::measure::{Latency, float};
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System, Target};
use crate::scenarios::{Bench, at_most, ratio};
use crate::stand::{Load, Speaks, Stand};

/// Each has the events of one worker, and those of each worker go to one.
const SUBSCRIPTIONS: usize = 100;
const EVENTS: u64 = 1_000_000;
const PORTION: u64 = 50_000;
/// Of another account, which publishes meanwhile.
const BUSY: &str = "busy";
const RATE: f64 = 200.0;
const PATIENCE: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_mins(10);
/// Longer than events are kept, in two steps that are believed at once.
const STEP: Duration = Duration::from_hours(4 * 24 - 25);
const P99_TO_WITHOUT: f64 = 2.0;

/// Publishing alone, then beside the removal.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("retention", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let events = of_quick(bench, EVENTS, 10);
    let groups = vec![Group::new(ACCOUNT, Behaviour::Healthy, SUBSCRIPTIONS), Group::new(BUSY, Behaviour::Healthy, 1)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &kept_for_a_week())?;
    stand.server()?.change(ACCOUNT, |index| json!({"filter": {"worker_id": [FIRST_WORKER + index as u64]}}))?;
    let mut left = events;
    while left > 0 {
        let load = Load::full(4, 600.0).batch(1_000).limit(PORTION.min(left)).workers(SUBSCRIPTIONS as u64);
        let report = stand.drive(ACCOUNT, load)?.finish()?;
        stand.done(&report);
        left -= report.accepted;
        await_total(&mut stand, "/deliveries?status=pending&limit=1", PATIENCE, |pending| pending == 0)?;
    }
    stand.warm_up(BUSY, 200)?;
    let without = publish(&mut stand, bench.pick(20.0, 5.0))?;

    let driver = stand.drive(BUSY, Load::paced(RATE, LONGEST.as_secs_f64()))?;
    std::thread::sleep(Duration::from_secs(1));
    let before = total(&mut stand, "/events?limit=1")?;
    for _ in 0..3 {
        stand.server()?.advance(STEP)?;
    }
    let began = Instant::now();
    await_total(&mut stand, "/events?limit=1", LONGEST, |stored| stored == 0)?;
    let took = began.elapsed().as_secs_f64();
    let report = driver.stop()?;
    stand.done(&report);
    let p99 = |latency: Option<Latency>| latency.map(|all| all.p99);
    let targets = vec![
        at_most("p99 to without", ratio(p99(report.latency), p99(without)), P99_TO_WITHOUT),
        Target { text: format!("{before} events removed in {took:.1} s, {:.0}/s", float(before) / took), met: true },
    ];
    let usage = stand.usage()?;
    Ok(vec![
        Row { accept: without, ..Row::default() }
            .named(&format!("publishing {RATE}/s, {events} events stored"), system),
        Row { accept: report.latency, rss: Some(usage.rss_peak), refused: report.refused, targets, ..Row::default() }
            .named("the same while retention removes them", system),
    ])
}

fn publish(stand: &mut Stand, seconds: f64) -> Result<Option<Latency>> {
    let report = stand.drive(BUSY, Load::paced(RATE, seconds))?.finish()?;
    stand.done(&report);
    Ok(report.latency)
}
