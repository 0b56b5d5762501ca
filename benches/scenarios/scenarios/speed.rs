//! Healthy endpoints: full speed, batches, TLS, many origins, and a given pace.

use std::time::Duration;

use super::{Bench, TEN, THOUSAND, at_least, at_most, ratio};
use crate::Result;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System, Target};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const GROUP: &str = "default";
const PATIENCE: Duration = Duration::from_secs(10);
const SPEED_SHARE: f64 = 0.75;
const SPEED_RSS_MB: f64 = 80.0;

fn healthy(system: &System, endpoints: usize, speaks: Speaks, warm_up: u64, load: Load) -> Result<Row> {
    let groups = vec![Group::new(GROUP, Behaviour::Healthy, endpoints)];
    let mut stand = Stand::new(system, groups, speaks, &Settings::default())?;
    stand.warm_up(GROUP, warm_up)?;
    stand.measure(GROUP, load, PATIENCE)
}

fn fast(server: &Row, yardstick: &Row) -> Vec<Target> {
    vec![
        at_least("of yardstick", ratio(server.delivered, yardstick.delivered), SPEED_SHARE),
        at_most("RSS MB", server.rss.map(|bytes| float(bytes) / 1e6), SPEED_RSS_MB),
    ]
}

/// Memory with nothing to do.
pub fn idle(bench: &Bench) -> Vec<Row> {
    let scenario = "idle";
    bench.server_alone(scenario, |system| {
        let groups = vec![Group::new(GROUP, Behaviour::Healthy, 1)];
        let stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
        std::thread::sleep(Duration::from_secs(2));
        let rss = stand.usage()?.rss_peak;
        let targets = vec![at_most("RSS MB", Some(float(rss) / 1e6), 20.0)];
        Ok(vec![Row { rss: Some(rss), targets, ..Row::default() }.named(scenario, system)])
    })
}

/// The most events a second.
pub fn one_128(bench: &Bench) -> Vec<Row> {
    let load = Load::full(128, bench.pick(5.0, 3.0));
    bench.compare(
        "1 endpoint, 128 connections",
        |system| healthy(system, 1, Speaks::Http, 1_000, load),
        |server, yardstick| {
            let mut targets = fast(server, yardstick);
            targets.push(at_most("CPU µs", server.cpu_us, 100.0));
            targets
        },
    )
}

/// Fewer publishers, smaller commits.
pub fn one_32(bench: &Bench) -> Vec<Row> {
    let load = Load::full(32, bench.pick(5.0, 3.0));
    bench.compare(
        "1 endpoint, 32 connections",
        |system| healthy(system, 1, Speaks::Http, 1_000, load),
        |_, _| Vec::new(),
    )
}

/// The most deliveries a second.
pub fn ten_128(bench: &Bench) -> Vec<Row> {
    bench.compare(TEN, |system| healthy(system, 10, Speaks::Http, 200, ten(bench, 128)), fast)
}

/// Fewer publishers.
pub fn ten_32(bench: &Bench) -> Vec<Row> {
    bench.compare("10 endpoints, 32 connections", |system| healthy(system, 10, Speaks::Http, 200, ten(bench, 32)), fast)
}

/// Bounded in events, because each of them is ten deliveries to wait for.
fn ten(bench: &Bench, connections: usize) -> Load {
    Load::full(connections, bench.pick(5.0, 3.0)).limit(20_000)
}

/// A hundred events a request.
pub fn batch_one(bench: &Bench) -> Vec<Row> {
    let load = Load::full(8, bench.pick(5.0, 3.0)).batch(100).limit(100_000);
    bench.compare(
        "1 endpoint, batches of 100",
        |system| healthy(system, 1, Speaks::Http, 1_000, load),
        |_, _| Vec::new(),
    )
}

/// A hundred events a request, a thousand deliveries.
pub fn batch_ten(bench: &Bench) -> Vec<Row> {
    let load = Load::full(8, bench.pick(5.0, 3.0)).batch(100).limit(20_000);
    bench.compare(
        "10 endpoints, batches of 100",
        |system| healthy(system, 10, Speaks::Http, 200, load),
        |_, _| Vec::new(),
    )
}

/// As the first, behind TLS.
pub fn tls(bench: &Bench) -> Vec<Row> {
    let load = Load::full(128, bench.pick(5.0, 3.0));
    bench.compare(
        "1 endpoint, TLS, 128 connections",
        |system| healthy(system, 1, Speaks::Https, 1_000, load),
        |_, _| Vec::new(),
    )
}

/// A quiet day.
pub fn pace_100(bench: &Bench) -> Vec<Row> {
    let load = Load::paced(100.0, bench.pick(15.0, 5.0));
    bench.compare(
        "1 endpoint, 100/s",
        |system| healthy(system, 1, Speaks::Http, 100, load),
        |server, yardstick| {
            let at = |row: &Row| row.arrive.map(|arrive| (arrive.p50, arrive.p99)).unzip();
            let ((p50, p99), (least50, least99)) = (at(server), at(yardstick));
            vec![
                at_most("p50 to yardstick", ratio(p50, least50), 1.5),
                at_most("p99 to yardstick", ratio(p99, least99), 2.0),
            ]
        },
    )
}

/// A busy day.
pub fn pace_1000(bench: &Bench) -> Vec<Row> {
    let load = Load::paced(1_000.0, bench.pick(10.0, 4.0));
    bench.compare(
        "1 endpoint, 1,000/s",
        |system| healthy(system, 1, Speaks::Http, 500, load),
        |server, _| vec![at_most("bytes an event", server.bytes, 48_000.0)],
    )
}

/// Each event goes to a thousand others.
pub fn thousand(bench: &Bench) -> Vec<Row> {
    let load = Load::full(4, 30.0).limit(bench.pick(150, 40));
    bench.compare(THOUSAND, |system| healthy(system, 1_000, Speaks::Http, 4, load), |_, _| Vec::new())
}
