//! The queue into the writer, and the way to it that other threads hold. It is bounded: a caller is refused when it is
//! full, a delivery thread waits. Any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};

use super::command::{Command, Completion};
use super::error::Refusal;

/// How many commands may wait; beyond that a publish is answered with 503 instead of waiting.
pub(super) const QUEUE_COMMANDS: usize = 4096;
/// How many bytes of bodies may wait with them.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// A way to the writer; cheap to clone. The writer ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct WriterHandle {
    pub(super) commands: Sender<Command>,
    pub(super) queued_bytes: Arc<AtomicUsize>,
    pub(super) commits: Arc<AtomicU64>,
}

impl WriterHandle {
    /// Queues a command without ever waiting.
    pub fn try_send(&self, command: Command) -> Result<(), Refusal> {
        let bytes = command.body_bytes();
        if self.queued_bytes.load(Ordering::Relaxed).saturating_add(bytes) > QUEUE_BYTES {
            return Err(Refusal::Busy);
        }
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.commands.try_send(command).map_err(|error| {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Refusal::Busy,
                TrySendError::Disconnected(_) => Refusal::StoreFailed,
            }
        })
    }

    /// Waits, at most for `limit`, until everything that was queued before is committed. Gives whether it is.
    #[must_use]
    pub fn flush(&self, limit: Duration) -> bool {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        let deadline = Instant::now() + limit;
        if self.commands.send_deadline(Command::Flush { reply }, deadline).is_err() {
            return false;
        }
        while Instant::now() < deadline {
            match answer.try_recv() {
                Ok(result) => return result.is_ok(),
                Err(tokio::sync::oneshot::error::TryRecvError::Closed) => return false,
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        false
    }

    /// How many commits there were since the start.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// How many commands wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.commands.len()
    }

    /// Queues the outcome of an attempt; waits while the queue is full, so only delivery threads call this.
    pub fn complete(&self, completion: Completion) {
        // A writer that is gone has ended the process; the attempt is then repeated after the restart.
        let _ = self.commands.send(Command::Complete(Box::new(completion)));
    }
}
