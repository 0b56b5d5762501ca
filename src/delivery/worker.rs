//! A delivery thread: takes a job, finds out what it needs, sends, reports to the writer. It holds no lock while it
//! sends. The claim on a delivery ends only when its outcome is committed (I5).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::dispatcher::{Dispatcher, Finished};
use super::lane::Work;
use super::schedule::Job;
use super::transport::{Sent, Transport};
use crate::domain::DeliveryId;
use crate::domain::outcome::EndpointSign;
use crate::domain::subscription::Subscription;
use crate::storage::command::Completion;
use crate::storage::error::StorageError;
use crate::storage::reader::Reader;
use crate::storage::record::EventRow;
use crate::storage::writer::WriterHandle;

/// Enough for the HTTP client and TLS with small buffers.
const STACK_BYTES: usize = 256 * 1024;

pub(super) struct Worker {
    pub dispatcher: Arc<Dispatcher>,
    pub transport: Arc<Transport>,
    pub reader: Reader,
    pub writer: WriterHandle,
}

impl Worker {
    pub(super) fn spawn(self, number: usize) -> std::io::Result<JoinHandle<()>> {
        let name = format!("delivery-{number}");
        std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || self.run())
    }

    fn run(&self) {
        let _alive = self.dispatcher.count_alive();
        let mut finished = None;
        while let Some(job) = self.dispatcher.next_job(finished.as_ref()) {
            let started = Instant::now();
            let ended = job.finished();
            let sign = self.work(job);
            finished = Some(Finished { job: ended, sign, took: started.elapsed() });
        }
    }

    fn work(&self, job: Job) -> EndpointSign {
        let delivery = job.delivery;
        let prepared = match self.prepare(job) {
            Ok(Some(prepared)) => prepared,
            // Nothing to send (any more): the subscription was deleted, or the row is gone.
            Ok(None) => return EndpointSign::Healthy,
            Err(error) => {
                // The claim stays, so that a store that cannot be read is not asked in a circle; the restart that
                // follows a failed store takes the delivery up again.
                log::error!("delivery {delivery} could not be read: {error}");
                return EndpointSign::Failing;
            }
        };
        let Prepared { subscription, row, number } = prepared;
        let Sent { attempt, retry_after } = self.transport.send(&subscription, delivery.event, &row, number);
        if attempt.outcome.is_delivered() {
            log::debug!("delivered {delivery} attempt={number} duration_ms={}", attempt.duration_ms);
        } else {
            log::info!(
                "attempt failed: {delivery} attempt={number} subscription={} cause={} response_code={} duration_ms={}",
                subscription.id,
                attempt.outcome.code(),
                attempt.outcome.response_code().map_or_else(|| "-".to_owned(), |code| code.to_string()),
                attempt.duration_ms,
            );
        }
        let sign = attempt.outcome.sign();
        self.writer.complete(Completion { delivery, event_type: row.event_type, attempt, retry_after });
        sign
    }

    fn prepare(&self, job: Job) -> Result<Option<Prepared>, StorageError> {
        let registry = self.reader.registry();
        let Some(subscription) = registry.subscription(job.delivery.subscription).cloned() else { return Ok(None) };
        let (row, number) = match job.work {
            Work::First(Some(row)) => (Some(row), 1),
            Work::First(None) => (self.read_event(&subscription, job.delivery)?, 1),
            Work::Further => {
                let Some(delivery) = self.reader.delivery(job.delivery)? else { return Ok(None) };
                (self.read_event(&subscription, job.delivery)?, delivery.next_number())
            }
        };
        Ok(row.map(|row| Prepared { subscription, row, number }))
    }

    fn read_event(
        &self,
        subscription: &Subscription,
        delivery: DeliveryId,
    ) -> Result<Option<Arc<EventRow>>, StorageError> {
        Ok(self.reader.event(subscription.account, delivery.event)?.map(Arc::new))
    }
}

struct Prepared {
    subscription: Arc<Subscription>,
    row: Arc<EventRow>,
    number: u32,
}
