//! The situations that are measured, and what is to be reached in each.

mod backlog;
mod dashboard;
mod evidence;
mod fan_out;
mod feed;
mod filters;
mod find;
mod isolation;
mod memory;
mod options;
mod outage;
mod pacing;
mod postgres;
mod pushback;
mod rare;
mod replay;
mod slow_disk;
mod speed;
mod wrong_keys;
mod years;

use crate::Result;
use crate::report::{Row, System, Target};

/// How a run is done.
pub struct Bench {
    /// Shorter, and once instead of three times.
    pub quick: bool,
    server: Option<System>,
}

/// One situation.
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// In words.
    pub about: &'static str,
    /// Measures it.
    pub run: fn(&Bench) -> Vec<Row>,
}

/// All of them, in the order of the table.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "idle", about: "memory of a server with nothing to do", run: speed::idle },
    Scenario { name: "one-128", about: "1 endpoint, 128 connections at full speed", run: speed::one_128 },
    Scenario { name: "one-32", about: "1 endpoint, 32 connections at full speed", run: speed::one_32 },
    Scenario { name: "ten-128", about: "10 endpoints, 128 connections at full speed", run: speed::ten_128 },
    Scenario { name: "ten-32", about: "10 endpoints, 32 connections at full speed", run: speed::ten_32 },
    Scenario { name: "batch-one", about: "1 endpoint, 8 connections, 100 events a request", run: speed::batch_one },
    Scenario { name: "batch-ten", about: "10 endpoints, 8 connections, 100 events a request", run: speed::batch_ten },
    Scenario { name: "tls", about: "1 endpoint behind TLS, 128 connections at full speed", run: speed::tls },
    Scenario { name: "pace-100", about: "1 endpoint, 100 events a second", run: speed::pace_100 },
    Scenario { name: "pace-1000", about: "1 endpoint, 1,000 events a second", run: speed::pace_1000 },
    Scenario { name: "thousand", about: "1,000 subscriptions on 1,000 origins", run: speed::thousand },
    Scenario { name: "fan-out", about: "60 events for 1,000 and 10,000 subscriptions", run: fan_out::run },
    Scenario { name: "rare", about: "1,000 origins, an event each 65 s, http and https", run: rare::run },
    Scenario { name: "options", about: "logins, headers, signatures and client certificates", run: options::run },
    Scenario { name: "filters", about: "1 endpoint beside 100 filters that fit nothing", run: filters::run },
    Scenario { name: "hanging", about: "healthy endpoints beside hanging ones", run: isolation::hanging },
    Scenario { name: "failing", about: "healthy endpoints beside ones that answer 500", run: isolation::failing },
    Scenario { name: "backlog", about: "1,000,000 pending: publish, rest, restart, drain", run: backlog::run },
    Scenario { name: "memory", about: "memory after lists of 800,000 deliveries and a redelivery", run: memory::lists },
    Scenario { name: "connections", about: "memory after waves of 10,000 idle connections", run: memory::connections },
    Scenario { name: "dashboard", about: "pages beside 10,000,000 deliveries, 50 live views", run: dashboard::run },
    Scenario { name: "evidence", about: "memory while 1,000,000 rows are streamed", run: evidence::run },
    Scenario { name: "slow-disk", about: "publishing beside failures on a slow disk", run: slow_disk::run },
    Scenario { name: "outage", about: "an endpoint that comes back with 100,000 pending", run: outage::run },
    Scenario {
        name: "pushback",
        about: "an endpoint that takes 100 a second and answers 429 beyond",
        run: pushback::run,
    },
    Scenario { name: "wrong-keys", about: "whether time tells invalid keys apart", run: wrong_keys::run },
    Scenario { name: "order", about: "1,000 workers, in order by worker beside unordered", run: pacing::order },
    Scenario { name: "batches", about: "100 events a request beside one a request", run: pacing::batches },
    Scenario { name: "rate", about: "an endpoint with a rate of 100/s", run: pacing::rate },
    Scenario { name: "workers", about: "10,000 workers in order, one of them failing", run: pacing::workers },
    Scenario { name: "replay", about: "200,000 events again, behind live traffic", run: replay::run },
    Scenario { name: "find", about: "one worker among 2,000,000 events", run: find::run },
    Scenario { name: "postgres", about: "1 endpoint, PostgreSQL with a synchronous standby", run: postgres::run },
    Scenario { name: "feed", about: "10,000 readers that wait for a feed", run: feed::run },
    Scenario { name: "lists", about: "every list and page beside 10,000,000 deliveries", run: years::lists::run },
    Scenario { name: "start", about: "start on a large file, after a stop and after a kill", run: years::start::run },
    Scenario { name: "bytes", about: "bytes on disk an event, at first and in steady state", run: years::bytes::run },
    Scenario { name: "retention", about: "publishing while 1,000,000 events are removed", run: years::retention::run },
    Scenario { name: "off", about: "endpoints beside one that is off with 1,000,000 pending", run: years::off::run },
];

