//! Jobs that make deliveries due: which were asked for, that each goes on to its end, and what it has done by then.

use std::collections::{BTreeMap, BTreeSet};

use tempclock_webhooks::domain::delivery::DeliveryState;
use tempclock_webhooks::domain::event::event_type::EventType;
use tempclock_webhooks::domain::job::{Job, JobState, JobTask, Replay, ReplayOnly};
use tempclock_webhooks::domain::{AccountId, DeliveryId, EventId, JobId, SubscriptionId, Timestamp};
use tempclock_webhooks::storage::error::Rejection;
use tempclock_webhooks::storage::read::reader::{ReadView, Reader};

use super::model::Model;

/// How many jobs of an account may wait or run.
const ACTIVE_MAX: usize = 16;

/// Deliveries that a job has to make due, as they were when it was asked for.
type Selected = Vec<(DeliveryId, DeliveryState, u32)>;

#[derive(Default)]
pub struct Jobs {
    /// As they were seen last.
    known: BTreeMap<JobId, (Job, Selected)>,
    /// Asked for, and nobody was told whether they are stored.
    unanswered: Vec<(AccountId, JobTask)>,
    /// Those that are to be stopped.
    stopped: BTreeSet<JobId>,
    /// Every replay that was asked for.
    replays: Vec<Replay>,
}

impl Jobs {
    /// Those that have not ended.
    pub fn active(&self) -> impl Iterator<Item = &Job> {
        self.known.values().map(|(job, _)| job).filter(|job| job.is_active())
    }

    /// How far all of them have come.
    pub fn progress(&self) -> Vec<(JobState, Option<DeliveryId>)> {
        self.known.values().map(|(job, _)| (job.state, job.position)).collect()
    }

    /// A job is asked for.
    pub fn asked(&mut self, task: &JobTask) {
        if let JobTask::Replay(replay) = task {
            self.replays.push(replay.clone());
        }
    }

    /// Somebody wants it to stop.
    pub fn asked_to_stop(&mut self, id: JobId) {
        self.stopped.insert(id);
    }

    /// Another process: of these nobody was told.
    pub fn restarted(&mut self, unanswered: Vec<(AccountId, JobTask)>) {
        self.unanswered = unanswered;
    }

    /// What came of the wish for a job.
    pub fn answered(
        &mut self,
        view: &ReadView,
        model: &Model,
        (account, task): (AccountId, JobTask),
        answer: Result<Job, Rejection>,
    ) -> Result<bool, String> {
        let of = |job: &&Job| job.account == account;
        match answer {
            Ok(job) if job.account == account && job.task == task => {
                let selected = selected(view, model, &job);
                self.known.insert(job.id, (job, selected));
                Ok(true)
            }
            Err(Rejection::NotFound) if task.subscription().is_some_and(|id| !model.wishes.contains_key(&id)) => {
                Ok(false)
            }
            Err(Rejection::TooManyJobs(_)) if self.active().filter(of).count() >= ACTIVE_MAX => Ok(false),
            Err(Rejection::ReplayUnderWay) if self.active().any(|job| is_replay_of(job, task.subscription())) => {
                Ok(false)
            }
            answer => Err(format!("{task:?} was answered {answer:?}")),
        }
    }

    /// What came of the wish that a job stops.
    pub fn stop_answered(&self, id: JobId, answer: Result<Job, Rejection>) -> Result<(), String> {
        match answer {
            Ok(job) if job.id == id && !job.is_active() => Ok(()),
            // It had ended, and was removed when another one was made.
            Err(Rejection::NotFound) if self.known.get(&id).is_none_or(|(job, _)| !job.is_active()) => Ok(()),
            answer => Err(format!("the end of job {id} was answered {answer:?}")),
        }
    }

    /// A replay makes its subscription a receiver of stored events.
    pub fn add_receivers(&self, view: &ReadView, model: &mut Model) {
        for replay in &self.replays {
            let Some(wish) = model.wishes.get(&replay.subscription) else { continue };
            for (event, (account, receivers)) in model.events.range_mut(within(replay.since, replay.until)) {
                let Err(place) = receivers.binary_search(&replay.subscription) else { continue };
                if *account != wish.account || replay.only == ReplayOnly::Failed {
                    continue;
                }
                let Some(found) = view.event(*account, *event).unwrap() else { continue };
                if found.receivers.contains(&replay.subscription)
                    && replay.is_about(found.content.event_type, &wish.types)
                {
                    receivers.insert(place, replay.subscription);
                }
            }
        }
    }

