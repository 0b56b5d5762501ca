//! A thousand endpoints that get an event so rarely that each attempt makes a connection of its own, over http and over
//! https: the memory that they take, and what such an attempt costs.

use std::time::Duration;

use super::{Bench, at_most, complete};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const GROUP: &str = "default";
const ORIGINS: usize = 1_000;
/// Longer than the server keeps anything for an endpoint that gets nothing.
const BETWEEN: Duration = Duration::from_secs(65);
const PATIENCE: Duration = Duration::from_secs(10);
/// More than without any endpoint.
const MORE_RSS_MB: f64 = 60.0;

/// The first attempts and later ones, without TLS and with it.
pub fn run(bench: &Bench) -> Vec<Row> {
    let mut rows = bench.server_alone("rare, http", |system| measure(bench, system, Speaks::Http));
    rows.extend(bench.server_alone("rare, https", |system| measure(bench, system, Speaks::Https)));
    rows
}

fn measure(bench: &Bench, system: &System, speaks: Speaks) -> Result<Vec<Row>> {
    let scheme = if speaks == Speaks::Http { "http" } else { "https" };
    let groups = vec![Group::new(GROUP, Behaviour::Healthy, ORIGINS)];
    let mut stand = Stand::new(system, groups, speaks, &Settings::default())?;
    let without = stand.usage()?.rss;
    let one = Load::full(1, 10.0).limit(1);
    let mut first = stand.measure(GROUP, one, PATIENCE)?;
    let more = stand.usage()?.rss.saturating_sub(without);
    first.targets = vec![at_most("RSS MB more than before", Some(float(more) / 1e6), MORE_RSS_MB)];
    first.targets.extend(complete(&first));

    let mut later = Vec::new();
    for _ in 0..bench.pick(3, 1) {
        std::thread::sleep(BETWEEN);
        stand.receiver.reset()?;
        later.push(stand.measure(GROUP, one, PATIENCE)?);
    }
    let mut later = Row::median(&later);
    later.targets = complete(&later).into_iter().collect();
    Ok(vec![
        first.named(&format!("1,000 {scheme} origins, first attempts"), system),
        later.named(&format!("1,000 {scheme} origins, attempts 65 s apart"), system),
    ])
}
