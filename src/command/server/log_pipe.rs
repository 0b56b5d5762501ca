//! Log lines on their way to stderr. A line is written at once where that keeps nobody waiting. While whoever reads the
//! log is slow, lines wait here and a thread of their own writes them, so that neither the writer nor an HTTP worker ever
//! waits for a log. What has no room is counted. Any thread.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// So many lines may wait.
const LINES: usize = 4096;
/// A pipe that can be written to takes this much without keeping the writer waiting.
const PIPE_BYTES: usize = 4096;
/// How long the end of the process waits for lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// The one queue of the process; none if its thread could not be started.
static QUEUE: OnceLock<Option<Arc<Queue>>> = OnceLock::new();

struct Queue {
    entries: Sender<Entry>,
    /// How many lines wait, with the one that is being written.
    waiting: AtomicUsize,
    /// How many had no room since that was told.
    left_out: AtomicU64,
}

enum Entry {
    Line(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(Sender<()>),
}

/// Where a logger writes whole lines to.
pub struct LogPipe(Arc<Queue>);

impl LogPipe {
    /// The way to stderr; none if there is no thread for it, and lines have to be written directly.
    pub fn new() -> Option<Self> {
        QUEUE.get_or_init(start).clone().map(Self)
    }
}

impl Write for LogPipe {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Self(queue) = self;
        if queue.waiting.load(Ordering::Acquire) == 0 && line.len() <= PIPE_BYTES && takes_more() {
            return io::stderr().write_all(line).map(|()| line.len());
        }
        queue.waiting.fetch_add(1, Ordering::AcqRel);
        if queue.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            queue.waiting.fetch_sub(1, Ordering::AcqRel);
            queue.left_out.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a moment until what waits is written. For the end of the process.
pub fn flush() {
    let Some(Some(queue)) = QUEUE.get() else { return };
    let (done, is_done) = bounded(1);
    if queue.entries.send_timeout(Entry::Flush(done), FLUSH).is_ok() {
        let _ = is_done.recv_timeout(FLUSH);
    }
}

/// Does stderr take a line at once? One that is closed does, with an error.
fn takes_more() -> bool {
    let stderr = io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    matches!(poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
}

fn start() -> Option<Arc<Queue>> {
    let (entries, to_write) = bounded(LINES);
    let queue = Arc::new(Queue { entries, waiting: AtomicUsize::new(0), left_out: AtomicU64::new(0) });
    let shared = Arc::clone(&queue);
    let thread = std::thread::Builder::new().name("log".to_owned());
    thread.spawn(move || write_all(&to_write, &shared)).ok()?;
    Some(queue)
}

fn write_all(entries: &Receiver<Entry>, queue: &Queue) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                // Nobody else is there to be told.
                let _ = io::stderr().write_all(&line);
                let waited = queue.waiting.fetch_sub(1, Ordering::AcqRel);
                let left_out = if waited == 1 { queue.left_out.swap(0, Ordering::Relaxed) } else { 0 };
                if left_out > 0 {
                    log::warn!("{left_out} lines of the log were dropped, because it is read too slowly");
                }
            }
            Entry::Flush(done) => drop(done.send(())),
        }
    }
}
