//! Ten thousand readers that wait for a feed: the memory that they take, how soon one of another feed is woken beside them,
//! and how long it takes until all of them have an event.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Bench, at_most};
use crate::Result;
use crate::measure::{Latency, await_files, float, histogram, open_files, record};
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System, Target};
use crate::server::Settings;
use crate::stand::{Speaks, Stand};
use crate::wire::{self, Extent};

/// Without an endpoint.
const GROUP: &str = "default";
const READERS: usize = 10_000;
const MORE_RSS_MB: f64 = 100.0;
const WOKEN_MS: f64 = 10.0;
/// Until the last of them has been answered for the first time, and waits.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a reader waits for an answer at most; longer than the server lets it wait.
const PATIENCE: Duration = Duration::from_secs(70);

/// The readers wait for a minute at most, so all of it happens within that.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("feed", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let count = bench.pick(READERS, READERS / 5);
    let settings = Settings { idle_connections: Some(count), ..Settings::default() };
    let mut stand = Stand::new(system, vec![Group::new(GROUP, Behaviour::Healthy, 0)], Speaks::Http, &settings)?;
    let server = stand.server()?;
    let watched = server.subscribe(GROUP, &json!({"mode": "pull", "events": ["clock_in"]}))?;
    let crowded = server.subscribe(GROUP, &json!({"mode": "pull", "events": ["worker_created"]}))?;
    let (address, pid, key) = (server.addr, server.pid(), server.key(GROUP)?);
    let before = stand.usage()?;
    let files = open_files(pid)?;
    let mut crowd = (0..count).map(|_| Reader::connect(address, &key, crowded)).collect::<Result<Vec<_>>>()?;
    crowd.iter_mut().try_for_each(|reader| reader.ask(""))?;
    await_files(pid, |open| open >= files + count)?;
    thread::sleep(SETTLE);
    let waiting = stand.usage()?;

    let woken = wake_one(&mut stand, Reader::connect(address, &key, watched)?, bench.pick(200, 50))?;
    let event = json!({"event": "worker_created", "data": {"worker_id": 1, "worker_name": "Ana"}});
    stand.server()?.call(GROUP, "POST", "/events", &event)?;
    let began = Instant::now();
    let answered = crowd.iter_mut().map(|reader| reader.answer().map(|(_, at)| at)).collect::<Result<Vec<_>>>()?;
    let all = answered.into_iter().max().map(|last| last.saturating_duration_since(began));

    let more = float(waiting.rss.saturating_sub(before.rss)) / 1e6;
    let seconds = all.map_or(0.0, |all| all.as_secs_f64());
    let waiting = Row {
        rss: Some(waiting.rss_peak),
        targets: vec![at_most("RSS MB more than before", Some(more), MORE_RSS_MB)],
        ..Row::default()
    };
    let texts = [
        woken.map_or_else(String::new, |at| format!("p50 ms {:.2}, max ms {:.2}", at.p50, at.max)),
        format!("all {count} answered in {seconds:.2} s"),
    ];
    let mut targets = vec![at_most("woken p99 ms", woken.map(|at| at.p99), WOKEN_MS)];
    targets.extend(texts.map(|text| Target { text, met: true }));
    let waking = Row { rss: Some(stand.usage()?.rss_peak), targets, ..Row::default() };
    Ok(vec![
        waiting.named(&format!("{count} readers wait for a feed"), system),
        waking.named(&format!("a reader of another feed beside {count}"), system),
    ])
}

/// From the answer to the publisher, which comes after the commit, to that of a reader who waits.
fn wake_one(stand: &mut Stand, mut reader: Reader, turns: usize) -> Result<Option<Latency>> {
    let (go, waits) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let reading = thread::spawn(move || -> Result<()> {
        let mut cursor = String::new();
        for _ in 0..turns {
            reader.ask(&cursor)?;
            go.send(())?;
            let (body, at) = reader.answer()?;
            let body: serde_json::Value = serde_json::from_slice(&body)?;
            body["pagination"]["next_cursor"].as_str().unwrap_or_default().clone_into(&mut cursor);
            tell.send(at)?;
        }
        Ok(())
    });
    let mut latency = histogram();
    let event = json!({"event": "clock_in", "data": {
        "entry_id": 1, "worker_id": 1, "worker_name": "Ana", "clock_in": "2026-03-02T07:58:11Z", "location_id": 1,
    }});
    for _ in 0..turns {
        waits.recv()?;
        // Until its request is there, and waits.
        thread::sleep(Duration::from_millis(20));
        stand.server()?.call(GROUP, "POST", "/events", &event)?;
        let published = Instant::now();
        let waited = told.recv()?.saturating_duration_since(published);
        record(&mut latency, u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
    }
    reading.join().map_err(|_| "the reader panicked")??;
    Ok(Latency::of(&latency))
}

/// One connection that reads a feed.
struct Reader {
    stream: TcpStream,
    /// What its requests have in common.
    path: String,
    headers: String,
}

impl Reader {
    fn connect(address: SocketAddr, key: &str, feed: u64) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let path = format!("/api/v1/feeds/{feed}?wait=60s");
        let headers = format!("Host: {address}\r\nAuthorization: Bearer {key}\r\n");
        Ok(Self { stream, path, headers })
    }

    /// Asks for what lies behind the cursor, and waits for it as long as it may.
    fn ask(&mut self, cursor: &str) -> Result<()> {
        let Self { path, headers, .. } = self;
        Ok(self.stream.write_all(format!("GET {path}&cursor={cursor} HTTP/1.1\r\n{headers}\r\n").as_bytes())?)
    }

    /// The body of the answer, which has to have an event, and when it was there.
    fn answer(&mut self) -> Result<(Vec<u8>, Instant)> {
        let mut inbox = Vec::new();
        let mut chunk = [0; 4 * 1024];
        loop {
            let read = self.stream.read(&mut chunk)?;
            let at = Instant::now();
            inbox.extend_from_slice(&chunk[..read]);
            if let Some(extent) = Extent::of(&inbox)? {
                let body = inbox[extent.head..extent.total()].to_vec();
                let has_event = wire::find(&body, b"\"delivery_id\"").is_some();
                let is_page = wire::status(&inbox) == 200 && has_event;
                return if is_page { Ok((body, at)) } else { Err(String::from_utf8_lossy(&inbox).into()) };
            }
            if read == 0 {
                return Err("a reader was hung up on".into());
            }
        }
    }
}
