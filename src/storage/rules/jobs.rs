//! Jobs: work on many rows in steps of bounded size, inside the open write transaction, so that what a step did and how
//! far it came are committed together and a restart goes on from there. Runs on the writer thread. The accounts take
//! turns, each with its first job that is not blocked; a step is short where callers wait for the commit.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::domain::audit::Change;
use crate::domain::job::{DeliverySelection, Job, JobState, JobTask};
use crate::domain::options::order::Order;
use crate::domain::{AccountId, EventId, JobId, SubscriptionId};
use crate::storage::engine::{Selected, Tx};
use crate::storage::error::{Rejection, StorageError};
use crate::storage::read::registry::Registry;
use crate::storage::rules::apply::{Batch, CommandResult, State};

/// How many jobs of an account are kept, the newest ones, those that have not ended among them. They are removed when
/// the next one is created, as are those that ended longer ago than events are kept.
const KEPT_JOBS: usize = 100;
/// How many jobs of an account may wait or run.
const ACTIVE_JOBS: usize = 16;

/// How many accounts are asked for a job that can make a step.
const TURNS: usize = 16;
/// How long jobs that all wait for their endpoints wait for a commit of others.
const BLOCKED: Duration = Duration::from_millis(250);

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It did something.
    Made,
    /// It could do nothing: the job waits for its endpoint.
    Blocked,
    /// It did something, and the job has nothing to do for so long.
    MadeAndRests(Duration),
}

/// How much one step does at most.
#[derive(Clone, Copy, Debug)]
pub struct StepSize {
    /// After this time no more rows are looked at.
    pub(super) time: Duration,
    /// How many rows are looked at between two looks at the time.
    pub(super) rows: usize,
}

impl StepSize {
    /// In a commit that callers wait for, or in one that nobody does. One that is not timed ends after its first rows, so
    /// that it comes out the same again.
    pub fn new(has_caller: bool, is_timed: bool) -> Self {
        let (time, rows) = if has_caller { (Duration::from_millis(1), 32) } else { (Duration::from_millis(5), 256) };
        Self { time: if is_timed { time } else { Duration::ZERO }, rows }
    }

    /// A quarter, for work that costs more later.
    pub(super) fn quarter(self) -> Self {
        Self { time: self.time / 4, rows: self.rows.div_ceil(4) }
    }
}

#[cfg(test)]
impl StepSize {
    /// So many rows.
    pub fn of(rows: usize) -> Self {
        Self { time: Duration::ZERO, rows }
    }
}

/// The jobs that are at work here.
#[derive(Default)]
pub struct Jobs {
    /// Those that have not ended, oldest first; no list is empty.
    active: BTreeMap<AccountId, VecDeque<Job>>,
    /// Whose job made the last step.
    last_turn: Option<AccountId>,
    /// No job could make a step lately; until then none gets a commit of its own.
    blocked_until: Option<Instant>,
    /// Until when jobs rest.
    rests: BTreeMap<JobId, Instant>,
}

impl Jobs {
    /// Goes on with these.
    pub fn resume(unfinished: Vec<Job>) -> Self {
        let mut jobs = Self::default();
        for job in unfinished {
            log::info!("job {} ({}) continues", job.id, job.task.kind());
            jobs.add(job);
        }
        jobs
    }

    /// Whether there is a step to make.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Whether a replay that is at work here has made a delivery. Where deliveries go in order the next one waits for
    /// what became of this, so that it counts as any other.
    pub fn is_of_replay(&self, delivery: Option<(SubscriptionId, EventId)>, registry: &Registry) -> bool {
        let Some((id, event)) = delivery else { return false };
        let Some(subscription) = registry.subscription(id) else { return false };
        let jobs = self.active.get(&subscription.account).into_iter().flatten();
        let is_of = |job: &Job| matches!(&job.task, JobTask::Replay(replay) if replay.has_made(id, event));
        subscription.options.order == Order::None && jobs.into_iter().any(is_of)
    }

