//! An endpoint that is off with very many deliveries pending: what the others notice of it, and the memory it takes.

use std::time::Duration;

use serde_json::json;

use super::of_quick;
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::scenarios::{Bench, at_most, complete, ratio};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const STEADY: &str = "steady";
const OFF: &str = "off";
const RATE: f64 = 200.0;
const PENDING: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(20);
const P99_TO_ALONE: f64 = 1.1;
const MORE_RSS_MB: f64 = 5.0;

/// The steady endpoint before, with few pending for the other, and with very many.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("off", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let pending = of_quick(bench, PENDING, 10);
    let groups = vec![Group::new(STEADY, Behaviour::Healthy, 1), Group::new(OFF, Behaviour::Healthy, 1)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    stand.server()?.change(OFF, |_| json!({"active": false}))?;
    stand.warm_up(STEADY, 50)?;
    // The page cache is full by then in either case.
    fill(&mut stand, pending / 10)?;
    let seconds = bench.pick(30.0, 5.0);
    let (mut alone, few) = steady(&mut stand, seconds)?;
    fill(&mut stand, pending - pending / 10)?;
    std::thread::sleep(Duration::from_secs(3));
    let (mut beside, many) = steady(&mut stand, seconds)?;
    let p99 = |row: &Row| row.arrive.map(|arrive| arrive.p99);
    beside.targets = vec![
        at_most("p99 to that beside a tenth", ratio(p99(&beside), p99(&alone)), P99_TO_ALONE),
        at_most("RSS MB more", Some((float(many) - float(few)) / 1e6), MORE_RSS_MB),
    ];
    beside.targets.extend(complete(&beside));
    alone.targets.extend(complete(&alone));
    Ok(vec![
        alone.named(&format!("1 healthy, 200/s, beside one that is off with {}", pending / 10), system),
        beside.named(&format!("1 healthy, 200/s, beside one that is off with {pending}"), system),
    ])
}

fn fill(stand: &mut Stand, events: u64) -> Result<()> {
    let report = stand.drive(OFF, Load::full(4, 600.0).batch(1_000).limit(events))?.finish()?;
    stand.done(&report);
    Ok(())
}

/// Its figures, and the memory that is resident then.
fn steady(stand: &mut Stand, seconds: f64) -> Result<(Row, u64)> {
    stand.receiver.reset()?;
    let row = stand.measure(STEADY, Load::paced(RATE, seconds), PATIENCE)?;
    Ok((row, stand.usage()?.rss))
}
