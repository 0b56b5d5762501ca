//! Publishing on a disk that takes 10 ms to sync, alone, then beside an endpoint that answers 500 and has much pending: what
//! its failures cost whoever publishes. strace makes the disk slow.

use std::time::Duration;

use super::{Bench, at_most, ratio};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const HEALTHY: &str = "healthy";
const FAILING: &str = "failing";
/// Events a second, over more connections than a commit takes callers for a crowd.
const RATE: f64 = 50.0;
const PATIENCE: Duration = Duration::from_secs(10);
/// With a filter in the kernel, so that only syncs are slow.
const SLOW: &[&str] = &[
    "strace",
    "-D",
    "-f",
    "--seccomp-bpf",
    "-qqq",
    "-o",
    "/dev/null",
    "-e",
    "trace=fdatasync",
    "-e",
    "inject=fdatasync:delay_exit=10000",
];

/// Alone, then beside failures.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("slow disk", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let pending: u64 = bench.pick(200_000, 50_000);
    let seconds = bench.pick(20.0, 8.0);
    let groups = vec![Group::new(HEALTHY, Behaviour::Healthy, 1), Group::new(FAILING, Behaviour::Failing, 1)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings { through: SLOW, ..Settings::default() })?;
    stand.warm_up(HEALTHY, 50)?;
    let alone = stand.measure(HEALTHY, Load::paced(RATE, seconds), PATIENCE)?;

    let fill = stand.drive(FAILING, Load::full(4, 300.0).batch(1_000).limit(pending))?.finish()?;
    stand.done(&fill);
    stand.receiver.reset()?;
    let mut beside = stand.measure(HEALTHY, Load::paced(RATE, seconds), PATIENCE)?;
    let failed = stand.receiver.report()?.groups.remove(FAILING).ok_or("no such group")?.requests;

    let p99 = |row: &Row| row.accept.map(|accept| accept.p99);
    beside.targets = vec![
        at_most("p99 to alone", ratio(p99(&beside), p99(&alone)), 3.0),
        at_most("refused", Some(float(beside.refused)), 0.0),
    ];
    Ok(vec![
        alone.named("slow disk: publish at 50/s, alone", system),
        beside.named(
            &format!(
                "slow disk: publish at 50/s, beside {pending} failing ({:.0} attempts/s)",
                float(failed) / seconds
            ),
            system,
        ),
    ])
}
