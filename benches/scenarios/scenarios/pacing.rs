//! What order, batches and rates make of the speed of one endpoint, each beside the same without it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Bench, at_least, at_most, complete, ratio};
use crate::Result;
use crate::driver::FIRST_WORKER;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const GROUP: &str = "default";
const PATIENCE: Duration = Duration::from_secs(10);
/// Of the speed without order.
const ORDERED_SHARE: f64 = 0.8;
/// Of the speed of single deliveries.
const BATCHED_SHARE: f64 = 3.0;
const RATE: f64 = 100.0;
const USED: f64 = 0.97;
/// The first and the last attempt of a stretch are both counted.
const EXCEEDED: f64 = 1.01;
const P99_SHARE: f64 = 1.2;

/// One endpoint whose events come by worker, beside the same without an order.
pub fn order(bench: &Bench) -> Vec<Row> {
    bench.server_alone("order", |system| {
        let load = Load::full(128, bench.pick(5.0, 3.0)).workers(1_000);
        let [free, mut ordered] = in_turn(bench, |is_ordered| {
            let order = if is_ordered { "worker" } else { "none" };
            full_speed(system, ("order", json!(order)), load)
        })?;
        ordered.targets = vec![at_least("of unordered", ratio(ordered.delivered, free.delivered), ORDERED_SHARE)];
        ordered.targets.extend(complete(&ordered));
        Ok(vec![
            free.named("1 endpoint, 1,000 workers, unordered", system),
            ordered.named("1 endpoint, 1,000 workers, in order by worker", system),
        ])
    })
}

/// One endpoint that takes a hundred events a request, beside the same with one a request.
pub fn batches(bench: &Bench) -> Vec<Row> {
    bench.server_alone("batches", |system| {
        let events = bench.pick(100_000, 20_000);
        let [single, mut batched] = in_turn(bench, |is_batched| {
            let batch = if is_batched { json!({"max": 100, "wait": "1s"}) } else { Value::Null };
            catching_up(system, ("batch", batch), events)
        })?;
        batched.targets = vec![at_least("of single", ratio(batched.delivered, single.delivered), BATCHED_SHARE)];
        batched.targets.extend(complete(&batched));
        Ok(vec![
            single.named("1 endpoint, an event a request", system),
            batched.named("1 endpoint, 100 events a request", system),
        ])
    })
}

fn full_speed(system: &System, (option, value): (&str, Value), load: Load) -> Result<Row> {
    let groups = vec![Group::new(GROUP, Behaviour::Healthy, 1).with(option, value)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    stand.warm_up(GROUP, 1_000)?;
    stand.measure(GROUP, load, PATIENCE)
}

/// What was held goes out at once, so that no publisher takes part in it.
fn catching_up(system: &System, (option, value): (&str, Value), events: u64) -> Result<Row> {
    let groups = vec![Group::new(GROUP, Behaviour::Healthy, 1).with(option, value)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    stand.warm_up(GROUP, 1_000)?;
    stand.server()?.change(GROUP, |_| json!({"active": false}))?;
    let held = stand.drive(GROUP, Load::full(8, 120.0).batch(100).limit(events))?.finish()?;
    stand.done(&held);
    let before = stand.usage()?;
    stand.server()?.change(GROUP, |_| json!({"active": true}))?;
    let arrived = stand.await_deliveries(GROUP, held.accepted, PATIENCE)?;
    let row = stand.row(GROUP, &held, &arrived, before, stand.usage()?, arrived.delivered, 0);
    let took = arrived.last_us.zip(arrived.first_us).map(|(last, first)| float(last - first) / 1e6);
    let delivered = took.map(|seconds| float(arrived.delivered) / seconds.max(1e-6));
    // Each event waited until the subscription was enabled.
    Ok(Row { delivered, accept: None, arrive: None, helpers_us: None, bytes: None, ..row })
}

/// An endpoint with a rate, and more to send than that.
pub fn rate(bench: &Bench) -> Vec<Row> {
    bench.server_alone("rate", |system| {
        let limit = json!(format!("{RATE}/s"));
        let groups = vec![Group::new(GROUP, Behaviour::Healthy, 1).with("rate_limit", limit)];
        let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
        let load = Load::full(1, 60.0).batch(100).limit(bench.pick(3_000, 1_000));
        let row = stand.measure(GROUP, load, PATIENCE)?;
        let arrived = stand.receiver.report()?.groups.remove(GROUP).ok_or("no such group")?;
        let took = arrived.last_us.zip(arrived.first_us).map(|(last, first)| float(last - first) / 1e6);
        let used = took.map(|seconds| float(arrived.delivered.saturating_sub(1)) / seconds / RATE);
        let mut targets = vec![at_least("of the rate", used, USED), at_most("of the rate", used, EXCEEDED)];
        targets.extend(complete(&row));
        // Each event waits for those before it, as was asked for.
        let row = Row { arrive: None, targets, ..row };
        Ok(vec![row.named(&format!("1 endpoint with a rate of {RATE}/s"), system)])
    })
}

/// Ten thousand workers in order, all delivered, and then the same with one whose first event fails again and again.
pub fn workers(bench: &Bench) -> Vec<Row> {
    bench.server_alone("workers", |system| {
        let [alone, mut beside] = in_turn(bench, |is_failing| of_many_workers(bench, system, is_failing))?;
        let p99 = |row: &Row| row.arrive.map(|arrive| arrive.p99);
        beside.targets = vec![at_most("p99 to alone", ratio(p99(&beside), p99(&alone)), P99_SHARE)];
        beside.targets.extend(complete(&beside));
        Ok(vec![
            alone.named("10,000 workers in order", system),
            beside.named("10,000 workers in order, one of them failing", system),
        ])
    })
}

fn of_many_workers(bench: &Bench, system: &System, is_failing: bool) -> Result<Row> {
    let behaviour = if is_failing { Behaviour::Refusing(FIRST_WORKER) } else { Behaviour::Healthy };
    let groups = vec![Group::new(GROUP, behaviour, 1).with("order", json!("worker"))];
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    // All of the first worker: they wait for one another, and it for its retries.
    let ahead = stand.drive(GROUP, Load::full(4, 60.0).batch(100).limit(1_000))?.finish()?;
    stand.done(&ahead);
    stand.await_deliveries(GROUP, ahead.accepted, Duration::from_secs(3))?;
    stand.receiver.reset()?;
    let load = Load::paced(500.0, bench.pick(20.0, 6.0)).workers(10_000);
    let row = stand.measure(GROUP, load, Duration::from_secs(3))?;
    // No worker has two turns in so many events, so one at most is of the failing one.
    let lost = row.lost.map(|lost| lost.saturating_sub(is_failing.into()));
    Ok(Row { lost, ..row })
}

/// Both in turn, several rounds of each, because the machine itself drifts.
fn in_turn(bench: &Bench, measure: impl Fn(bool) -> Result<Row>) -> Result<[Row; 2]> {
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..bench.pick(3, 1) {
        for (with, rounds) in [false, true].into_iter().zip(&mut rounds) {
            rounds.push(measure(with)?);
        }
    }
    Ok(rounds.map(|rounds| Row::median(&rounds)))
}
