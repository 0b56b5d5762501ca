//! Full speed: each connection sends its next request as soon as the answer to the last one is in.
//!
//! One thread for all of them: with a thread each, every answer would cost a switch between threads.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::request::Request;
use super::{Spec, Tally};
use crate::Result;
use crate::wire::{self, Extent, now_us};

/// How long after the end an answer may still come.
const GRACE: Duration = Duration::from_secs(30);
/// A server that turns requests down is not asked again at once.
const AFTER_REFUSAL: Duration = Duration::from_millis(5);
/// Broken connections in all before the run gives up.
const RECONNECTS: u32 = 1_000;

struct Shared {
    spec: Spec,
    stop: Arc<AtomicBool>,
    deadline: Instant,
    next: Cell<u64>,
    reconnects: Cell<u32>,
    tally: RefCell<Tally>,
}

impl Shared {
    /// The number of the next request's first event, while there is one.
    fn claim(&self) -> Option<u64> {
        let first = self.next.get();
        let over = first - self.spec.first + self.spec.batch > self.spec.events;
        if over || self.stop.load(Ordering::Relaxed) || Instant::now() >= self.deadline {
            return None;
        }
        self.next.set(first + self.spec.batch);
        Some(first)
    }
}

/// Runs until the time or the events are used up.
pub fn run(spec: &Spec, stop: Arc<AtomicBool>) -> Result<(Tally, u64)> {
    let shared = Rc::new(Shared {
        spec: spec.clone(),
        stop,
        deadline: Instant::now() + Duration::from_secs_f64(spec.seconds),
        next: Cell::new(spec.first),
        reconnects: Cell::new(RECONNECTS),
        tally: RefCell::new(Tally::new()),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    for _ in 0..spec.connections {
        tasks.spawn_local(keep_sending(Rc::clone(&shared)));
    }
    let limit = Duration::from_secs_f64(spec.seconds) + GRACE;
    runtime.block_on(async {
        // What has no answer by then stays uncounted as accepted, which is all the limit has to do.
        let _ = tokio::time::timeout(limit, tasks).await;
    });
    let next = shared.next.get();
    Ok((shared.tally.replace(Tally::new()), next))
}

async fn keep_sending(shared: Rc<Shared>) {
    while shared.reconnects.get() > 0 {
        match connection(&shared).await {
            Ok(()) => return,
            Err(_) => shared.reconnects.set(shared.reconnects.get() - 1),
        }
    }
}

async fn connection(shared: &Shared) -> io::Result<()> {
    let mut stream = TcpStream::connect(shared.spec.addr).await?;
    stream.set_nodelay(true)?;
    let mut request = Request::new(&shared.spec);
    let mut inbox = Vec::with_capacity(16 * 1024);
    while let Some(first) = shared.claim() {
        let sent = Instant::now();
        let outcome = exchange(&mut stream, request.stamp(first, now_us()), &mut inbox).await;
        let waited = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        shared.tally.borrow_mut().note(&outcome, shared.spec.batch, waited);
        if outcome? != 202 {
            tokio::time::sleep(AFTER_REFUSAL).await;
        }
    }
    Ok(())
}

async fn exchange(stream: &mut TcpStream, request: &[u8], inbox: &mut Vec<u8>) -> io::Result<u16> {
    wire::write(stream, request).await?;
    inbox.clear();
    loop {
        if wire::read(stream, inbox).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if Extent::of(inbox)?.is_some() {
            return Ok(wire::status(inbox));
        }
    }
}
