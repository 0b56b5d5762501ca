//! What a leap of the clock, a time without the server and a confirmation do to a store: the real store, opened and opened
//! again, under a clock that shows simulated time.

mod dates;
mod endpoints;
mod keeping;
mod retention;

use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::clock::SimulatedTime;
use crate::domain::delivery::attempt::{Attempt, Signed, VERSION};
use crate::domain::delivery::outcome::{NO_ROUTE, Phase};
use crate::domain::delivery::retry::RetryRule;
use crate::domain::endpoint::{Endpoint, EndpointPolicy};
use crate::domain::event::NewEvent;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::EventTypes;
use crate::domain::options::Options;
use crate::domain::signing::{Signatures, SigningSecret};
use crate::domain::signing_keys::SigningKeys;
use crate::domain::subscription::{NewSubscription, Subscription};
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId};
use crate::storage::command::{Command, Completion, ReplySender};
use crate::storage::read::reader::Reader;
use crate::storage::redb::time::testing;
use crate::storage::rules::service_time::*;
use crate::storage::write::queue::WriterHandle;
use crate::storage::write::writer::{Listeners, Writer};
use crate::storage::{DATABASE_FILE, Opened, RetentionRule, Rules, StoreSettings};

const OWN: AccountId = AccountId(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const SIXTY_DAYS: Duration = Duration::from_hours(60 * 24);
/// In 2026.
const START: Timestamp = Timestamp::from_ms(1_772_438_400_000);
const WAIT: Duration = Duration::from_hours(5);
const OK: Outcome = Outcome::Delivered(200);
const FAILED: Outcome = Outcome::HttpError(500);

/// A machine with a clock and a disk, and the server on it, which does only what it is told to.
struct Machine {
    folder: TempDir,
    time: &'static SimulatedTime,
    settings: StoreSettings,
    running: Option<(WriterHandle, Writer, Reader)>,
}

impl Machine {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let retry = RetryRule { waits: vec![WAIT; 9], retry_after_max: Duration::ZERO };
        let rules = Rules {
            health: HealthRule::new(5 * DAY, retry.longest_wait()),
            retry,
            retention: RetentionRule { events: 30 * DAY, idempotency: 3 * DAY, attempts: 10 * DAY, held: 300 * DAY },
            audit_kept: Duration::MAX,
            alerts: None,
            subscriptions_per_account: 10,
        };
        let settings = StoreSettings {
            data_dir: folder.path().to_owned(),
            postgres: None,
            encryption_key_file: None,
            cache_bytes: 8 << 20,
            free_space_reserve_bytes: 0,
            rules,
        };
        let time = Box::leak(Box::new(SimulatedTime::new(START)));
        let mut machine = Self { folder, time, settings, running: None };
        machine.start();
        machine
    }

    fn clock(&self) -> Clock {
        Clock::simulated(self.time)
    }

    fn start(&mut self) {
        self.time.restart();
        let opened = Opened::open(&self.settings, self.clock()).unwrap();
        let reader = opened.reader();
        let listeners = Listeners { committed: Box::new(|_, _| {}), failed: Box::new(|error| panic!("{error}")) };
        let (handle, writer) = opened.writer(listeners).unwrap();
        self.running = Some((handle, writer, reader));
        // What a server does first is look for what is over: rows of deleted subscriptions, then everything else.
        self.idle();
        self.idle();
    }

    fn kill(&mut self) {
        self.running = None;
    }

    /// The server is down for so long, and its clock goes on.
    fn down_for(&mut self, span: Duration) {
        self.kill();
        self.time.pass(span);
        self.start();
    }

    /// The server is killed, and its clock is set before it starts again.
    fn killed_and_set_to(&mut self, wall: Timestamp) {
        self.kill();
        self.time.set_wall(wall);
        self.start();
    }

    fn reader(&self) -> &Reader {
        &self.running.as_ref().unwrap().2
    }

    /// What the writer does when nothing comes.
    fn idle(&mut self) {
        self.running.as_mut().unwrap().1.commit_some(0, 0, 0).unwrap();
    }

    /// The server is at work for so long, with nothing to do but to look from time to time for what is over.
    fn at_work_for(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let step = left.min(DAY / 2);
            left -= step;
            self.time.pass(step);
            self.idle();
        }
    }

    fn ask<T>(&mut self, command: impl FnOnce(ReplySender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        let (handle, writer, _) = self.running.as_mut().unwrap();
        handle.try_send(command(reply)).unwrap();
        writer.commit_some(usize::MAX, usize::MAX, usize::MAX).unwrap();
        answer.blocking_recv().unwrap().unwrap()
    }

    fn subscribe(&mut self, host: &str) -> SubscriptionId {
        self.ask(|reply| create_subscription(host, reply)).id
    }

    /// So many subscriptions, created in one commit.
    fn subscribe_many(&mut self, count: usize) -> Vec<SubscriptionId> {
        let (handle, writer, _) = self.running.as_mut().unwrap();
        let answers: Vec<_> = (0..count)
            .map(|_| {
                let (reply, answer) = oneshot::channel();
                handle.try_send(create_subscription("a.example.com", reply)).unwrap();
                answer
            })
            .collect();
        writer.commit_some(usize::MAX, usize::MAX, usize::MAX).unwrap();
        answers.into_iter().map(|answer| answer.blocking_recv().unwrap().unwrap().id).collect()
    }

    fn publish(&mut self, event_type: EventType) -> EventId {
        let event = NewEvent {
            event_type,
            is_opt_in: false,
            data: "{}".into(),
            occurred_at: None,
            tags: Vec::new(),
            worker: None,
            unfit: Vec::new(),
            idempotency: Vec::new(),
        };
        self.ask(|reply| Command::Publish { account: OWN, events: vec![event], reply })[0].id
    }

    fn attempt(&mut self, subscription: SubscriptionId, event: EventId, outcome: Outcome) {
        let id = DeliveryId { event, subscription };
        let number = self.reader().view().delivery(id).unwrap().unwrap().next_number();
        let attempt = Attempt { number, ..first_attempt(self.clock().wall(), outcome) };
        let (handle, writer, _) = self.running.as_mut().unwrap();
        handle.complete(Completion::new(id, attempt, None));
        writer.commit_some(usize::MAX, usize::MAX, usize::MAX).unwrap();
    }

    /// Publishes an event and delivers it.
    fn deliver(&mut self, subscription: SubscriptionId) -> EventId {
        let event = self.publish(EventType::ClockIn);
        self.attempt(subscription, event, OK);
        event
    }

    /// Publishes an event, and its only attempt so far fails.
    fn fail(&mut self, subscription: SubscriptionId, outcome: Outcome) -> EventId {
        let event = self.publish(EventType::ClockIn);
        self.attempt(subscription, event, outcome);
        event
    }

    fn has(&self, event: EventId) -> bool {
        self.reader().view().event(OWN, event).unwrap().is_some()
    }

    fn is_on(&self, subscription: SubscriptionId) -> bool {
        self.reader().registry().subscription(subscription).unwrap().state.is_active()
    }

    fn left_out(&self) -> Duration {
        self.reader().view().left_out().unwrap()
    }

    fn confirm(&mut self) -> Duration {
        let counted = self.ask(|reply| Command::ConfirmClock { reply });
        self.idle();
        counted
    }

    /// Makes of the store what an earlier version leaves behind.
    fn forget_what_this_version_notes(&mut self, names: &[&str]) {
        self.kill();
        testing::forget(&self.folder.path().join(DATABASE_FILE), names);
    }
}

/// A first attempt that began then.
fn first_attempt(started_at: Timestamp, outcome: Outcome) -> Attempt {
    Attempt {
        number: 1,
        started_at,
        duration_ms: 1,
        url: "".into(),
        version: VERSION.into(),
        signed: Signed { timestamp_s: 0, signatures: Signatures::NONE },
        outcome,
        response: None,
        request: None,
    }
}

fn create_subscription(host: &str, reply: ReplySender<Subscription>) -> Command {
    let endpoint = Endpoint::parse(&format!("https://{host}/hook"), &EndpointPolicy::default()).unwrap();
    let events = EventTypes::from_stored(["clock_in"]).unwrap();
    let new =
        NewSubscription { endpoint, events, description: String::new(), active: true, options: Options::defaults() };
    let keys = SigningKeys::of(SigningSecret::from_random(&[1; 32]));
    Command::CreateSubscription { account: OWN, new, keys, reply }
}
