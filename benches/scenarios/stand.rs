//! One measurement's stand: receivers, the system under test in a fresh folder, and the loads that are put on it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Result;
use crate::driver::{self, Driver, FIRST_SEQUENCE};
use crate::measure::{Usage, float};
use crate::receiver::{self, Group, GroupReport, PemFiles, Receiver, Tls};
use crate::report::{Row, System};
use crate::server::{Server, Settings, ShownCertificate};
use crate::yardstick::{self, Yardstick};

/// How often the receiver is asked while the last deliveries are awaited.
const POLL: Duration = Duration::from_millis(20);
/// However slowly deliveries come, no scenario but the longest waits for them longer.
const WAIT_LIMIT: Duration = Duration::from_mins(3);
/// Time for the outcomes of the last deliveries to be committed.
const SETTLE: Duration = Duration::from_millis(300);
/// Threads of the yardstick: more do not deliver faster to receivers that answer at once.
const THREADS: usize = 8;

enum Subject {
    Yardstick(Yardstick),
    Server(Box<Server>),
}

/// What the endpoints speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// The same, to callers with a client certificate alone. Each endpoint's is declared under [`certificate_name`].
    HttpsToKnownCallers,
}

/// The name of the client certificate for an endpoint.
pub fn certificate_name(index: usize) -> String {
    format!("n{index}")
}

/// What is put on it.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections of the driver.
    pub connections: usize,
    /// Events a request.
    pub batch: u64,
    /// Requests a second, or none for full speed.
    pub rate: Option<f64>,
    /// Seconds at most.
    pub seconds: f64,
    /// Events at most.
    pub events: u64,
    /// Workers, whose events come in turn.
    pub workers: u64,
}

impl Load {
    /// As fast as the answers come, one event a request.
    pub fn full(connections: usize, seconds: f64) -> Self {
        Self { connections, batch: 1, rate: None, seconds, events: u64::MAX, workers: 1 }
    }

    /// A given number of events a second, one a request.
    pub fn paced(rate: f64, seconds: f64) -> Self {
        Self { connections: 16, batch: 1, rate: Some(rate), seconds, events: u64::MAX, workers: 1 }
    }

    /// So many events at most.
    pub fn limit(self, events: u64) -> Self {
        Self { events, ..self }
    }

    /// Of so many workers.
    pub fn workers(self, workers: u64) -> Self {
        Self { workers, ..self }
    }

    /// So many events a request.
    pub fn batch(self, batch: u64) -> Self {
        Self { batch, ..self }
    }
}

/// The stand. What is declared first ends first, so that nothing is delivered to a receiver that is gone.
pub struct Stand {
    subject: Subject,
    /// The endpoints.
    pub receiver: Receiver,
    groups: Vec<Group>,
    next: u64,
    _dir: Option<TempDir>,
}

