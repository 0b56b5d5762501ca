//! Publishing at a steady rate while retention removes what is old, for an hour: file and commits have to stay as they are.
//! A day passes in two minutes, so that events are removed from the fourteenth minute on.

use std::time::{Duration, Instant};

use super::{ACCOUNT, bytes_on_disk, kept_for_a_week, total};
use crate::Result;
use crate::driver::Report;
use crate::measure::{Latency, float};
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System, Target};
use crate::scenarios::{Bench, at_most, ratio};
use crate::server::Server;
use crate::stand::{Load, Speaks, Stand};

const RATE: f64 = 100.0;
const PARTS: usize = 6;
const PART: Duration = Duration::from_mins(10);
/// The parts that are compared.
const THIRD: usize = 2;
const LAST: usize = PARTS - 1;
/// So much passes by the server's clock with each step.
const STEP: Duration = Duration::from_hours(2);
const STEP_EVERY: Duration = Duration::from_secs(10);
const ENDPOINTS: usize = 2;
const TO_THIRD: f64 = 1.1;

/// A row for each ten minutes.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("hour", |system| measure(bench, system))
}

struct Part {
    report: Report,
    bytes: u64,
    stored: u64,
    rss: u64,
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let groups = vec![Group::new(ACCOUNT, Behaviour::Healthy, ENDPOINTS)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &kept_for_a_week())?;
    stand.warm_up(ACCOUNT, 100)?;
    let length = bench.pick(PART, Duration::from_secs(20));
    let step = bench.pick(STEP, Duration::from_hours(48));
    let mut parts = Vec::new();
    for _ in 0..PARTS {
        let driver = stand.drive(ACCOUNT, Load::paced(RATE, length.as_secs_f64()))?;
        pass_time(stand.server()?, step, length)?;
        let report = driver.finish()?;
        stand.done(&report);
        let (stored, rss) = (total(&mut stand, "/events?limit=1")?, stand.usage()?.rss);
        let bytes = bytes_on_disk(&stand.server()?.database())?;
        parts.push(Part { report, bytes, stored, rss });
    }
    Ok(rows(&parts, length, system))
}

fn pass_time(server: &mut Server, step: Duration, length: Duration) -> Result<()> {
    let began = Instant::now();
    let mut next = STEP_EVERY;
    while next < length {
        std::thread::sleep(next.saturating_sub(began.elapsed()));
        server.advance(step)?;
        next += STEP_EVERY;
    }
    Ok(())
}

fn rows(parts: &[Part], length: Duration, system: &System) -> Vec<Row> {
    let p99 = |part: &Part| part.report.latency.map(|all: Latency| all.p99);
    let rows = parts.iter().enumerate().map(|(index, part)| {
        let (stored, megabytes) = (part.stored, float(part.bytes) / 1e6);
        let mut targets =
            vec![Target { text: format!("{stored} events stored, {megabytes:.1} MB on disk"), met: true }];
        if index == LAST
            && let Some(third) = parts.get(THIRD)
        {
            targets.push(at_most(
                "file to the third",
                ratio(Some(float(part.bytes)), Some(float(third.bytes))),
                TO_THIRD,
            ));
            targets.push(at_most("p99 to the third", ratio(p99(part), p99(third)), TO_THIRD));
        }
        let row = Row {
            accepted: Some(float(part.report.accepted) / length.as_secs_f64()),
            accept: part.report.latency,
            rss: Some(part.rss),
            refused: part.report.refused + part.report.unanswered,
            targets,
            ..Row::default()
        };
        row.named(&format!("an hour at {RATE}/s, part {} of {PARTS}", index + 1), system)
    });
    rows.collect()
}
