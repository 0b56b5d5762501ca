//! Jobs on a real store, one step at a time.

use std::path::Path;

use tokio::sync::oneshot;

use super::*;
use crate::clock::Clock;
use crate::domain::delivery::attempt::{Attempt, Signed, VERSION};
use crate::domain::delivery::outcome::Outcome;
use crate::domain::endpoint::{Endpoint, EndpointPolicy};
use crate::domain::event::NewEvent;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::EventTypes;
use crate::domain::job::{DeliverySelection, Job, JobState, JobTask};
use crate::domain::options::Options;
use crate::domain::options::mode::Mode;
use crate::domain::signing::{Signatures, SigningSecret};
use crate::domain::signing_keys::SigningKeys;
use crate::domain::subscription::NewSubscription;
use crate::domain::{AccountId, EventId, JobId, SubscriptionId, Timestamp};
use crate::storage::RedbEngine;
use crate::storage::command::Completion;
use crate::storage::engine::{Engine, Transaction};
use crate::storage::test_store::{OWN, opened};

const OTHER: AccountId = AccountId(2);

/// A store whose writer does what it is told to.
pub(super) struct Bench {
    pub handle: WriterHandle,
    pub writer: Writer,
}

impl Bench {
    pub fn open(folder: &Path) -> Self {
        Self::keeping(folder, Duration::from_hours(24))
    }

    /// The same that keeps what is settled for that long.
    fn keeping(folder: &Path, keep: Duration) -> Self {
        let listeners = Listeners { committed: Box::new(|_, _| {}), failed: Box::new(|error| panic!("{error}")) };
        let (handle, writer) = opened(folder, keep).writer(listeners).unwrap();
        Self { handle, writer }
    }

    pub fn ask<T>(&mut self, command: impl FnOnce(ReplySender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        self.handle.try_send(command(reply)).unwrap();
        self.writer.commit_some(usize::MAX, usize::MAX, usize::MAX).unwrap();
        answer.blocking_recv().unwrap().unwrap()
    }

    /// A subscription with so many exhausted deliveries.
    fn exhausted(&mut self, account: AccountId, count: usize) -> SubscriptionId {
        self.waiting(account, count)
    }

    /// A subscription that is read.
    pub fn feed(&mut self, account: AccountId) -> SubscriptionId {
        self.subscribe(account, Endpoint::none(), Options { mode: Mode::Pull, ..Options::default() })
    }

    fn subscribe(&mut self, account: AccountId, endpoint: Endpoint, options: Options) -> SubscriptionId {
        let events = EventTypes::from_stored(["clock_in"]).unwrap();
        let options = Options::shared(options);
        let new = NewSubscription { endpoint, events, description: String::new(), active: true, options };
        let keys = SigningKeys::of(SigningSecret::from_random(&[1; 32]));
        self.ask(|reply| Command::CreateSubscription { account, new, keys, reply }).id
    }

    /// A subscription with so many deliveries whose first attempt failed. The rule says whether there is a next one.
    pub fn waiting(&mut self, account: AccountId, count: usize) -> SubscriptionId {
        let endpoint = Endpoint::parse("https://crm.example.com/hook", &EndpointPolicy::default()).unwrap();
        let subscription = self.subscribe(account, endpoint, Options::default());
        let earlier = Clock::start().wall().minus(Duration::from_secs(1));
        for event in self.publish(account, count) {
            self.fail(DeliveryId { event, subscription }, 1, earlier);
        }
        self.writer.commit_some(usize::MAX, usize::MAX, usize::MAX).unwrap();
        subscription
    }

    /// Publishes so many events.
    pub fn publish(&mut self, account: AccountId, count: usize) -> Vec<EventId> {
        let event = NewEvent {
            event_type: EventType::ClockIn,
            is_opt_in: false,
            data: "{}".into(),
            occurred_at: None,
            tags: Vec::new(),
            worker: None,
            unfit: Vec::new(),
            idempotency: Vec::new(),
        };
        let published = self.ask(|reply| Command::Publish { account, events: vec![event; count], reply });
        published.into_iter().map(|published| published.id).collect()
    }

    /// Fails one more attempt of every delivery of a subscription that waits for a retry.
    pub fn fail_all(&mut self, subscription: SubscriptionId, number: u32) {
        let all = self.writer.engine.view().unwrap().retries(subscription, Timestamp::from_ms(u64::MAX), 1000).unwrap();
        let now = self.writer.state.clock.wall();
        for retry in all {
            self.fail(DeliveryId { event: retry.event, subscription }, number, now);
        }
        self.writer.commit_some(usize::MAX, usize::MAX, usize::MAX).unwrap();
    }

    fn fail(&self, delivery: DeliveryId, number: u32, started_at: Timestamp) {
        let attempt = Attempt {
            number,
            started_at,
            duration_ms: 1,
            url: "".into(),
            version: VERSION.into(),
            signed: Signed { timestamp_s: 0, signatures: Signatures::NONE },
            outcome: Outcome::HttpError(500),
            response: None,
            request: None,
        };
        self.handle.complete(Completion::new(delivery, attempt, None));
    }

    /// One commit with this alone in it.
    pub fn commit<R>(&mut self, step: impl FnOnce(&mut Jobs, &mut Batch<TxOf<'_>>, &mut State) -> R) -> R {
        let Writer { engine, state, work, .. } = &mut self.writer;
        let jobs = &mut work.jobs;
        let StoreEngine::Redb(engine) = &**engine else { panic!("a store in a folder") };
        let transaction = engine.begin().unwrap();
        state.time.observe(state.clock.read());
        let mut batch = Batch::new(transaction.rows().unwrap(), state.pending);
        let result = step(jobs, &mut batch, state);
        batch.finish(state).unwrap();
        transaction.commit().unwrap();
        result
    }

    fn create(&mut self, account: AccountId, subscription: Option<SubscriptionId>) -> Result<JobId, Rejection> {
        let selection =
            DeliverySelection { subscription, status: "exhausted", event_type: None, since: None, until: None };
        let created =
            self.commit(|jobs, batch, state| jobs.create(batch, state, (account, JobTask::Retry(selection)), None));
        created.unwrap().map(|job| job.id)
    }

    fn step(&mut self, rows: usize) {
        self.commit(|jobs, batch, state| jobs.step(batch, state, StepSize::of(rows))).unwrap();
    }

    fn jobs(&self, account: AccountId) -> Vec<Job> {
        self.writer.engine.view().unwrap().jobs(account).unwrap()
    }

    fn retrying(&self) -> u64 {
        self.writer.state.pending.retrying
    }
}

pub(super) type TxOf<'a> = <<RedbEngine as Engine>::Transaction as Transaction>::Tx<'a>;

#[test]
fn a_job_goes_on_where_it_was_when_the_server_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path());
    bench.exhausted(OWN, 50);
    bench.create(OWN, None).unwrap();
    assert_eq!(bench.jobs(OWN)[0].state, JobState::Waiting);
    bench.step(10);
    bench.step(10);
    let job = bench.jobs(OWN).remove(0);
    assert_eq!((job.state, job.done, bench.retrying()), (JobState::Running, 20, 20));
    drop(bench);

