//! Memory after what takes much of it: lists of a long history, many deliveries sent again, waves of idle connections.
//! What counts is that it goes back, so each row shows what is resident then and a minute later.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Bench, at_most};
use crate::Result;
use crate::measure::{await_files, float, open_files};
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System, Target};
use crate::server::Settings;
use crate::stand::{Speaks, Stand};

const GROUP: &str = "default";
const FAILING: &str = "failing";
const PATIENCE: Duration = Duration::from_secs(20);
/// What is made free goes back to the system within this time.
const LATER: Duration = Duration::from_mins(1);
const WORKING_MB: f64 = 90.0;
const LATER_MB: f64 = 80.0;
const RETRY_S: f64 = 5.0;
const AFTER_CONNECTIONS_MB: f64 = 60.0;
/// Requests at once, as many as two workers have threads for.
const AT_ONCE: usize = 32;
const CONNECTIONS: usize = 10_000;
const WAVES: usize = 5;

/// Lists and a redelivery.
pub fn lists(bench: &Bench) -> Vec<Row> {
    bench.server_alone("memory", |system| measure_lists(bench, system))
}

fn measure_lists(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let (first, second, exhausted) = bench.pick((300_000, 500_000, 20_000), (60_000, 0, 4_000));
    let groups = vec![Group::new(GROUP, Behaviour::Healthy, 1), Group::new(FAILING, Behaviour::Failing, 1)];
    let settings = Settings { retry_schedule: Some(&["1s"]), ..Settings::default() };
    let mut stand = Stand::new(system, groups, Speaks::Http, &settings)?;
    let mut rows = vec![resident(&stand, "at rest", f64::INFINITY)?];
    let mut delivered = stand.deliver(GROUP, first, PATIENCE)?;
    rows.push(resident(&stand, &format!("{delivered} delivered"), WORKING_MB)?);
    rows.extend(list(&mut stand)?);
    if second > 0 {
        delivered += stand.deliver(GROUP, second, PATIENCE)?;
        rows.push(resident(&stand, &format!("{delivered} delivered"), WORKING_MB)?);
        rows.extend(list(&mut stand)?);
    }
    // Subscribed to the same account only now: an attempt and a retry for each, and then none is left.
    let failing = json!({"url": stand.receiver.urls(FAILING)[0]});
    stand.server()?.subscribe(GROUP, &failing)?;
    let exhausted = stand.deliver(GROUP, exhausted, PATIENCE)?;
    await_requests(&mut stand, 2 * exhausted)?;
    rows.push(resident(&stand, &format!("{exhausted} exhausted"), WORKING_MB)?);
    let began = Instant::now();
    stand.server()?.command(&["deliveries", "retry", "--since", "1d", "--yes", "--account", GROUP])?;
    let took = began.elapsed().as_secs_f64();
    let mut again = resident(&stand, &format!("{exhausted} sent again"), WORKING_MB)?;
    again.targets.push(at_most("retry command s", Some(took), RETRY_S));
    rows.push(again);
    thread::sleep(LATER);
    rows.push(resident(&stand, "a minute later", LATER_MB)?);
    Ok(rows.into_iter().map(|row: Row| named("memory", row, system)).collect())
}

/// The lists that read much, and what is resident after each kind.
fn list(stand: &mut Stand) -> Result<Vec<Row>> {
    for _ in 0..5 {
        read(stand, "/deliveries?status=pending", 1)?;
    }
    let pending = resident(stand, "5 lists of status=pending", WORKING_MB)?;
    read(stand, "/deliveries?response_code=500", AT_ONCE)?;
    let code = resident(stand, "32 lists of response_code=500 at once", WORKING_MB)?;
    read(stand, "/events?limit=100", AT_ONCE)?;
    Ok(vec![pending, code, resident(stand, "32 lists of 100 events at once", WORKING_MB)?])
}

/// Waves of connections that send nothing.
pub fn connections(bench: &Bench) -> Vec<Row> {
    bench.server_alone("connections", |system| {
        let count = bench.pick(CONNECTIONS, CONNECTIONS / 5);
        let settings = Settings { idle_connections: Some(count), ..Settings::default() };
        let mut stand = Stand::new(system, vec![Group::new(GROUP, Behaviour::Healthy, 1)], Speaks::Http, &settings)?;
        let mut rows = vec![resident(&stand, "at rest", f64::INFINITY)?];
        let (address, pid) = (stand.server()?.addr, stand.server()?.pid());
        let files = open_files(pid)?;
        for wave in 1..=WAVES {
            let held = (0..count).map(|_| TcpStream::connect(address)).collect::<Result<Vec<_>, _>>()?;
            await_files(pid, |open| open >= files + count)?;
            if wave == WAVES {
                rows.push(resident(&stand, &format!("{count} idle connections, wave {wave}"), f64::INFINITY)?);
            }
            drop(held);
            await_files(pid, |open| open <= files)?;
        }
        rows.push(resident(&stand, "all closed", f64::INFINITY)?);
        thread::sleep(LATER);
        rows.push(resident(&stand, "a minute later", AFTER_CONNECTIONS_MB)?);
        Ok(rows.into_iter().map(|row| named("connections", row, system)).collect())
    })
}

/// What is resident now.
fn resident(stand: &Stand, what: &str, limit: f64) -> Result<Row> {
    let usage = stand.usage()?;
    let megabytes = float(usage.rss) / 1e6;
    let target = if limit.is_finite() {
        at_most("RSS MB now", Some(megabytes), limit)
    } else {
        Target { text: format!("RSS MB now {megabytes:.2}"), met: true }
    };
    Ok(Row { scenario: what.to_owned(), rss: Some(usage.rss_peak), targets: vec![target], ..Row::default() })
}

fn named(scenario: &str, row: Row, system: &System) -> Row {
    let name = format!("{scenario}: {}", row.scenario);
    row.named(&name, system)
}

fn await_requests(stand: &mut Stand, requests: u64) -> Result<()> {
    let began = Instant::now();
    loop {
        let made = stand.receiver.report()?.groups.get(FAILING).map_or(0, |group| group.requests);
        if made >= requests {
            // The outcomes of the last ones are committed meanwhile.
            thread::sleep(Duration::from_secs(1));
            return Ok(());
        }
        if began.elapsed() > Duration::from_mins(3) {
            return Err(format!("{made} of {requests} attempts were made").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The same list so many times at once. An account reads a few at a time, so the last ones of slow lists may be refused.
fn read(stand: &mut Stand, path: &str, at_once: usize) -> Result<()> {
    let server = stand.server()?;
    let key = server.key(GROUP)?;
    let url = format!("http://{}/api/v1{path}", server.addr);
    let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
    let get = || -> Result<u16> {
        let mut answer = agent.get(&url).header("Authorization", format!("Bearer {key}")).call()?;
        answer.body_mut().read_to_string()?;
        Ok(answer.status().as_u16())
    };
    let statuses: Vec<u16> = thread::scope(|scope| {
        let readers: Vec<_> = (0..at_once).map(|_| scope.spawn(get)).collect();
        let joined = readers.into_iter().map(|reader| reader.join().unwrap_or_else(|_| Err("a reader failed".into())));
        joined.collect::<Result<_>>()
    })?;
    let is_share = statuses.iter().all(|status| matches!(status, 200 | 503)) && statuses.contains(&200);
    if is_share { Ok(()) } else { Err(format!("{path}: {statuses:?}").into()) }
}
