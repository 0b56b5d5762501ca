//! A delivery thread: takes a job, loads what it needs, sends, and reports to the writer. It holds no lock while it
//! sends. The claim on a delivery ends only when its outcome is committed (I5).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::dispatcher::{Dispatcher, Finished};
use crate::delivery::schedule::job::{AttemptResult, Job, Work};
use crate::delivery::send::transport::{AttemptReport, Sent, Transport};
use crate::domain::delivery::outcome::Outcome;
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::subscription::Subscription;
use crate::domain::{BatchId, DeliveryId};
use crate::storage::catch_damage;
use crate::storage::command::Completion;
use crate::storage::error::StorageError;
use crate::storage::read::reader::{ReadView, Reader};
use crate::storage::write::queue::WriterHandle;

/// Enough for the HTTP client and TLS with small buffers.
const STACK_BYTES: usize = 256 * 1024;

/// How often it is looked at whether a lease that had run out is held again.
const LOOK_AT_LEASE: Duration = Duration::from_millis(50);

pub(super) struct Worker {
    pub dispatcher: Arc<Dispatcher>,
    pub transport: Arc<Transport>,
    pub reader: Reader,
    pub writer: WriterHandle,
}

impl Worker {
    pub(super) fn spawn(self, number: usize) -> std::io::Result<JoinHandle<()>> {
        let name = format!("delivery-{number}");
        let alive = self.dispatcher.register_thread();
        std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || {
            self.run();
            drop(alive);
        })
    }

    fn run(&self) {
        let mut finished = None;
        while let Some(job) = self.dispatcher.next_job(finished.as_ref()) {
            finished = Some(self.work(job));
        }
    }

    fn work(&self, job: Job) -> Finished {
        let started = Instant::now();
        let finished = job.finished();
        let delivery = job.delivery;
        let registry = self.reader.registry();
        let Some(subscription) = registry.subscription(delivery.subscription).cloned() else {
            // Deleted meanwhile, with all its pending deliveries.
            return Finished { job: finished, ended: None };
        };
        let account = registry.shared_account_name(subscription.account);
        drop(registry);
        let is_batch = matches!(job.work, Work::Batch);
        // A snapshot of its own, which ends before the attempt begins.
        let prepared = catch_damage(|| {
            if is_batch {
                prepare_batch(&self.reader.view(), &subscription, delivery).map(|found| found.map(Prepared::Batch))
            } else {
                prepare(&self.reader.view(), &subscription, job).map(|found| found.map(Prepared::One))
            }
        })
        .unwrap_or_else(|| Err(Unreadable { number: 1, cause: "a page of the database is damaged".to_owned() }));
        if matches!(prepared, Ok(Some(_))) && !self.await_lease() {
            return Finished { job: finished, ended: None };
        }
        let event_type = match &prepared {
            Ok(Some(Prepared::One((event, _)))) => Some(event.event_type),
            _ => None,
        };
        let sent = match prepared {
            Ok(Some(Prepared::One((event, number)))) => {
                self.send(&subscription, &account, delivery, &Sent::One(delivery.event, &event), number)
            }
            Ok(Some(Prepared::Batch((events, number)))) => {
                let content = Sent::Batch(BatchId(delivery.event.0), &events);
                self.send(&subscription, &account, delivery, &content, number)
            }
            Ok(None) => return Finished { job: finished, ended: None },
            Err(error) => {
                // Recorded as a failed attempt, so that a damaged row is visible, is retried later, and blocks nothing
                // else.
                log::error!("delivery {delivery} could not be read: {error}");
                let outcome = Outcome::Internal("the event could not be read".to_owned());
                self.transport.failed_before_sending(&subscription, error.number, outcome)
            }
        };
        let AttemptReport { before, attempt, retry_after, waited } = sent;
        if attempt.outcome.is_delivered() {
            log::debug!(attempt = attempt.number, duration_ms = attempt.duration_ms; "delivered {delivery}");
        }
        let ended = AttemptResult::of(&attempt.outcome, started.elapsed().saturating_sub(waited), retry_after);
        let completion = Completion::new(delivery, attempt, retry_after).after(before);
        self.writer.complete(completion.of_type(event_type).of_batch(is_batch));
        Finished { job: finished, ended: Some(ended) }
    }

    /// Waits until this process may act for the store, which it mostly may. Not if the server stops first: then the delivery
    /// is still in the outbox.
    fn await_lease(&self) -> bool {
        let lease = self.reader.lease();
        while !lease.is_held() {
            if self.dispatcher.is_stopping() {
                return false;
            }
            std::thread::sleep(LOOK_AT_LEASE);
        }
        true
    }

    fn send(
        &self,
        subscription: &Subscription,
        account: &str,
        delivery: DeliveryId,
        content: &Sent<'_>,
        number: u32,
    ) -> AttemptReport {
        let sent = AssertUnwindSafe(|| self.transport.send(subscription, account, content, number));
        catch_unwind(sent).unwrap_or_else(|_| {
            // A panic of the HTTP client must not end the thread or lose the delivery.
            log::error!("sending {delivery} panicked");
            self.transport.failed_before_sending(
                subscription,
                number,
                Outcome::Internal("the HTTP client failed".to_owned()),
            )
        })
    }
}

