//! An endpoint that comes back after an outage with much to catch up, beside another that was well all the time.

use std::time::Duration;

use super::{Bench, at_most, complete, ratio};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const STEADY: &str = "steady";
const BACK: &str = "back";
const RATE: f64 = 200.0;
/// What the server allows one endpoint by default.
const CAP: u32 = 16;
/// Short enough for what was tried during the outage to be due again soon, long enough not to be used up by it.
const SCHEDULE: &[&str] = &["3s", "3s", "3s", "3s", "3s", "3s", "3s", "3s", "3s"];
const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_mins(5);

/// The steady endpoint alone, then during the catching up, then the catching up itself.
pub fn run(bench: &Bench) -> Vec<Row> {
    let outage = Outage { pending: bench.pick(100_000, 20_000), longest: LONGEST };
    bench.server_alone("outage", |system| measure(bench, system, outage))
}

/// The same with what a month leaves behind, for as long as that takes.
pub fn hour(bench: &Bench) -> Vec<Row> {
    let outage = Outage { pending: bench.pick(10_000_000, 500_000), longest: Duration::from_mins(70) };
    bench.server_alone("outage", |system| measure(bench, system, outage))
}

#[derive(Clone, Copy)]
struct Outage {
    pending: u64,
    /// The steady stream ends with the catching up, and after this at the latest.
    longest: Duration,
}

fn measure(bench: &Bench, system: &System, Outage { pending, longest }: Outage) -> Result<Vec<Row>> {
    let groups = vec![Group::new(STEADY, Behaviour::Healthy, 1), Group::new(BACK, Behaviour::Down, 1)];
    let mut stand =
        Stand::new(system, groups, Speaks::Http, &Settings { retry_schedule: Some(SCHEDULE), ..Settings::default() })?;
    stand.warm_up(STEADY, 50)?;
    let alone = stand.measure(STEADY, Load::paced(RATE, bench.pick(15.0, 5.0)), PATIENCE)?;

    let fill = stand.drive(BACK, Load::full(4, longest.as_secs_f64()).batch(1_000).limit(pending))?.finish()?;
    stand.done(&fill);
    stand.receiver.reset()?;

    let before = stand.usage()?;
    let steady = stand.drive(STEADY, Load::paced(RATE, longest.as_secs_f64()))?;
    stand.receiver.up(BACK)?;
    let back = stand.await_deliveries_for(BACK, fill.accepted, PATIENCE, longest)?;
    let steady = steady.stop()?;
    stand.done(&steady);
    let arrived = stand.await_deliveries(STEADY, steady.accepted, PATIENCE)?;
    let after = stand.usage()?;

    let all = back.requests + arrived.requests;
    let mut beside = stand.row(STEADY, &steady, &arrived, before, after, all, steady.cpu_us);
    let p99 = |row: &Row| row.arrive.map(|arrive| arrive.p99);
    beside.targets = vec![at_most("p99 to alone", ratio(p99(&beside), p99(&alone)), 2.0)];
    beside.targets.extend(complete(&beside));

    let took = back.last_us.zip(back.first_us).map(|(last, first)| float(last - first) / 1e6);
    let mut catching_up = stand.row(BACK, &fill, &back, before, after, all, fill.cpu_us);
    catching_up = Row {
        delivered: took.map(|seconds| float(back.delivered) / seconds.max(1e-6)),
        // Each event waited for the outage to end: that is not the server's doing.
        arrive: None,
        bytes: None,
        targets: vec![at_most(
            "connections at once",
            u32::try_from(back.connections_peak).ok().map(f64::from),
            CAP.into(),
        )],
        ..catching_up
    };
    catching_up.targets.extend(complete(&catching_up));
    Ok(vec![
        alone.named("1 healthy, 200/s, alone", system),
        beside.named("1 healthy, 200/s, beside one catching up", system),
        catching_up.named(&format!("catching up with {pending} after an outage"), system),
    ])
}
