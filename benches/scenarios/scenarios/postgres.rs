//! One server on PostgreSQL with a synchronous standby, beside the leanest loop over the same PostgreSQL.

use std::cell::Cell;
use std::time::Duration;

use super::{Bench, at_least, at_most, ratio};
use crate::Result;
use crate::measure::float;
use crate::postgres::Postgres;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand, folder};

const GROUP: &str = "default";
const PATIENCE: Duration = Duration::from_secs(10);
const SCENARIO: &str = "PostgreSQL, 1 endpoint, 128 connections";

/// Full speed and a given pace.
pub fn run(bench: &Bench) -> Vec<Row> {
    let database = match folder().and_then(|folder| Postgres::start(&folder)) {
        Ok(database) => database,
        Err(error) => return vec![Row::failed(SCENARIO, &System::Yardstick, error.as_ref())],
    };
    // Of the last measurement, in microseconds an event.
    let database_cpu = Cell::new(None);
    let measure = |system: &System, load: Load| -> Result<Row> {
        database.sql("DROP SCHEMA IF EXISTS tempclock_webhooks CASCADE")?;
        let settings = Settings { postgres: Some(database.url()), ..Settings::default() };
        let groups = vec![Group::new(GROUP, Behaviour::Healthy, 1)];
        let mut stand = Stand::new(system, groups, Speaks::Http, &settings)?;
        stand.warm_up(GROUP, 1_000)?;
        let (before, seconds) = (database.cpu_us()?, load.seconds);
        let row = stand.measure(GROUP, load, PATIENCE)?;
        let events = row.accepted.unwrap_or_default() * seconds;
        database_cpu.set(Some(float(database.cpu_us()? - before) / events.max(1.0)));
        Ok(row)
    };
    let full = Load::full(128, bench.pick(5.0, 3.0));
    let mut rows = bench.compare(
        SCENARIO,
        |system| measure(system, full),
        |server, yardstick| {
            vec![
                at_least("of yardstick", ratio(server.delivered, yardstick.delivered), 0.5),
                at_least("delivered/s", server.delivered, 5_000.0),
                at_most("CPU µs of the databases an event", database_cpu.get(), 60.0),
            ]
        },
    );
    let paced = Load::paced(1_000.0, bench.pick(10.0, 4.0));
    rows.extend(bench.compare(
        "PostgreSQL, 1 endpoint, 1,000/s",
        |system| measure(system, paced),
        |server, _| vec![at_most("accept p50 ms", server.accept.map(|accept| accept.p50), 3.0)],
    ));
    rows
}
