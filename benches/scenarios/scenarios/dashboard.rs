//! The dashboard: its first page, every other page beside a long history and much traffic, and what live views cost.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Bench, at_least, at_most, ratio, years};
use crate::Result;
use crate::browser::{Browser, LiveView, between};
use crate::measure::{Latency, float, histogram, record};
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

/// The account whose pages are looked at, with a long history.
const STORED: &str = years::ACCOUNT;
const DELIVERIES: u64 = 10_000_000;
/// The account that publishes meanwhile.
const BUSY: &str = "busy";
const EVENTS_PER_SECOND: f64 = 5_000.0;
const PATIENCE: Duration = Duration::from_secs(20);

const PAGE_MS: f64 = 50.0;
const FIRST_PAGE_KB: f64 = 60.0;
/// Of what is delivered without live views.
const SHARE_WITH_VIEWS: f64 = 0.95;

/// Pages of one session in a row; it may ask for 300 a minute.
const PAGES_OF_SESSION: usize = 200;
/// Live views of each account; one may have 20, and all together 50.
const VIEWS: [(&str, usize); 3] = [(STORED, 20), (BUSY, 20), ("third", 10)];

/// Pages, then live views.
pub fn run(bench: &Bench) -> Vec<Row> {
    let mut rows = bench.server_alone("dashboard, pages", |system| pages(bench, system));
    rows.extend(bench.server_alone("dashboard, live views", |system| live_views(bench, system)));
    rows
}

fn pages(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let stored = bench.pick(DELIVERIES, DELIVERIES / 200);
    let busy = Group::new(BUSY, Behaviour::Healthy, 1);
    let mut stand = years::with_history(system, stored, &Settings::default(), Some(busy))?;
    let mut visits = Visits { server: stand.server()?.addr, key: stand.server()?.key(STORED)?, left: 0, browser: None };
    let mut rows = vec![first_page(&mut visits)?.named(&format!("dashboard: first page, {stored} stored"), system)];

    let paths = paths(&mut visits)?;
    let driver = stand.drive(BUSY, Load::paced(EVENTS_PER_SECOND, 600.0))?;
    // The first second has connections to make.
    std::thread::sleep(Duration::from_secs(1));
    for path in paths {
        let latency = visits.latency(&path, bench.pick(100, 10))?;
        let targets = vec![at_most("p99 ms", latency.map(|all| all.p99), PAGE_MS)];
        let row = Row { accept: latency, targets, ..Row::default() };
        rows.push(row.named(&format!("dashboard: {path}, {stored} stored"), system));
    }
    let report = driver.stop()?;
    let seconds = float(report.ended_us.saturating_sub(report.started_us).max(1)) / 1e6;
    let rate = float(report.accepted) / seconds;
    let row = Row {
        accepted: Some(rate),
        accept: report.latency,
        refused: report.refused + report.unanswered,
        targets: vec![at_least("events/s", Some(rate), EVENTS_PER_SECOND * 0.98)],
        ..Row::default()
    };
    rows.push(row.named("dashboard: publishing beside these pages", system));
    Ok(rows)
}

/// Time of the first page, and its size with everything that it loads.
fn first_page(visits: &mut Visits) -> Result<Row> {
    let latency = visits.latency("/", 20)?;
    let page = visits.page("/")?.text;
    let assets: BTreeSet<&str> = page.split('"').filter(|part| part.starts_with("/assets/")).collect();
    let mut bytes = page.len();
    for asset in assets {
        bytes += visits.page(asset)?.text.len();
    }
    let targets = vec![
        at_most("p99 ms", latency.map(|all| all.p99), PAGE_MS),
        at_most("KB in all", Some(float(bytes as u64) / 1024.0), FIRST_PAGE_KB),
    ];
    Ok(Row { accept: latency, targets, ..Row::default() })
}

/// Every kind of page; lists with filters that find much, little, and nothing.
fn paths(visits: &mut Visits) -> Result<Vec<String>> {
    let deliveries = visits.page("/deliveries")?.text;
    let id = |page: &str, path: &str| -> Result<String> {
        let end = between(page, &format!("href=\"{path}"), "\"").ok_or("an empty list")?;
        Ok(format!("{path}{end}"))
    };
    let delivery = id(&deliveries, "/deliveries/dlv_")?;
    let event = id(&visits.page("/events")?.text, "/events/evt_")?;
    let fixed = [
        "/",
        "/?range=7d",
        "/deliveries",
        "/deliveries?status=delivered",
        "/deliveries?status=exhausted",
        "/deliveries?subscription=1",
        "/deliveries?response_code=200",
        "/deliveries?response_code=404",
        "/deliveries?event=clock_out",
        "/deliveries?worker_id=10000",
        "/subscriptions",
        "/subscriptions/1",
        "/events",
        "/events?worker_id=10000",
        "/events?worker_id=nobody",
        "/event-types",
        "/jobs",
        "/keys",
        "/audit",
        "/system",
    ];
    Ok(fixed.into_iter().map(str::to_owned).chain([delivery, event]).collect())
}

/// Pages by sessions that each stay within their limit.
struct Visits {
    server: std::net::SocketAddr,
    key: String,
    left: usize,
    browser: Option<Browser>,
}

impl Visits {
    fn page(&mut self, path: &str) -> Result<crate::browser::Page> {
        let known = self.browser.take().filter(|_| self.left > 0);
        let browser = if let Some(browser) = known {
            browser
        } else {
            self.left = PAGES_OF_SESSION;
            Browser::sign_in(self.server, &self.key)?
        };
        self.left -= 1;
        self.browser.insert(browser).page(path)
    }

    fn latency(&mut self, path: &str, times: usize) -> Result<Option<Latency>> {
        let mut all = histogram();
        for _ in 0..times {
            record(&mut all, self.page(path)?.took_us);
        }
        Ok(Latency::of(&all))
    }
}

/// Full speed without live views and with as many as there can be, in turn.
fn live_views(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let groups = VIEWS.map(|(account, _)| Group::new(account, Behaviour::Healthy, 1)).to_vec();
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    stand.warm_up(STORED, 1_000)?;
    let load = Load::full(128, bench.pick(5.0, 3.0));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..bench.pick(3, 1) {
        without.push(measure(&mut stand, load)?);
        let _views = open_views(&mut stand)?;
        with.push(measure(&mut stand, load)?);
    }
    let (without, mut with) = (Row::median(&without), Row::median(&with));
    let share = ratio(with.delivered, without.delivered);
    with.targets = vec![at_least("delivered, of without", share, SHARE_WITH_VIEWS)];
    Ok(vec![
        without.named("1 endpoint, 128 connections, no live view", system),
        with.named("1 endpoint, 128 connections, 50 live views", system),
    ])
}

fn measure(stand: &mut Stand, load: Load) -> Result<Row> {
    stand.receiver.reset()?;
    stand.measure(STORED, load, PATIENCE)
}

fn open_views(stand: &mut Stand) -> Result<Vec<LiveView>> {
    let mut views = Vec::new();
    for (account, count) in VIEWS {
        let (addr, key) = (stand.server()?.addr, stand.server()?.key(account)?);
        let browser = Browser::sign_in(addr, &key)?;
        for _ in 0..count {
            views.push(browser.live_view()?);
        }
    }
    Ok(views)
}
