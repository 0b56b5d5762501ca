//! A backlog of a million: what publishing costs beside it, the memory it takes, and how a start goes with it.

use std::time::{Duration, Instant};

use super::{Bench, at_most, ratio};
use crate::Result;
use crate::driver;
use crate::measure::{Latency, Usage, float};
use crate::receiver::{Behaviour, Group, GroupReport};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};
use crate::wire::now_us;

const GROUP: &str = "default";
const RSS_MB: f64 = 100.0;
const FIRST_LIMIT: Duration = Duration::from_mins(1);

/// All of it, on one server.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("backlog", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let pending: u64 = bench.pick(1_000_000, 100_000);
    let sample = bench.pick(5.0, 3.0);
    let label = if bench.quick { "100,000 pending" } else { "1,000,000 pending" };
    let groups = vec![Group::new(GROUP, Behaviour::Down, 1)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    let mut rows = Vec::new();

    // So few that the backlog hardly grows by them.
    let single = Load::full(32, sample).limit(pending / 50);
    let (empty, accepted) = publish(&mut stand, single)?;
    let (filling, filled) = publish(
        &mut stand,
        Load::full(4, 600.0).batch(1_000).limit(pending.saturating_sub(accepted).next_multiple_of(1_000)),
    )?;
    let (mut full, further) = publish(&mut stand, single)?;
    full.targets = vec![at_most("CPU of publishing to that at 0", ratio(full.cpu_us, empty.cpu_us), 1.3)];
    rows.push(empty.named("publish, receiver down, 0 pending", system));
    rows.push(filling.named("filling, batches of 1,000", system));
    rows.push(full.named(&format!("publish beside {label}"), system));

    std::thread::sleep(Duration::from_secs(3));
    rows.push(memory(stand.usage()?).named(&format!("{label}, at rest"), system));

    stand.server()?.stop()?;
    stand.receiver.up(GROUP)?;
    stand.receiver.reset()?;
    stand.server()?.start_again()?;
    let ready_us = now_us();
    let ready = stand.server()?.started_in.as_secs_f64();
    let first = first_delivery(&mut stand)?.saturating_sub(ready_us);
    let (before, began) = (stand.usage()?, Instant::now());
    let counted = group(&mut stand)?.delivered;
    std::thread::sleep(Duration::from_secs_f64(sample));
    let (after, arrived, seconds) = (stand.usage()?, group(&mut stand)?, began.elapsed().as_secs_f64());

    let targets = vec![
        at_most("ready after s", Some(ready), 2.0),
        at_most("first delivery s after", Some(float(first) / 1e6), 1.0),
    ];
    let start = Row { targets, ..Row::default() };
    rows.push(start.named(&format!("{label}, start after a clean stop"), system));

    let delivered = arrived.delivered - counted;
    let drain = Row {
        delivered: Some(float(delivered) / seconds),
        cpu_us: (delivered > 0).then(|| float(after.cpu_us - before.cpu_us) / float(delivered)),
        doubled: Some(arrived.doubled),
        connections: arrived.connections_peak,
        ..memory(after)
    };
    rows.push(drain.named(&format!("{label}, draining (of {})", accepted + filled + further), system));
    Ok(rows)
}

/// Publishes while nobody receives; a delivery stands for an event here.
fn publish(stand: &mut Stand, load: Load) -> Result<(Row, u64)> {
    let before = stand.usage()?;
    let report: driver::Report = stand.drive(GROUP, load)?.finish()?;
    stand.done(&report);
    let after = stand.usage()?;
    let nothing = GroupReport::default();
    let row = stand.row(GROUP, &report, &nothing, before, after, report.accepted, report.cpu_us);
    Ok((Row { lost: None, doubled: None, delivered: None, ..row }, report.accepted))
}

fn memory(usage: Usage) -> Row {
    let megabytes = |bytes| Some(float(bytes) / 1e6);
    let targets = vec![
        at_most("RSS MB now", megabytes(usage.rss), RSS_MB),
        at_most("RSS MB peak", megabytes(usage.rss_peak), RSS_MB),
    ];
    Row { rss: Some(usage.rss_peak), targets, ..Row::default() }
}

fn group(stand: &mut Stand) -> Result<GroupReport> {
    let report = stand.receiver.report()?.groups.remove(GROUP).ok_or("no such group")?;
    // These events have waited for minutes because they had to: their age says nothing about the server.
    Ok(GroupReport { latency: None::<Latency>, ..report })
}

fn first_delivery(stand: &mut Stand) -> Result<u64> {
    let began = Instant::now();
    while began.elapsed() < FIRST_LIMIT {
        if let Some(first) = group(stand)?.first_us {
            return Ok(first);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("nothing was delivered after the start".into())
}
