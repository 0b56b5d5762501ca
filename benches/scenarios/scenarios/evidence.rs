//! Evidence of a long history: it is streamed, and takes no memory by its length.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use super::{Bench, at_least, at_most};
use crate::Result;
use crate::driver::FIRST_WORKER;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, Target};
use crate::server::Settings;
use crate::stand::{Speaks, Stand};

const GROUP: &str = "default";
const PATIENCE: Duration = Duration::from_secs(20);
/// Beyond what was resident before.
const MORE_MB: f64 = 10.0;
/// Lines between two looks at the memory.
const LOOK: u64 = 1_000;

/// As lines of JSON, then as a table.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("evidence", |system| {
        let mut stand =
            Stand::new(system, vec![Group::new(GROUP, Behaviour::Healthy, 1)], Speaks::Http, &Settings::default())?;
        let events = stand.deliver(GROUP, bench.pick(1_000_000, 50_000), PATIENCE)?;
        // The pages that a long read takes into the cache are no part of what it costs.
        stream(&mut stand, "ndjson")?;
        ["ndjson", "csv"]
            .into_iter()
            .map(|format| {
                let (rows, more, took) = stream(&mut stand, format)?;
                let per_second = float(rows) / took.as_secs_f64();
                let targets = vec![
                    at_least("rows", Some(float(rows)), float(events)),
                    at_most("RSS MB more than before", Some(float(more) / 1e6), MORE_MB),
                    Target { text: format!("{per_second:.0} rows/s"), met: true },
                ];
                let row = Row { rss: Some(stand.usage()?.rss_peak), targets, ..Row::default() };
                Ok(row.named(&format!("evidence of {events} events as {format}"), system))
            })
            .collect()
    })
}

/// Reads all of it; gives its lines, how much memory the server had at most beyond what it had before, and the time.
fn stream(stand: &mut Stand, format: &str) -> Result<(u64, u64, Duration)> {
    let before = stand.usage()?.rss;
    let server = stand.server()?;
    let (key, addr) = (server.key(GROUP)?, server.addr);
    let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
    let began = Instant::now();
    let url = format!("http://{addr}/api/v1/evidence?worker_id={FIRST_WORKER}&format={format}");
    let mut answer = agent.get(url).header("Authorization", format!("Bearer {key}")).call()?;
    if answer.status() != 200 {
        return Err(format!("evidence was answered {}", answer.status()).into());
    }
    let mut lines = BufReader::with_capacity(256 * 1024, answer.body_mut().as_reader());
    let (mut line, mut rows, mut most) = (Vec::new(), 0, before);
    while lines.read_until(b'\n', &mut line)? > 0 {
        line.clear();
        rows += 1;
        if rows % LOOK == 0 {
            most = most.max(stand.usage()?.rss);
        }
    }
    Ok((rows, most.saturating_sub(before), began.elapsed()))
}
