//! Bytes on disk for an event of 147 bytes of data that is delivered once to a receiver that answers as nginx does: at first,
//! and in the steady state that retention comes to.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ACCOUNT, await_index, await_total, bytes_on_disk, kept_for_a_week, of_quick, total};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::redb_alone;
use crate::report::{Row, System, Target};
use crate::scenarios::{Bench, at_most};
use crate::stand::{Speaks, Stand};

const DATA_BYTES: usize = 147;
const WITHOUT_INDEX: f64 = 480.0;
const WITH_INDEX: f64 = 600.0;
const INDEX: [&str; 2] = ["find_runs", "find_run_positions"];
/// Days of events that are kept, and how many are published beyond those.
const DAYS_KEPT: u64 = 7;
const DAYS_MORE: u64 = 14;
const DAY: Duration = Duration::from_hours(24);
const LIMIT: Duration = Duration::from_mins(5);

/// At first, and in the steady state.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("bytes", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let a_day = of_quick(bench, 20_000, 4);
    let groups = vec![Group::new(ACCOUNT, Behaviour::Nginx, 1)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &kept_for_a_week())?;
    let mut published = 0;
    for _ in 0..DAYS_KEPT {
        published += publish(&mut stand, published, a_day)?;
        stand.server()?.advance(DAY / 2)?;
        stand.server()?.advance(DAY / 2)?;
    }
    let first = figure(&mut stand, published)?.named(&format!("bytes on disk an event, {published} delivered"), system);
    for _ in 0..DAYS_MORE {
        published += publish(&mut stand, published, a_day)?;
        stand.server()?.advance(DAY / 2)?;
        stand.server()?.advance(DAY / 2)?;
        await_total(&mut stand, "/events?limit=1", LIMIT, |stored| stored <= (DAYS_KEPT + 1) * a_day)?;
    }
    let stored = total(&mut stand, "/events?limit=1")?;
    let name = format!("the same in steady state, {published} published, {stored} stored");
    Ok(vec![first, figure(&mut stand, stored)?.named(&name, system)])
}

/// Publishes events, and waits until all are delivered.
fn publish(stand: &mut Stand, from: u64, count: u64) -> Result<u64> {
    for first in (from..from + count).step_by(1_000) {
        let events: Vec<Value> = (first..(first + 1_000).min(from + count)).map(event).collect();
        stand.server()?.call(ACCOUNT, "POST", "/events/batch", &json!({"events": events}))?;
    }
    await_total(stand, "/deliveries?status=pending&limit=1", LIMIT, |pending| pending == 0)?;
    Ok(count)
}

/// An event whose data has 147 bytes.
fn event(number: u64) -> Value {
    let data = |padding: usize| {
        json!({
            "entry_id": 1_000_000_000 + number, "worker_id": 10_000 + number % 10_000, "worker_name": "Maria Gonzalez",
            "clock_in": "2026-03-02T07:58:11Z", "location_id": 17, "device": "k".repeat(padding),
        })
    };
    let padding = DATA_BYTES.saturating_sub(data(0).to_string().len());
    json!({"event": "clock_in", "data": data(padding)})
}

/// What the file takes an event, with the find index and without it.
fn figure(stand: &mut Stand, events: u64) -> Result<Row> {
    await_index(stand, LIMIT)?;
    let server = stand.server()?;
    server.stop()?;
    let database = server.database();
    let on_disk = bytes_on_disk(&database)?;
    let tables = redb_alone::look_at(&database)?.tables;
    server.start_again()?;
    let index: u64 = INDEX.iter().filter_map(|name| tables.get(*name)).sum();
    let mut largest: Vec<_> = tables.iter().filter(|(_, bytes)| **bytes >= events).collect();
    largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
    let by_table: Vec<String> =
        largest.into_iter().map(|(name, bytes)| format!("{name} {:.0}", float(*bytes) / float(events))).collect();
    let an_event = |bytes: u64| Some(float(bytes) / float(events));
    let targets = vec![
        at_most("without the find index", an_event(on_disk.saturating_sub(index)), WITHOUT_INDEX),
        at_most("with it", an_event(on_disk), WITH_INDEX),
        Target { text: format!("of which {}", by_table.join(", ")), met: true },
    ];
    Ok(Row { targets, ..Row::default() })
}