    fn add(&mut self, job: Job) {
        self.active.entry(job.account).or_default().push_back(job);
    }

    /// Creates a job. `of`: how many deliveries it concerns, if that is known.
    pub fn create(
        &mut self,
        batch: &mut Batch<impl Tx>,
        state: &mut State,
        (account, task): (AccountId, JobTask),
        of: Option<u64>,
    ) -> CommandResult<Job> {
        if task.subscription().is_some_and(|id| state.registry.subscription_of(account, id).is_none()) {
            return Ok(Err(Rejection::NotFound));
        }
        let known = batch.tx.jobs(account)?;
        if known.iter().filter(|job| job.is_active()).count() >= ACTIVE_JOBS {
            return Ok(Err(Rejection::TooManyJobs(ACTIVE_JOBS)));
        }
        let is_under_way = |job: &&Job| {
            job.is_active() && matches!(job.task, JobTask::Replay(_)) && job.task.subscription() == task.subscription()
        };
        if matches!(task, JobTask::Replay(_)) && known.iter().any(|job| is_under_way(&job)) {
            return Ok(Err(Rejection::ReplayUnderWay));
        }
        let oldest = state.time.kept_from(state.rules.retention.events);
        for (place, job) in known.iter().enumerate() {
            if !job.is_active() && (place + 1 >= KEPT_JOBS || job.finished_at.is_some_and(|end| end < oldest)) {
                batch.tx.remove_job(account, job.id)?;
            }
        }
        let id = JobId(state.ids.next(state.time.now(), state.random.next_u128()?).0);
        let job = Job {
            id,
            account,
            task,
            state: JobState::Waiting,
            done: 0,
            of,
            started_at: None,
            finished_at: None,
            error: None,
            position: None,
        };
        batch.tx.put_job(&job)?;
        batch.note(Change::of_job("job.created", &job));
        // Once for a job, not with each of its steps.
        batch.changes.to_try.extend(match &job.task {
            JobTask::Erase(_) => Vec::new(),
            task => match task.subscription() {
                Some(id) => vec![id],
                None => state.registry.subscriptions_of(account).iter().map(|found| found.id).collect(),
            },
        });
        self.add(job.clone());
        Ok(Ok(job))
    }

    /// Stops a job; one that has ended stays as it is.
    pub fn stop(
        &mut self,
        batch: &mut Batch<impl Tx>,
        state: &State,
        account: AccountId,
        id: JobId,
    ) -> CommandResult<Job> {
        let Some(mut job) = batch.tx.jobs(account)?.into_iter().find(|job| job.id == id) else {
            return Ok(Err(Rejection::NotFound));
        };
        if job.is_active() {
            job.end(JobState::Stopped, state.clock.wall());
            batch.tx.put_job(&job)?;
            batch.note(Change::of_job("job.stopped", &job));
            self.forget(account, id);
        }
        Ok(Ok(job))
    }

    fn forget(&mut self, account: AccountId, id: JobId) {
        self.rests.remove(&id);
        if let Some(jobs) = self.active.get_mut(&account) {
            jobs.retain(|job| job.id != id);
            if jobs.is_empty() {
                self.active.remove(&account);
            }
        }
    }

    /// When the next step is made in a commit of its own, while there is a job.
    pub fn own_commit_at(&self, now: Instant) -> Instant {
        self.blocked_until.unwrap_or(now)
    }

