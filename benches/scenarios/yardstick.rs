//! The yardstick: the leanest honest loop that the server's own crates make. It takes events in, keeps them in shared
//! durable commits, delivers them and notes the outcomes, and does nothing else: no accounts, no validation, no
//! retries, no limits. What the server makes is judged as a share of this, measured in the same run.

mod database;
mod sender;
mod writer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::header::{AUTHORIZATION, RETRY_AFTER};
use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use crossbeam_channel::{Sender, TrySendError, bounded, unbounded};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::Result;
use crate::child::{Worker, say};
use crate::wire::now_us;
use writer::{Event, Publish};

const QUEUE: usize = 4_096;
/// Short: what waits here could wait with its publisher, and would reach its receiver sooner.
const HAND_OFF: usize = 512;
const BODY_LIMIT: usize = 4 << 20;
/// The key that it takes; any constant does.
pub const KEY: &str = "tc_live_0123456789abcdef0123456789abcdef01234567";

/// What it shall be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Where each event goes to.
    pub endpoints: Vec<String>,
    /// A certificate authority to trust.
    pub authority: Option<PathBuf>,
    /// Where its file goes.
    pub data_dir: PathBuf,
    /// The PostgreSQL that it goes to instead.
    pub postgres: Option<String>,
    /// Delivery threads.
    pub threads: usize,
}

/// The yardstick at work.
pub struct Yardstick {
    worker: Worker,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Yardstick {
    /// Starts it and waits until it listens.
    pub fn start(spec: &Spec) -> Result<Self> {
        let mut worker = Worker::start("yardstick", spec)?;
        let addr = worker.listen()?;
        Ok(Self { worker, addr })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.worker.pid()
    }
}

struct Shared {
    publish: Sender<Publish>,
    next_id: AtomicU64,
}

/// The yardstick's process.
pub fn run(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec)?;
    let (publish, publishes) = bounded(QUEUE);
    let (hand_off, handed_over) = bounded(HAND_OFF);
    // Bounded by what is handed over at a time; a bound of its own could lock the writer and the senders to each other.
    let (report, outcomes) = unbounded();
    let endpoints = sender::endpoints(&spec)?;
    for _ in 0..spec.threads {
        let (endpoints, jobs, report) = (endpoints.clone(), handed_over.clone(), report.clone());
        std::thread::spawn(move || sender::run(&endpoints, &jobs, &report));
    }
    let mut writer = writer::Writer::open(&spec)?;
    std::thread::spawn(move || {
        if let Err(error) = writer.run(&publishes, &outcomes, &hand_off) {
            eprintln!("yardstick: {error}");
            std::process::exit(1);
        }
    });
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let shared = Data::new(Shared { publish, next_id: AtomicU64::new(1) });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(PayloadConfig::new(BODY_LIMIT))
            .route("/api/v1/events", web::post().to(single))
            .route("/api/v1/events/batch", web::post().to(batch))
    })
    .workers(std::thread::available_parallelism()?.get())
    .disable_signals()
    .bind(("127.0.0.1", 0))?;
    say(server.addrs().first().ok_or("not bound")?)?;
    Ok(actix_web::rt::System::new().block_on(server.run())?)
}

#[derive(Deserialize)]
struct Incoming<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    events: Vec<Incoming<'a>>,
}

async fn single(request: HttpRequest, body: Bytes, shared: Data<Shared>) -> HttpResponse {
    match serde_json::from_slice::<Incoming<'_>>(&body) {
        Ok(event) => publish(&request, &[event], &shared).await,
        Err(_) => HttpResponse::BadRequest().finish(),
    }
}

async fn batch(request: HttpRequest, body: Bytes, shared: Data<Shared>) -> HttpResponse {
    match serde_json::from_slice::<Batch<'_>>(&body) {
        Ok(batch) => publish(&request, &batch.events, &shared).await,
        Err(_) => HttpResponse::BadRequest().finish(),
    }
}

async fn publish(request: &HttpRequest, events: &[Incoming<'_>], shared: &Shared) -> HttpResponse {
    if !authorized(request) {
        return HttpResponse::Unauthorized().finish();
    }
    let first = shared.next_id.fetch_add(events.len() as u64, Ordering::Relaxed);
    let rows = (first..).zip(events).map(|(id, event)| row(id, event)).collect();
    let (reply, answer) = oneshot::channel();
    match shared.publish.try_send(Publish { events: rows, reply }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            return HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, "1")).finish();
        }
        Err(TrySendError::Disconnected(_)) => return HttpResponse::InternalServerError().finish(),
    }
    match answer.await {
        Ok(deliveries) => HttpResponse::Accepted()
            .content_type("application/json; charset=utf-8")
            .body(format!(r#"{{"data":{{"id":"evt_{first:016x}","deliveries":{deliveries}}}}}"#)),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

fn row(id: u64, event: &Incoming<'_>) -> Event {
    let body = format!(
        r#"{{"id":"evt_{id:016x}","event":"{}","timestamp":"{:020}Z","data":{}}}"#,
        event.event,
        now_us(),
        event.data.get()
    );
    Event { id, kind: event.event.to_owned(), body: body.into() }
}

/// Compares the whole key whatever differs first, as the server has to.
fn authorized(request: &HttpRequest) -> bool {
    let given = request.headers().get(AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
    let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
    given.len() == KEY.len() && given.iter().zip(KEY.as_bytes()).fold(0, |sum, (left, right)| sum | (left ^ right)) == 0
}
