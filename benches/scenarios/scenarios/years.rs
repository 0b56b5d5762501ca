//! A store that has lived for years: what lists, starts and retention cost with millions stored, and how it stands after an
//! hour of work. What takes long to fill is kept in the bench's folder, under a name of its own, for the next run.

pub mod bytes;
pub mod hour;
pub mod lists;
pub mod off;
pub mod retention;
pub mod start;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Bench;
use crate::Result;
use crate::driver::FIRST_WORKER;
use crate::receiver::{Behaviour, Group};
use crate::report::System;
use crate::server::Settings;
use crate::stand::{Load, Stand};

/// The account that has a history.
pub(super) const ACCOUNT: &str = "default";
const ENDPOINTS: usize = 10;
/// An account whose endpoint answers 500.
const FAILING: &str = "failing";
/// Each worker has an event in so many.
const WORKERS: u64 = 10_000;
/// Nobody listens there.
const NOBODY: &str = "http://127.77.251.1:9/hook";
/// Events that are stored before the next ones are published.
const PORTION: u64 = 50_000;
const PATIENCE: Duration = Duration::from_mins(1);

/// A server on a store with at least so many deliveries, almost all of them delivered: of one worker's events one delivery
/// more is pending, and of another's one is exhausted after two attempts. Another group may stand beside it.
pub(super) fn with_history(
    system: &System,
    deliveries: u64,
    settings: &Settings,
    further: Option<Group>,
) -> Result<Stand> {
    let own = [Group::new(ACCOUNT, Behaviour::Healthy, ENDPOINTS), Group::new(FAILING, Behaviour::Failing, 1)];
    let groups = own.into_iter().chain(further).collect();
    let mut stand = Stand::kept(&format!("years-{deliveries}"), system, groups, settings)?;
    if stand.server()?.find_subscriptions(ACCOUNT)?.len() == ENDPOINTS {
        let of = |worker: u64| json!({"worker_id": [FIRST_WORKER + worker]});
        stand.server()?.subscribe(ACCOUNT, &json!({"url": NOBODY, "filter": of(0)}))?;
        let failing = stand.receiver.urls(FAILING).first().cloned();
        stand.server()?.subscribe(ACCOUNT, &json!({"url": failing, "filter": of(1), "retry_schedule": ["1s"]}))?;
    }
    loop {
        let stored = total(&mut stand, "/deliveries?limit=1")?;
        if stored >= deliveries {
            return Ok(stand);
        }
        let events = PORTION.min((deliveries - stored).div_ceil(ENDPOINTS as u64)).next_multiple_of(100);
        stand.receiver.reset()?;
        let load = Load::full(4, 600.0).batch(100).limit(events).workers(WORKERS);
        let report = stand.drive(ACCOUNT, load)?.finish()?;
        stand.done(&report);
        stand.await_deliveries(ACCOUNT, report.accepted, PATIENCE)?;
    }
}

/// How long a list is.
fn total(stand: &mut Stand, path: &str) -> Result<u64> {
    let page = stand.server()?.call(ACCOUNT, "GET", path, &Value::Null)?;
    page["pagination"]["total"].as_u64().ok_or_else(|| format!("no total in {page}").into())
}

/// Waits until a list is as long as wished.
fn await_total(stand: &mut Stand, path: &str, limit: Duration, is_wished: impl Fn(u64) -> bool) -> Result<Duration> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if is_wished(total(stand, path)?) {
            return Ok(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(format!("{path} did not come to the length that it was to have").into())
}

/// Waits until the find index is up with the events.
fn await_index(stand: &mut Stand, limit: Duration) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < limit {
        let page = stand.server()?.call(ACCOUNT, "GET", "/events?worker_id=nobody", &Value::Null)?;
        if page["pagination"]["has_more"] == false {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("the index did not come up with the events".into())
}

/// What a file takes on the disk; its length is more.
fn bytes_on_disk(file: &Path) -> Result<u64> {
    Ok(std::fs::metadata(file)?.blocks() * 512)
}

/// The settings of a server that keeps events for a week, which a scenario can let pass.
fn kept_for_a_week() -> Settings {
    let sections = "[retention]\nevents = \"7d\"\nattempts = \"7d\"\n";
    Settings { moves_clock: true, sections, ..Settings::default() }
}

/// A port that is free now.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A short run of a scenario has so much of what a long one has.
fn of_quick(bench: &Bench, full: u64, part: u64) -> u64 {
    bench.pick(full, full / part)
}
