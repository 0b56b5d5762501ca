//! How long a start takes on a large file, after a clean stop and after a kill, beside what redb alone takes to open it.

use std::time::{Duration, Instant};

use super::{ACCOUNT, bytes_on_disk};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::redb_alone;
use crate::report::{Row, System, Target};
use crate::scenarios::{Bench, at_most, ratio};
use crate::server::Settings;
use crate::stand::{Load, Stand};

/// As much as the disk of this machine has room for.
const BYTES: u64 = 10_000_000_000;
const QUICK_BYTES: u64 = 300_000_000;
const PORTION: u64 = 500_000;
const READY_S: f64 = 3.0;
const TO_REDB: f64 = 1.2;
const LONGEST_FILL: Duration = Duration::from_mins(40);

/// After a stop, then after a kill.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("start", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let bytes = bench.pick(BYTES, QUICK_BYTES);
    let name = format!("start-{bytes}");
    let groups = vec![Group::new(ACCOUNT, Behaviour::Healthy, 0)];
    let mut stand = Stand::kept(&name, system, groups, &Settings::default())?;
    let database = stand.server()?.database();
    let began = Instant::now();
    while bytes_on_disk(&database)? < bytes {
        if began.elapsed() > LONGEST_FILL {
            return Err("filling takes too long; the next run goes on with what there is".into());
        }
        fill(&mut stand, PORTION)?;
    }
    let size = format!("{:.1} GB stored", float(bytes_on_disk(&database)?) / 1e9);

    stand.server()?.stop()?;
    stand.server()?.start_again()?;
    let after_stop = stand.server()?.started_in.as_secs_f64();
    // The kill leaves something to repair only while something was written.
    fill(&mut stand, 10_000)?;
    stand.server()?.kill()?;
    let alone = redb_alone::look_at(&database)?.opened_in_s;
    stand.server()?.start_again()?;
    let after_kill = stand.server()?.started_in.as_secs_f64();
    let again = {
        stand.server()?.kill()?;
        redb_alone::look_at(&database)?.opened_in_s
    };
    let clean = Row { targets: vec![at_most("ready after s", Some(after_stop), READY_S)], ..Row::default() };
    let alone = alone.midpoint(again);
    let killed = Row {
        targets: vec![
            Target { text: format!("ready after s {after_kill:.2}, redb alone opens it in s {alone:.2}"), met: true },
            at_most("to redb alone", ratio(Some(after_kill), Some(alone)), TO_REDB),
        ],
        ..Row::default()
    };
    Ok(vec![
        clean.named(&format!("start after a clean stop, {size}"), system),
        killed.named(&format!("start after kill -9, {size}"), system),
    ])
}

/// Events that go to nobody.
fn fill(stand: &mut Stand, events: u64) -> Result<()> {
    let report = stand.drive(ACCOUNT, Load::full(4, 600.0).batch(1_000).limit(events).workers(10_000))?.finish()?;
    stand.done(&report);
    if report.accepted == events { Ok(()) } else { Err("not all events were taken".into()) }
}