impl Stand {
    /// Sets it up, each group of endpoints subscribed in an account of its own name.
    pub fn new(system: &System, groups: Vec<Group>, speaks: Speaks, settings: &Settings) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bench").tempdir_in(folder()?)?;
        let stand = Self::in_folder(dir.path(), system, groups, speaks, settings)?;
        Ok(Self { _dir: Some(dir), ..stand })
    }

    /// The same in a folder of that name that is kept, and goes on with what an earlier run has stored there.
    pub fn kept(name: &str, system: &System, groups: Vec<Group>, settings: &Settings) -> Result<Self> {
        let dir = folder()?.join(name);
        std::fs::create_dir_all(&dir)?;
        Self::in_folder(&dir, system, groups, Speaks::Http, settings)
    }

    fn in_folder(dir: &Path, system: &System, groups: Vec<Group>, speaks: Speaks, settings: &Settings) -> Result<Self> {
        let file = |name: &str| dir.join(name);
        let client = (speaks == Speaks::HttpsToKnownCallers)
            .then(|| PemFiles { certificate: file("client.pem"), key: file("client.key") });
        let tls = (speaks != Speaks::Http).then(|| Tls { authority: file("ca.pem"), client: client.clone() });
        let authority = tls.as_ref().map(|tls| tls.authority.clone());
        let receiver = Receiver::start(&receiver::Spec { groups: groups.clone(), tls })?;
        let subject = match system {
            System::Yardstick => Subject::Yardstick(Yardstick::start(&yardstick::Spec {
                endpoints: groups.iter().flat_map(|group| receiver.urls(&group.name)).cloned().collect(),
                authority,
                data_dir: file("data"),
                postgres: settings.postgres.clone(),
                threads: THREADS,
            })?),
            System::Server(binary) => {
                let certificates = client.map_or_else(Vec::new, |files| shown(&files, &groups, &receiver));
                let settings = Settings { authority, certificates, ..settings.clone() };
                let mut server = Server::start(binary, dir, &settings)?;
                for group in &groups {
                    let urls = receiver.urls(&group.name);
                    let kept = server.find_subscriptions(&group.name)?;
                    for (id, url) in kept.iter().zip(urls) {
                        server.call(&group.name, "PUT", &format!("/webhooks/{id}"), &json!({"url": url}))?;
                    }
                    for url in urls.iter().skip(kept.len()) {
                        let wish = group.options.iter().map(|(name, value)| (name.clone(), value.clone()));
                        let wish = wish.chain([("url".to_owned(), url.as_str().into())]).collect();
                        server.subscribe(&group.name, &Value::Object(wish))?;
                    }
                }
                Subject::Server(Box::new(server))
            }
        };
        Ok(Self { subject, receiver, groups, next: FIRST_SEQUENCE, _dir: None })
    }

    /// The real server; the yardstick cannot be restarted or measured beside sick endpoints.
    pub fn server(&mut self) -> Result<&mut Server> {
        match &mut self.subject {
            Subject::Server(server) => Ok(server),
            Subject::Yardstick(_) => Err("this scenario is for the server alone".into()),
        }
    }

    /// What the system under test has used so far.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(match &self.subject {
            Subject::Yardstick(yardstick) => yardstick.pid(),
            Subject::Server(server) => server.pid(),
        })
    }

    /// Starts a driver for an account. The numbers of its events overlap with no other's that it could be mistaken for.
    pub fn drive(&mut self, account: &str, load: Load) -> Result<Driver> {
        let (addr, key) = match &mut self.subject {
            Subject::Yardstick(yardstick) => (yardstick.addr, yardstick::KEY.to_owned()),
            Subject::Server(server) => (server.addr, server.key(account)?),
        };
        let Load { connections, batch, rate, seconds, events, workers } = load;
        let first = self.next;
        Driver::start(&driver::Spec { addr, key, connections, batch, rate, seconds, events, workers, first })
    }

    /// Notes that a driver is done, so that the next one's events have other numbers.
    pub fn done(&mut self, report: &driver::Report) {
        self.next = self.next.max(report.next);
    }

    /// Opens connections and warms caches with a few events, then sets the counts to zero.
    pub fn warm_up(&mut self, group: &str, events: u64) -> Result<()> {
        let report = self.drive(group, Load::full(4, 10.0).limit(events))?.finish()?;
        self.done(&report);
        self.await_deliveries(group, report.accepted, Duration::from_secs(10))?;
        self.receiver.reset()
    }

    /// Puts a load on and measures until all is delivered, or until nothing has come for `patience`.
    pub fn measure(&mut self, group: &str, load: Load, patience: Duration) -> Result<Row> {
        let before = self.usage()?;
        let received_before = self.receiver.report()?.cpu_us;
        let driver = self.drive(group, load)?.finish()?;
        self.done(&driver);
        let arrived = self.await_deliveries(group, driver.accepted, patience)?;
        std::thread::sleep(SETTLE);
        let after = self.usage()?;
        let report = self.receiver.report()?;
        let requests: u64 = report.groups.values().map(|group| group.requests).sum();
        let helpers = driver.cpu_us + report.cpu_us - received_before;
        Ok(self.row(group, &driver, &arrived, before, after, requests.max(driver.accepted), helpers))
    }

    /// Publishes so many events in batches, and waits until all that were taken have arrived. Gives how many they are.
    pub fn deliver(&mut self, group: &str, events: u64, patience: Duration) -> Result<u64> {
        self.receiver.reset()?;
        let report = self.drive(group, Load::full(4, 600.0).batch(100).limit(events))?.finish()?;
        self.done(&report);
        let arrived = self.await_deliveries(group, report.accepted, patience)?;
        let is_all = arrived.delivered == report.accepted * self.endpoints(group);
        if is_all { Ok(report.accepted) } else { Err("not all was delivered".into()) }
    }

    /// Waits until everything that was accepted has arrived at every endpoint of the group.
    pub fn await_deliveries(&mut self, group: &str, accepted: u64, patience: Duration) -> Result<GroupReport> {
        self.await_deliveries_for(group, accepted, patience, WAIT_LIMIT)
    }

    /// The same, for a time that the caller limits.
    pub fn await_deliveries_for(
        &mut self,
        group: &str,
        accepted: u64,
        patience: Duration,
        limit: Duration,
    ) -> Result<GroupReport> {
        let expected = accepted * self.endpoints(group);
        let began = Instant::now();
        let (mut seen, mut since) = (0, began);
        loop {
            let report = self.receiver.report()?.groups.remove(group).ok_or("no such group")?;
            if report.delivered > seen {
                (seen, since) = (report.delivered, Instant::now());
            }
            if report.delivered >= expected || since.elapsed() > patience || began.elapsed() > limit {
                return Ok(report);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Puts one measurement together.
    #[expect(clippy::too_many_arguments, reason = "each is a figure of its own from another process")]
    pub fn row(
        &self,
        group: &str,
        driver: &driver::Report,
        arrived: &GroupReport,
        before: Usage,
        after: Usage,
        requests: u64,
        helpers_us: u64,
    ) -> Row {
        let expected = driver.accepted * self.endpoints(group);
        let span = |from: u64, to: u64| float(to.saturating_sub(from).max(1)) / 1e6;
        let share = |total: u64, count: u64| (count > 0).then(|| float(total) / float(count));
        Row {
            accepted: Some(float(driver.accepted) / span(driver.started_us, driver.ended_us)),
            delivered: arrived.last_us.map(|last| float(arrived.delivered) / span(driver.started_us, last)),
            accept: driver.latency,
            arrive: arrived.latency,
            cpu_us: share(after.cpu_us - before.cpu_us, requests),
            helpers_us: share(helpers_us, requests),
            rss: Some(after.rss_peak),
            bytes: share(after.written - before.written, driver.accepted),
            lost: Some(expected.saturating_sub(arrived.delivered)),
            doubled: Some(arrived.doubled),
            refused: driver.refused + driver.unanswered,
            connections: arrived.connections_peak,
            ..Row::default()
        }
    }

    fn endpoints(&self, name: &str) -> u64 {
        self.groups.iter().filter(|group| group.name == name).map(|group| group.endpoints as u64).sum()
    }
}

/// The client certificate of each endpoint.
fn shown(files: &PemFiles, groups: &[Group], receiver: &Receiver) -> Vec<ShownCertificate> {
    let endpoints = groups.iter().flat_map(|group| receiver.urls(&group.name).iter().map(|url| (&group.name, url)));
    let host = |url: &str| url.trim_start_matches("https://").split(':').next().unwrap_or_default().to_owned();
    let shown = |(index, (account, url)): (usize, (&String, &String))| ShownCertificate {
        name: certificate_name(index),
        files: files.clone(),
        account: account.clone(),
        host: host(url),
    };
    endpoints.enumerate().map(shown).collect()
}

/// Where data goes: a real disk. A temporary folder is often memory, where a durable commit costs nothing.
pub fn folder() -> Result<PathBuf> {
    let folder = std::env::var_os("BENCH_DATA_DIR")
        .or_else(|| option_env!("CARGO_TARGET_TMPDIR").map(Into::into))
        .map_or_else(|| PathBuf::from("target/tmp"), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
