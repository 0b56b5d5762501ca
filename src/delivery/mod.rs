//! Sends what the outbox holds. [`schedule`] decides what goes next, [`dispatcher`] feeds it from the disk, and a
//! fixed pool of [`worker`] threads takes jobs from it, sends each by [`transport`] to an address that [`guard`] let
//! through, and reports the outcome to the writer. [`failure_log`] tells the operator of those that failed.

mod answer_count;
pub mod backoff;
mod connection;
pub mod dispatcher;
mod failure;
pub mod failure_log;
pub mod guard;
pub mod job;
pub mod lane;
mod limits;
pub mod look_up;
mod pace;
mod phases;
mod rings;
pub mod schedule;
mod sessions;
mod tcp;
pub mod tls;
pub mod tls_cause;
mod tls_stream;
pub mod transport;
mod window;
pub mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;

pub use dispatcher::Dispatcher;
pub use failure_log::FailureLog;
pub use transport::Transport;

use crate::storage::queue::WriterHandle;
use crate::storage::reader::Reader;

/// The threads that deliver.
pub struct Pipeline {
    dispatcher: Arc<Dispatcher>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts the dispatcher's thread and `workers` delivery threads.
    pub fn start(
        dispatcher: &Arc<Dispatcher>,
        transport: &Arc<Transport>,
        reader: &Reader,
        writer: &WriterHandle,
        workers: usize,
    ) -> std::io::Result<Self> {
        let mut threads = Vec::with_capacity(workers + 1);
        threads.push(dispatcher::spawn(Arc::clone(dispatcher), reader.clone())?);
        for number in 0..workers {
            let worker = worker::Worker {
                dispatcher: Arc::clone(dispatcher),
                transport: Arc::clone(transport),
                reader: reader.clone(),
                writer: writer.clone(),
            };
            threads.push(worker.spawn(number)?);
        }
        Ok(Self { dispatcher: Arc::clone(dispatcher), threads })
    }

    /// Takes no new work, lets attempts in flight end until `deadline`, and tells how many were cut off. Their
    /// deliveries are still in the outbox.
    #[must_use]
    pub fn stop(self, deadline: std::time::Instant) -> usize {
        self.dispatcher.begin_stop();
        let left = self.dispatcher.await_end(deadline);
        if left == 0 {
            for thread in self.threads {
                if thread.join().is_err() {
                    log::error!("a delivery thread had panicked");
                }
            }
        }
        left
    }
}
