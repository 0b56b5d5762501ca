//! An endpoint that takes 100 a second and answers 429 beyond that, with much pending: how soon it has everything, how
//! often it had to refuse, and what is given up.

use std::time::Duration;

use super::{Bench, at_most, complete};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const LIMITED: &str = "limited";
const A_SECOND: u32 = 100;
/// Longer than the first wait of the schedule.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much longer than it needs it may take.
const LONGER: f64 = 1.3;

/// With the default schedule.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("pushback", |system| measure(bench, system).map(|row| vec![row]))
}

fn measure(bench: &Bench, system: &System) -> Result<Row> {
    let events: u64 = bench.pick(5_000, 1_000);
    let groups = vec![Group::new(LIMITED, Behaviour::Limited(A_SECOND), 1)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    let before = stand.usage()?;
    let fill = stand.drive(LIMITED, Load::full(1, 60.0).batch(1_000).limit(events))?.finish()?;
    stand.done(&fill);
    let arrived = stand.await_deliveries(LIMITED, fill.accepted, PATIENCE)?;
    let after = stand.usage()?;
    let exhausted = stand.server()?.count(LIMITED, "exhausted")?;

    let took = arrived.last_us.map(|last| float(last.saturating_sub(fill.started_us)) / 1e6);
    let refused = arrived.requests.saturating_sub(arrived.delivered + arrived.doubled);
    let mut row = stand.row(LIMITED, &fill, &arrived, before, after, arrived.requests, fill.cpu_us);
    row.targets = vec![
        at_most("s", took, float(events) / f64::from(A_SECOND) * LONGER),
        at_most("refusals a delivery", Some(float(refused) / float(events)), 0.2),
        at_most("exhausted", Some(float(exhausted)), 0.0),
    ];
    row.targets.extend(complete(&row));
    // Each event waits for those before it: that is the endpoint's doing.
    let row = Row { arrive: None, ..row };
    Ok(row.named(&format!("{events} for an endpoint that takes {A_SECOND}/s ({refused} refusals)"), system))
}