/// What is sent, with the number of the attempt.
enum Prepared {
    One((Arc<EventContent>, u32)),
    Batch((Vec<EventContent>, u32)),
}

/// The events of a batch that are still pending, and the attempt number; `None` if there is nothing to send any more.
fn prepare_batch(
    snapshot: &ReadView,
    subscription: &Subscription,
    item: DeliveryId,
) -> Result<Option<(Vec<EventContent>, u32)>, Unreadable> {
    let batch = BatchId(item.event.0);
    let unreadable = |error: StorageError| Unreadable { number: 1, cause: error.to_string() };
    let Some((head, members)) = snapshot.batch(subscription.id, batch).map_err(unreadable)? else { return Ok(None) };
    let number = head.attempts.saturating_add(1);
    let mut events = Vec::with_capacity(members.len());
    for event in members {
        match snapshot.event_content(subscription.account, event) {
            Ok(Some(content)) => events.push(content),
            Ok(None) => return Err(Unreadable { number, cause: format!("event {event} is not in the store") }),
            Err(error) => return Err(Unreadable { number, cause: error.to_string() }),
        }
    }
    Ok((!events.is_empty()).then_some((events, number)))
}

/// The event and the attempt number; `None` if there is nothing to send any more.
pub fn prepare(
    snapshot: &ReadView,
    subscription: &Subscription,
    job: Job,
) -> Result<Option<(Arc<EventContent>, u32)>, Unreadable> {
    let (number, content) = match job.work {
        Work::First(content) => (1, content),
        // It is prepared as a whole.
        Work::Batch => return Ok(None),
        Work::Retry => match snapshot.delivery(job.delivery) {
            Ok(Some(delivery)) if delivery.state.is_pending() => (delivery.next_number(), None),
            Ok(_) => return Ok(None),
            Err(error) => return Err(Unreadable { number: 1, cause: error.to_string() }),
        },
    };
    let unreadable = |cause: String| Unreadable { number, cause };
    let content = match content {
        Some(content) => content,
        None => match snapshot.event_content(subscription.account, job.delivery.event) {
            Ok(Some(content)) => Arc::new(content),
            Ok(None) => return Err(unreadable("it is not in the store".to_owned())),
            Err(error) => return Err(unreadable(error.to_string())),
        },
    };
    if content.erased().is_some() {
        return Ok(None);
    }
    match is_withdrawn(snapshot, subscription, job.delivery, content.event_type) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some((content, number))),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// Whether its event type was removed from the subscription, and it is cancelled or will be. A redelivery goes out.
fn is_withdrawn(
    snapshot: &ReadView,
    subscription: &Subscription,
    id: DeliveryId,
    event_type: EventType,
) -> Result<bool, StorageError> {
    if subscription.events.contains_by_name(&event_type) || event_type == EventType::Ping {
        return Ok(false);
    }
    let is_pending = snapshot.delivery(id)?.is_some_and(|delivery| delivery.state.is_pending());
    Ok(!is_pending || snapshot.history(subscription.id)?.withdraws(event_type, id.event, &subscription.events))
}

/// Why an attempt cannot be made, with its number.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Unreadable {
    number: u32,
    cause: String,
}