/// Those that run for an hour: only by name.
pub const LONG_SCENARIOS: &[Scenario] = &[
    Scenario { name: "hour", about: "publishing and retention for an hour", run: years::hour::run },
    Scenario { name: "back-hour", about: "a month's backlog of an endpoint that comes back", run: outage::hour },
];

const TEN: &str = "10 endpoints, 128 connections";
const THOUSAND: &str = "1,000 origins";

impl Bench {
    /// With or without a server to measure.
    pub fn new(quick: bool, server: Option<System>) -> Self {
        Self { quick, server }
    }

    /// One of two values.
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Measures yardstick and server in turn, several rounds of each, because the machine itself drifts: only what
    /// was measured side by side can be compared.
    fn compare(
        &self,
        scenario: &str,
        measure: impl Fn(&System) -> Result<Row>,
        targets: impl Fn(&Row, &Row) -> Vec<Target>,
    ) -> Vec<Row> {
        let systems: Vec<System> = [Some(System::Yardstick), self.server.clone()].into_iter().flatten().collect();
        let mut rounds: Vec<Result<Vec<Row>>> = systems.iter().map(|_| Ok(Vec::new())).collect();
        for _ in 0..self.pick(3, 1) {
            for (system, rounds) in systems.iter().zip(&mut rounds) {
                let Ok(rows) = rounds else { continue };
                match measure(system) {
                    Ok(row) => rows.push(row),
                    Err(error) => *rounds = Err(error),
                }
            }
        }
        let mut rows: Vec<Row> = systems
            .iter()
            .zip(rounds)
            .map(|(system, rounds)| match rounds {
                Ok(rounds) => Row::median(&rounds).named(scenario, system),
                Err(error) => Row::failed(scenario, system, error.as_ref()),
            })
            .collect();
        if let [yardstick, server] = &mut rows[..]
            && server.failure.is_none()
        {
            server.targets = targets(server, yardstick);
            server.targets.extend(complete(server));
        }
        rows
    }

    /// Measures what only the server can do.
    fn server_alone(&self, scenario: &str, measure: impl FnOnce(&System) -> Result<Vec<Row>>) -> Vec<Row> {
        let Some(system) = &self.server else {
            return Vec::new();
        };
        measure(system).unwrap_or_else(|error| vec![Row::failed(scenario, system, error.as_ref())])
    }
}

/// Nothing is lost, whatever else is measured.
fn complete(row: &Row) -> Option<Target> {
    row.lost.filter(|&lost| lost > 0).map(|lost| Target { text: format!("{lost} lost"), met: false })
}

/// A figure that shall be small.
fn at_most(what: &str, value: Option<f64>, limit: f64) -> Target {
    Target {
        text: value.map_or_else(|| format!("{what}: no figure"), |value| format!("{what} {value:.2} ≤ {limit}")),
        met: value.is_some_and(|value| value <= limit),
    }
}

/// A figure that shall be large.
fn at_least(what: &str, value: Option<f64>, limit: f64) -> Target {
    Target {
        text: value.map_or_else(|| format!("{what}: no figure"), |value| format!("{what} {value:.2} ≥ {limit}")),
        met: value.is_some_and(|value| value >= limit),
    }
}

/// How many times one is the other.
fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other?)
}

/// Targets that need the rows of two scenarios.
pub fn across(rows: &mut [Row]) {
    let delivered = |rows: &[Row], scenario: &str| {
        rows.iter().find(|row| row.system != System::Yardstick && row.scenario == scenario)?.delivered
    };
    let share = ratio(delivered(rows, THOUSAND), delivered(rows, TEN));
    let server = rows.iter_mut().find(|row| row.system != System::Yardstick && row.scenario == THOUSAND);
    if let (Some(row), Some(share)) = (server, share) {
        row.targets.push(at_least("of 10 endpoints", Some(share), 0.5));
    }
}