    /// Compares the jobs of the store with what was seen of them before. Gives what became of them.
    pub fn compare(&mut self, reader: &Reader, model: &Model) -> Result<Vec<&'static str>, String> {
        let view = reader.view();
        let mut happened = Vec::new();
        let mut stored = BTreeSet::new();
        for job in [AccountId(1), AccountId(2)].into_iter().flat_map(|account| view.jobs(account).unwrap()) {
            stored.insert(job.id);
            let (before, selected) = if let Some(known) = self.known.remove(&job.id) {
                known
            } else {
                let asked = |(account, task): &(AccountId, JobTask)| (*account, task) == (job.account, &job.task);
                let Some(place) = self.unanswered.iter().position(asked) else {
                    return Err(format!("nobody asked for {job:?}"));
                };
                self.unanswered.swap_remove(place);
                (Job { state: JobState::Waiting, done: 0, ..job.clone() }, Vec::new())
            };
            self.look_at(&view, model, &before, &job, &selected)?;
            if before.state != job.state && !job.is_active() {
                happened.push(match (&job.task, job.state) {
                    (JobTask::Replay(_), JobState::Finished) => "replay finished",
                    (_, JobState::Finished) => "retry of many finished",
                    (_, JobState::Stopped) => "job stopped",
                    _ => "job failed",
                });
            }
            self.known.insert(job.id, (job, selected));
        }
        self.unanswered.clear();
        if let Some((lost, _)) = self.known.values().find(|(job, _)| job.is_active() && !stored.contains(&job.id)) {
            return Err(format!("{lost:?} is gone"));
        }
        self.known.retain(|id, _| stored.contains(id));
        Ok(happened)
    }

    fn look_at(
        &self,
        view: &ReadView,
        model: &Model,
        before: &Job,
        job: &Job,
        selected: &Selected,
    ) -> Result<(), String> {
        let is_step_back = JobState::ALL.iter().position(|state| *state == job.state)
            < JobState::ALL.iter().position(|state| *state == before.state);
        if is_step_back || job.done < before.done || job.task != before.task || (!before.is_active() && before != job) {
            return Err(format!("{before:?} became {job:?}"));
        }
        let is_deleted = job.task.subscription().is_some_and(|id| !model.wishes.contains_key(&id));
        match job.state {
            JobState::Failed if !is_deleted => {
                return Err(format!("{job:?} has failed, and its subscription is there"));
            }
            JobState::Stopped if !self.stopped.contains(&job.id) => return Err(format!("nobody stopped {job:?}")),
            JobState::Finished if before.is_active() => {}
            _ => return Ok(()),
        }
        for (id, state, attempts) in selected {
            let Some(now) = model.last.get(id) else { continue };
            if (now.state, now.attempt_count) == (*state, *attempts) {
                return Err(format!("{job:?} has left out {id}, which is {now:?}"));
            }
        }
        match &job.task {
            JobTask::Replay(replay) if replay.only != ReplayOnly::Failed => {
                look_at_replayed(view, model, job.account, replay)
            }
            _ => Ok(()),
        }
    }
}

fn is_replay_of(job: &Job, id: Option<SubscriptionId>) -> bool {
    matches!(job.task, JobTask::Replay(_)) && job.task.subscription() == id
}

/// The events of a span of time.
fn within(since: Timestamp, until: Timestamp) -> std::ops::Range<EventId> {
    EventId::first_at(since)..EventId::first_at(until).max(EventId::first_at(since))
}

/// Every stored event that the replay is about has a delivery.
fn look_at_replayed(view: &ReadView, model: &Model, account: AccountId, replay: &Replay) -> Result<(), String> {
    let Some(wish) = model.wishes.get(&replay.subscription) else { return Ok(()) };
    for (event, (of, _)) in model.events.range(within(replay.since, replay.until)) {
        let Some(found) = view.event(*of, *event).unwrap().filter(|_| *of == account) else { continue };
        let id = DeliveryId { event: *event, subscription: replay.subscription };
        if replay.is_about(found.content.event_type, &wish.types) && !model.last.contains_key(&id) {
            return Err(format!("{replay:?} is finished without {id}"));
        }
    }
    Ok(())
}

/// What the job has to make due, of that which was seen last.
fn selected(view: &ReadView, model: &Model, job: &Job) -> Selected {
    let of_account = |id: &DeliveryId| model.wishes.get(&id.subscription).filter(|wish| wish.account == job.account);
    let is_selected = |id: DeliveryId, state: DeliveryState, event_type: EventType, attempts: u32| match &job.task {
        JobTask::Retry(selection) => {
            let time = id.event.time();
            selection.subscription.is_none_or(|of| of == id.subscription)
                && selection.status == state.name()
                && selection.since.is_none_or(|since| since <= time)
                && selection.until.is_none_or(|until| time < until)
                && attempts > 0
        }
        JobTask::Replay(replay) => {
            let wanted = of_account(&id).is_some_and(|wish| replay.is_about(event_type, &wish.types));
            replay.subscription == id.subscription
                && within(replay.since, replay.until).contains(&id.event)
                && replay.only.includes(Some(state))
                && wanted
        }
        JobTask::Erase(_) => false,
    };
    let all = model.last.iter().filter(|(id, _)| of_account(id).is_some());
    // A test ping is never sent again, and a published one looks like it.
    let all = all.filter(|(_, delivery)| delivery.event_type != EventType::Ping && !delivery.state.is_pending());
    all.filter(|(id, delivery)| is_selected(**id, delivery.state, delivery.event_type, delivery.attempt_count))
        .filter(|(id, _)| view.delivery(**id).unwrap().is_some())
        .map(|(id, delivery)| (*id, delivery.state, delivery.attempt_count))
        .collect()
}
