//! Sends the deliveries in the outbox. [`schedule`] decides what goes next, [`dispatcher`] fills it from the disk, and
//! a fixed pool of [`worker`] threads takes jobs from it, sends each by [`send::transport`] to an address that [`send::address::guard`]
//! allowed, and reports the outcome to the writer. [`failure_log`] logs failed attempts.

pub mod dispatcher;
pub mod failure_log;
pub mod schedule;
pub mod send;
pub mod worker;

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

pub use crate::delivery::send::transport::Transport;
pub use dispatcher::Dispatcher;
pub use failure_log::FailureLog;

use crate::storage::read::reader::Reader;
use crate::storage::write::queue::WriterHandle;

/// How often idle connections are looked at.
const LOOK_AT_CONNECTIONS: Duration = Duration::from_secs(1);

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
        look_at_connections(Arc::downgrade(transport))?;
        Ok(Self { dispatcher: Arc::clone(dispatcher), threads })
    }

    /// Stops taking jobs, waits for attempts in flight until `deadline`, and returns how many did not finish. Their
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

/// Closes idle connections that are of no more use, on a thread of its own, for as long as there is a transport.
fn look_at_connections(transport: Weak<Transport>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("connections".to_owned());
    let look = move || {
        while let Some(transport) = transport.upgrade() {
            transport.close_useless_connections();
            drop(transport);
            std::thread::sleep(LOOK_AT_CONNECTIONS);
        }
    };
    thread.spawn(look).map(drop)
}
