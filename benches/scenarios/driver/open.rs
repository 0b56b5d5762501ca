//! A given pace: requests leave when they are due, whether or not earlier ones have been answered.
//!
//! Threads that sleep, because the kernel wakes them to within a tenth of a millisecond, and an executor's timer only
//! to the next whole one, which is longer than what is to be measured.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::request::Request;
use super::{Spec, Tally};
use crate::Result;
use crate::measure::float;
use crate::wire::{self, Extent, now_us};

/// A request without an answer for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Pace<'a> {
    spec: &'a Spec,
    stop: &'a AtomicBool,
    began: Instant,
    began_us: u64,
    interval: Duration,
    requests: u64,
    taken: AtomicU64,
}

/// Runs until the time or the events are used up.
pub fn run(spec: &Spec, rate: f64, stop: &AtomicBool) -> Result<(Tally, u64)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let requests = (spec.events / spec.batch).min((rate * spec.seconds) as u64);
    let pace = Pace {
        spec,
        stop,
        began: Instant::now(),
        began_us: now_us(),
        interval: Duration::from_secs_f64(1.0 / rate),
        requests,
        taken: AtomicU64::new(0),
    };
    let parts: Result<Vec<Tally>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..spec.connections).map(|_| scope.spawn(|| pace.connection())).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a connection's thread panicked")?).collect()
    });
    let mut all = Tally::new();
    for part in parts? {
        all.latency.add(&part.latency)?;
        all.accepted += part.accepted;
        all.refused += part.refused;
        all.unanswered += part.unanswered;
    }
    Ok((all, spec.first + pace.taken.into_inner().min(requests) * spec.batch))
}

impl Pace<'_> {
    fn connection(&self) -> Result<Tally> {
        let mut tally = Tally::new();
        let mut request = Request::new(self.spec);
        let mut stream = self.connect()?;
        let mut inbox = Vec::with_capacity(16 * 1024);
        loop {
            let turn = self.taken.fetch_add(1, Ordering::Relaxed);
            if turn >= self.requests || self.stop.load(Ordering::Relaxed) {
                return Ok(tally);
            }
            let (sent, sent_us) = self.wait_for(turn);
            let first = self.spec.first + turn * self.spec.batch;
            let outcome = exchange(&mut stream, request.stamp(first, sent_us), &mut inbox);
            let waited = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
            tally.note(&outcome, self.spec.batch, waited);
            if outcome.is_err() {
                stream = self.connect()?;
            }
        }
    }

    /// Sleeps until a request is due. One that is late already, because every connection was waiting for an answer,
    /// counts from when it was due: that wait is the server's. A sleep that ends late is not.
    fn wait_for(&self, turn: u64) -> (Instant, u64) {
        let after = self.interval.mul_f64(float(turn));
        let due = self.began + after;
        let Some(left) = due.checked_duration_since(Instant::now()) else {
            return (due, self.began_us + u64::try_from(after.as_micros()).unwrap_or(0));
        };
        std::thread::sleep(left);
        (Instant::now(), now_us())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.spec.addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

fn exchange(stream: &mut TcpStream, request: &[u8], inbox: &mut Vec<u8>) -> io::Result<u16> {
    stream.write_all(request)?;
    inbox.clear();
    let mut chunk = [0; 4 * 1024];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inbox.extend_from_slice(&chunk[..count]);
        if Extent::of(inbox)?.is_some() {
            return Ok(wire::status(inbox));
        }
    }
}