    /// Makes one step of the first job that can, of the account whose turn it is.
    pub fn step(&mut self, batch: &mut Batch<impl Tx>, state: &mut State, size: StepSize) -> Result<(), StorageError> {
        let after = self.last_turn.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.active.range((after, Bound::Unbounded));
        let turns: Vec<AccountId> = behind.chain(&self.active).map(|(account, _)| *account).take(TURNS).collect();
        self.blocked_until = None;
        let now = Instant::now();
        self.rests.retain(|_, until| *until > now);
        let mut is_blocked = false;
        for account in turns {
            for place in 0..self.active.get(&account).map_or(0, VecDeque::len) {
                let Some(job) = self.active.get_mut(&account).and_then(|jobs| jobs.get_mut(place)) else { break };
                let id = job.id;
                if self.rests.contains_key(&id) {
                    continue;
                }
                match step_of(batch, state, job, size)? {
                    Step::Blocked => {
                        is_blocked = true;
                        continue;
                    }
                    Step::Made => {}
                    Step::MadeAndRests(rest) => drop(self.rests.insert(id, now + rest)),
                }
                self.last_turn = Some(account);
                if !job.is_active() {
                    self.forget(account, id);
                }
                return Ok(());
            }
        }
        let end_of_rest = self.rests.values().min().copied().filter(|_| !is_blocked);
        self.blocked_until = self.is_active().then(|| end_of_rest.unwrap_or(now + BLOCKED));
        Ok(())
    }
}

/// Makes one step of a job.
fn step_of(batch: &mut Batch<impl Tx>, state: &mut State, job: &mut Job, size: StepSize) -> Result<Step, StorageError> {
    let is_first = job.state == JobState::Waiting;
    if is_first {
        job.state = JobState::Running;
        job.started_at = Some(state.clock.wall());
    }
    let made = |has_moved| if has_moved { Step::Made } else { Step::Blocked };
    let step = match job.task.clone() {
        JobTask::Retry(selection) => made(batch.retry_step(state, job, &selection, size)?),
        JobTask::Replay(replay) => made(batch.replay_step(state, job, &replay, size)?),
        JobTask::Erase(erasure) => batch.erase_step(state, job, erasure, size)?,
    };
    if step != Step::Blocked || is_first {
        batch.tx.put_job(job)?;
    }
    if !job.is_active() {
        let Job { id, done, .. } = *job;
        let (kind, name) = (job.task.kind(), state.registry.account_name(job.account));
        let why = job.error.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let what = if let JobTask::Erase(_) = job.task { "events erased" } else { "deliveries made due" };
        log::info!("job {id} ({kind}) of account {name} {}{why}; {done} {what}", job.state.name());
    }
    Ok(step)
}

impl<T: Tx> Batch<T> {
    fn retry_step(
        &mut self,
        state: &State,
        job: &mut Job,
        selection: &DeliverySelection,
        size: StepSize,
    ) -> Result<bool, StorageError> {
        let Some(subscriptions) = concerned(state, job.account, selection) else {
            job.error = selection.subscription.map(|id| format!("subscription {id} was deleted"));
            job.end(JobState::Failed, state.clock.wall());
            return Ok(true);
        };
        let begun = Instant::now();
        loop {
            let Selected { deliveries, last, is_end } =
                self.tx.select((job.account, &subscriptions), selection, job.position, size.rows)?;
            for id in deliveries {
                // One that cannot be read, or whose event is gone, is left out.
                job.done += u64::from(self.redeliver(state, job.account, id)?.is_ok());
            }
            job.position = last;
            if is_end {
                job.end(JobState::Finished, state.clock.wall());
                return Ok(true);
            }
            if begun.elapsed() >= size.time {
                return Ok(true);
            }
        }
    }
}

/// The subscriptions that a selection is about, by number; none if the one that it names is gone.
fn concerned(state: &State, account: AccountId, selection: &DeliverySelection) -> Option<Vec<SubscriptionId>> {
    let all = state.registry.subscriptions_of(account).iter().filter(|found| !found.is_pull()).map(|found| found.id);
    let wanted: Vec<_> = all.filter(|id| selection.subscription.is_none_or(|wanted| wanted == *id)).collect();
    (!wanted.is_empty() || selection.subscription.is_none()).then_some(wanted)
}
