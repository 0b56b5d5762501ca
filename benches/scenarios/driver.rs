//! The publisher: keeps connections open and sends prepared requests, at full speed or at a given pace.

mod closed;
mod open;
mod request;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::child::{Worker, say};
use crate::measure::{Latency, Usage, histogram, record};
use crate::wire::now_us;

pub use request::{FIRST_SEQUENCE, FIRST_WORKER};

/// What to send.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// The API key.
    pub key: String,
    /// Connections kept open.
    pub connections: usize,
    /// Events a request; 1 uses the route for single events.
    pub batch: u64,
    /// Requests a second, or none for as fast as the answers come.
    pub rate: Option<f64>,
    /// When to stop at the latest.
    pub seconds: f64,
    /// How many events at most.
    pub events: u64,
    /// Workers, whose events come in turn.
    pub workers: u64,
    /// The number of the first event.
    pub first: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Events answered with 202.
    pub accepted: u64,
    /// Events answered otherwise.
    pub refused: u64,
    /// Events whose request got no answer.
    pub unanswered: u64,
    /// The first number not used.
    pub next: u64,
    /// When the first request was about to be sent.
    pub started_us: u64,
    /// When the last answer was in.
    pub ended_us: u64,
    /// From sending a request to its answer.
    pub latency: Option<Latency>,
    /// Processor time of the driver itself.
    pub cpu_us: u64,
}

/// Counted while it runs.
struct Tally {
    latency: Histogram<u64>,
    accepted: u64,
    refused: u64,
    unanswered: u64,
}

impl Tally {
    fn new() -> Self {
        Self { latency: histogram(), accepted: 0, refused: 0, unanswered: 0 }
    }

    /// Notes the answer to one request.
    fn note(&mut self, outcome: &io::Result<u16>, events: u64, waited_us: u64) {
        match outcome {
            Ok(202) => {
                self.accepted += events;
                record(&mut self.latency, waited_us);
            }
            Ok(_) => self.refused += events,
            Err(_) => self.unanswered += events,
        }
    }
}

/// A driver at work.
pub struct Driver(Worker);

impl Driver {
    /// Starts one.
    pub fn start(spec: &Spec) -> Result<Self> {
        Worker::start("driver", spec).map(Self)
    }

    /// Waits until it is done.
    pub fn finish(mut self) -> Result<Report> {
        self.0.listen()
    }

    /// Ends it early.
    pub fn stop(mut self) -> Result<Report> {
        self.0.tell_to_stop();
        self.0.listen()
    }
}

/// The driver's process.
pub fn run(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec)?;
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        heard.store(true, Ordering::Relaxed);
    });
    let before = Usage::of(std::process::id())?;
    let started_us = now_us();
    let (tally, next) =
        if let Some(rate) = spec.rate { open::run(&spec, rate, &stop)? } else { closed::run(&spec, stop)? };
    let ended_us = now_us();
    let used = Usage::of(std::process::id())?;
    say(&Report {
        accepted: tally.accepted,
        refused: tally.refused,
        unanswered: tally.unanswered,
        next,
        started_us,
        ended_us,
        latency: Latency::of(&tally.latency),
        cpu_us: used.cpu_us - before.cpu_us,
    })
}
