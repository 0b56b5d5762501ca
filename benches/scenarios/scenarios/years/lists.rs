//! Every list, filter and page of a store with millions of deliveries, beside the same calls of one with a thousand.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{ACCOUNT, ENDPOINTS, await_index, free_address, of_quick, with_history};
use crate::Result;
use crate::driver::{FIRST_SEQUENCE, FIRST_WORKER};
use crate::measure::{Latency, histogram, record};
use crate::report::{Row, System};
use crate::scenarios::{Bench, at_most, ratio};
use crate::server::Settings;
use crate::stand::Stand;

const FEW: u64 = 1_000;
const MANY: u64 = 10_000_000;
const P99_MS: f64 = 20.0;
const TO_FEW: f64 = 2.0;
/// The command with all that it looks at, on the network as well.
const DOCTOR_MS: f64 = 1_000.0;
const INDEX_LIMIT: Duration = Duration::from_mins(10);
const DOCTOR: &str = "doctor";
/// Calls of a kind before they are timed.
const WARM: usize = 3;

/// One row a call.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("lists", |system| {
        let times = bench.pick(200, 50);
        let few = measure(system, FEW, times)?;
        let many = measure(system, of_quick(bench, MANY, 50), times)?;
        let rows = few.into_iter().zip(many).map(|((_, before), (name, now))| {
            let p99 = |latency: Option<Latency>| latency.map(|all| all.p99);
            let limit = if name.starts_with(DOCTOR) { DOCTOR_MS } else { P99_MS };
            let mut targets = vec![at_most("p99 ms", p99(now), limit)];
            if before.is_some() {
                targets.push(at_most("p99 to that at 1,000", ratio(p99(now), p99(before)), TO_FEW));
            }
            Row { accept: now, targets, ..Row::default() }.named(&name, system)
        });
        Ok(rows.collect())
    })
}

type Measured = (String, Option<Latency>);

fn measure(system: &System, stored: u64, times: usize) -> Result<Vec<Measured>> {
    let metrics = free_address()?;
    let settings = Settings { metrics: Some(metrics), ..Settings::default() };
    let mut stand = with_history(system, stored, &settings, None)?;
    await_index(&mut stand, INDEX_LIMIT)?;
    let api = format!("http://{}/api/v1", stand.server()?.addr);
    let mut urls: Vec<(String, String)> =
        calls(&mut stand)?.into_iter().map(|path| (format!("GET {path}"), format!("{api}{path}"))).collect();
    urls.push(("GET /metrics".to_owned(), format!("http://{metrics}/metrics")));
    let key = stand.server()?.key(ACCOUNT)?;
    let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
    let mut measured = Vec::new();
    for (name, url) in urls {
        let mut all = histogram();
        for turn in 0..WARM + times {
            let began = Instant::now();
            let mut answer = agent.get(&url).header("Authorization", format!("Bearer {key}")).call()?;
            let text = answer.body_mut().read_to_string()?;
            if !answer.status().is_success() {
                return Err(format!("{name}: {} {text}", answer.status()).into());
            }
            if turn >= WARM {
                record(&mut all, u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        }
        measured.push((format!("{name}, {stored} stored"), Latency::of(&all)));
    }
    let mut all = histogram();
    for _ in 0..5 {
        let began = Instant::now();
        // It ends with its findings.
        let _ = stand.server()?.command(&[DOCTOR]);
        record(&mut all, u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    measured.push((format!("{DOCTOR}, {stored} stored"), Latency::of(&all)));
    Ok(measured)
}

/// Each kind of list with each kind of filter: what finds much, little, nothing, and what lies deep.
fn calls(stand: &mut Stand) -> Result<Vec<String>> {
    let server = stand.server()?;
    let of_one_worker =
        *server.find_subscriptions(ACCOUNT)?.get(ENDPOINTS).ok_or("no subscription to one worker's events")?;
    let mut get = |path: &str| server.call(ACCOUNT, "GET", path, &Value::Null);
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("no text in {value}"));
    let page = get("/deliveries?limit=1&offset=5")?;
    let (delivery, event) = (text(&page["data"][0]["id"])?, text(&page["data"][0]["event_id"])?);
    let deep = get("/deliveries?limit=1&offset=900")?;
    let cursor = text(&deep["pagination"]["next_cursor"])?;
    let event_cursor = text(&get("/events?limit=1&offset=90")?["pagination"]["next_cursor"])?;
    let (worker, entry) = (FIRST_WORKER + 4_711, FIRST_SEQUENCE + 50);
    let found = [
        format!("worker_id={worker}"),
        "worker_id=nobody".to_owned(),
        format!("entry_id={entry}"),
        "shift_id=1".to_owned(),
        "document_id=1".to_owned(),
        "location_id=17".to_owned(),
        "tag=none".to_owned(),
    ];
    let mut calls: Vec<String> = [
        "",
        "?limit=100",
        "?limit=1",
        "?status=pending",
        "?status=delivered",
        "?status=exhausted",
        "?status=expired",
        "?event=clock_in",
        "?event=clock_out",
        "?response_code=200",
        "?response_code=404",
        "?subscription=1",
        "?subscription=1&status=exhausted",
        "?since=2026-01-01T00:00:00Z",
        "?until=2026-01-01T00:00:00Z",
        "?event=clock_in&status=delivered&response_code=500",
    ]
    .into_iter()
    .map(|query| format!("/deliveries{query}"))
    .collect();
    calls.push(format!("/deliveries?cursor={cursor}"));
    calls.push(format!("/deliveries?cursor={cursor}&response_code=404"));
    calls.push(format!("/deliveries/{delivery}"));
    calls.extend(found.iter().map(|query| format!("/deliveries?{query}")));
    let subscription = ["", "?status=delivered", "?status=pending", "?response_code=404"];
    calls.extend(subscription.map(|query| format!("/webhooks/1/deliveries{query}")));
    calls.push(format!("/deliveries?subscription={of_one_worker}"));
    calls.push(format!("/webhooks/{of_one_worker}/deliveries"));
    let events = ["", "?limit=100", "?event=clock_in", "?event=clock_out", "?since=2026-01-01T00:00:00Z"];
    calls.extend(events.map(|query| format!("/events{query}")));
    calls.push(format!("/events?cursor={event_cursor}"));
    calls.push(format!("/events/{event}"));
    calls.extend(found.iter().map(|query| format!("/events?{query}")));
    calls.extend(["/webhooks", "/webhooks/1", "/jobs", "/audit", "/keys", "/event-types"].map(str::to_owned));
    if get("/deliveries?limit=1")?["pagination"]["total"].as_u64() > Some(10_000) {
        calls.push("/deliveries?offset=10000".to_owned());
        calls.push("/events?offset=10000".to_owned());
    }
    Ok(calls)
}