    let mut bench = Bench::open(folder.path());
    assert_eq!(bench.jobs(OWN), [job]);
    for _ in 0..4 {
        bench.step(10);
    }
    let job = bench.jobs(OWN).remove(0);
    assert_eq!((job.state, job.done, job.of), (JobState::Finished, 50, Some(50)));
    assert!(job.started_at.is_some() && job.started_at <= job.finished_at);
    assert_eq!(bench.retrying(), 50, "each of them once");
    drop(bench);
    assert!(!Bench::open(folder.path()).writer.work.jobs.is_active(), "it has ended");
}

#[test]
fn a_job_that_is_stopped_makes_no_further_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path());
    bench.exhausted(OWN, 30);
    let id = bench.create(OWN, None).unwrap();
    bench.step(10);
    let stopped = bench.ask(|reply| Command::StopJob { account: OWN, id, reply });
    assert_eq!((stopped.state, stopped.done), (JobState::Stopped, 10));
    bench.writer.commit_some(0, 0, 0).unwrap();
    assert_eq!(bench.jobs(OWN).first(), Some(&stopped));
    assert_eq!(bench.retrying(), 10);
    assert_eq!(bench.ask(|reply| Command::StopJob { account: OWN, id, reply }), stopped, "once more");
}

#[test]
fn a_job_fails_when_its_subscription_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path());
    let subscription = bench.exhausted(OWN, 30);
    bench.create(OWN, Some(subscription)).unwrap();
    bench.step(10);
    bench.ask(|reply| Command::DeleteSubscription { account: OWN, id: subscription, reply });
    let job = bench.jobs(OWN).remove(0);
    assert_eq!(job.error.as_deref(), Some("subscription 1 was deleted"), "{job:?}");
    assert_eq!((job.state, job.done), (JobState::Failed, 10));
    assert_eq!(bench.create(OWN, Some(subscription)), Err(Rejection::NotFound));
}

#[test]
fn accounts_take_turns_and_each_has_a_bounded_number_of_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path());
    bench.exhausted(OWN, 30);
    bench.exhausted(OTHER, 5);
    for _ in 0..16 {
        bench.create(OWN, None).unwrap();
    }
    assert_eq!(bench.create(OWN, None), Err(Rejection::TooManyJobs(16)));
    bench.create(OTHER, None).unwrap();
    bench.step(10);
    bench.step(10);
    assert_eq!(bench.jobs(OTHER)[0].state, JobState::Finished, "it waits for another account");
    let states: Vec<_> = bench.jobs(OWN).iter().map(|job| job.state).collect();
    assert_eq!((states.len(), states[15]), (16, JobState::Running), "newest first");
    while bench.writer.work.jobs.is_active() {
        bench.step(10);
    }
    let first = bench.jobs(OWN).pop().unwrap().id;
    for _ in 0..90 {
        bench.create(OWN, None).unwrap();
        while bench.writer.work.jobs.is_active() {
            bench.step(100);
        }
    }
    let kept = bench.jobs(OWN);
    assert_eq!(kept.len(), 100);
    assert!(kept.iter().all(|job| job.id != first) && kept.is_sorted_by(|one, next| one.id > next.id));
}

#[test]
fn housekeeping_that_is_due_makes_no_commit_of_its_own_right_after_one_that_a_caller_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let Bench { mut writer, .. } = Bench::open(folder.path());
    let now = Instant::now();
    assert_eq!(writer.idle_at(now), now, "what was deleted before the start is looked for at once");
    writer.last_caller = Some(now);
    assert_eq!(writer.idle_at(now), now + AFTER_CALLER);
    assert_eq!(writer.idle_at(now + AFTER_CALLER), now + AFTER_CALLER);
}

#[test]
fn retention_keeps_up_with_a_load_that_leaves_it_no_commit_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::keeping(folder.path(), Duration::ZERO);
    for _ in 0..8 {
        bench.writer.work.housekeeping.as_mut().unwrap().pass_now();
        bench.publish(OWN, 1000);
    }
    let soon = Clock::start().wall().plus(Duration::from_mins(1));
    let stored = bench.commit(|_, batch, _| batch.tx.events_after(OWN, EventId(0), soon, usize::MAX).unwrap().len());
    assert!(stored < 3000, "{stored} of 8000 events are still stored");
}
