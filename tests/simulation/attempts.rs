//! The delivery threads: what the schedule gives them, and how their attempts end.

use std::time::Duration;

use tempclock_webhooks::delivery::dispatcher::Finished;
use tempclock_webhooks::delivery::schedule::job::{AttemptResult, FinishedJob, Job, Work};
use tempclock_webhooks::delivery::worker;
use tempclock_webhooks::domain::DeliveryId;
use tempclock_webhooks::domain::delivery::DeliveryState;
use tempclock_webhooks::domain::delivery::attempt::{Attempt, Signed, VERSION};
use tempclock_webhooks::domain::delivery::outcome::EndpointSignal;
use tempclock_webhooks::domain::signing::Signatures;
use tempclock_webhooks::domain::subscription::Subscription;
use tempclock_webhooks::storage::command::{Committed, Completion, RecordedAttempt};

use super::endpoints::Mood;
use super::process::{Running, Sabotage, failed};
use super::world::World;

/// An outcome that is queued for the writer.
pub struct Reported {
    /// The delivery, or the batch.
    pub id: DeliveryId,
    pub number: u32,
    /// The deliveries in the batch; of a delivery none.
    pub members: Vec<DeliveryId>,
}

impl Reported {
    /// The deliveries that it is about.
    pub fn deliveries(&self) -> &[DeliveryId] {
        if self.members.is_empty() { std::slice::from_ref(&self.id) } else { &self.members }
    }
}

impl World {
    /// A delivery thread hands back what it has, and takes what it may. Gives whether it did either.
    pub fn thread_step(&mut self) -> Result<bool, String> {
        let process = &mut self.process;
        let finished = (!process.ended.is_empty()).then(|| process.ended.remove(0));
        if finished.is_none() && process.running.len() == self.threads {
            return Ok(false);
        }
        if let Some((id, finished)) = &finished {
            process.endpoints.ended(*id, finished.ended, self.clock.monotonic());
        }
        let job = process.dispatcher.try_next_job(finished.as_ref().map(|(_, finished)| finished));
        let is_busy = finished.is_some() || job.is_some();
        job.map_or(Ok(()), |job| self.start(job))?;
        Ok(is_busy)
    }

    fn start(&mut self, job: Job) -> Result<(), String> {
        let (id, finished, monotonic) = (job.delivery, job.finished(), self.clock.monotonic());
        let is_retry = matches!(job.work, Work::Retry);
        let process = &mut self.process;
        process.endpoints.started(id, monotonic)?;
        let nothing = Finished { job: finished, ended: None };
        if self.sabotage == Some(Sabotage::DropRetries) && is_retry {
            process.ended.push((id, nothing));
            return Ok(());
        }
        if !process.claims.insert(id) {
            return Err(format!("{id} is attempted twice at once"));
        }
        let Some(subscription) = process.reader.registry().subscription(id.subscription).cloned() else {
            process.ended.push((id, nothing));
            return Ok(());
        };
        if matches!(job.work, Work::Batch) {
            return self.start_batch(&subscription, id, finished);
        }
        let stored = process.reader.view().delivery(id).map_err(failed)?;
        if let Some(DeliveryState::Pending { due }) = stored.as_ref().map(|delivery| delivery.state)
            && is_retry
            && due > monotonic
        {
            return Err(format!("{id} is attempted at {monotonic}, and due at {due}"));
        }
        let clocks = (monotonic, self.clock.wall());
        let view = process.reader.view();
        if self.turns.started(&view, &self.model, &subscription, id, &process.claims, clocks)? {
            *self.happened.entry("start in order").or_default() += 1;
        }
        drop(view);
        let prepared = worker::prepare(&process.reader.view(), &subscription, job).map_err(failed)?;
        let Some((content, number)) = prepared else { return Err(format!("a thread got {id}, which is {stored:?}")) };
        if !content.is_intact() || number != self.model.attempts_of(id) + 1 {
            return Err(format!("attempt {number} of {id} follows {}", self.model.attempts_of(id)));
        }
        self.run(id, finished, number, Vec::new());
        self.note(if is_retry { "retry" } else { "first attempt" });
        Ok(())
    }

    fn start_batch(&mut self, of: &Subscription, batch: DeliveryId, job: FinishedJob) -> Result<(), String> {
        let clocks = (self.clock.monotonic(), self.clock.wall());
        let process = &mut self.process;
        let view = process.reader.view();
        let Some((number, members)) = self.batches.started(&view, of, batch, clocks.0)? else {
            // Its deliveries were settled otherwise.
            process.ended.push((batch, Finished { job, ended: None }));
            self.note("a batch without any delivery left");
            return Ok(());
        };
        for member in &members {
            if !process.claims.insert(*member) {
                return Err(format!("{member} is attempted in a batch, and twice at once"));
            }
        }
        if self.turns.batch_started(&view, &self.model, of, (batch, &members), &process.claims, clocks)? {
            *self.happened.entry("batch in order").or_default() += 1;
        }
        drop(view);
        if number != self.model.attempts_of(batch) + 1 {
            return Err(format!("attempt {number} of the batch {batch} follows {}", self.model.attempts_of(batch)));
        }
        self.run(batch, job, number, members);
        self.note(if number > 1 { "batch again" } else { "batch" });
        Ok(())
    }

    fn run(&mut self, delivery: DeliveryId, job: FinishedJob, number: u32, members: Vec<DeliveryId>) {
        let mood = self.moods.get(&delivery.subscription).copied().unwrap_or(Mood::Healthy);
        let (outcome, took) = mood.answer(&mut self.dice);
        let ends_at = self.clock.monotonic().plus(took);
        self.process.running.push(Running { delivery, members, job, number, outcome, took, ends_at });
    }

    /// An attempt whose time has come ends, and its outcome is queued.
    pub fn end_attempt(&mut self) {
        let (now, running) = (self.clock.monotonic(), &self.process.running);
        let over: Vec<_> = (0..running.len()).filter(|index| running[*index].ends_at <= now).collect();
        if over.is_empty() {
            return;
        }
        let index = self.dice.pick(&over);
        let Running { delivery, members, job, number, outcome, took, .. } = self.process.running.swap_remove(index);
        let retry_after = self.dice.one_in(4).then(|| Duration::from_secs(self.dice.next() % 20_000));
        let started_at = self.clock.wall().minus(took);
        let attempt = Attempt {
            number,
            started_at,
            duration_ms: u32::try_from(took.as_millis()).unwrap(),
            url: "".into(),
            version: VERSION.into(),
            signed: Signed { timestamp_s: started_at.as_seconds(), signatures: Signatures::NONE },
            outcome,
            response: None,
            request: None,
        };
        let is_failure = matches!(attempt.outcome.signal(), EndpointSignal::Failing | EndpointSignal::Unresponsive);
        let ended = AttemptResult::of(&attempt.outcome, took, retry_after);
        self.process.ended.push((delivery, Finished { job, ended: Some(ended) }));
        let completion = Completion::new(delivery, attempt, retry_after).of_batch(!members.is_empty());
        self.process.writer.complete(completion);
        self.reported[usize::from(is_failure)].push_back(Reported { id: delivery, number, members });
        if self.sabotage == Some(Sabotage::EndClaimsEarly) {
            let recorded = vec![RecordedAttempt {
                delivery,
                due: Some(self.clock.monotonic()),
                is_delivered: false,
                attempt: None,
                before: Vec::new(),
            }];
            let early = Committed { recorded, ..Committed::default() };
            self.process.dispatcher.committed(early, &self.process.reader.registry());
        }
    }
}
