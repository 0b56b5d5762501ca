//! What retention comes back to, what expires, and that it takes small steps.

use serde_json::json;

use crate::domain::delivery::DeliveryState;
use crate::domain::job::{JobTask, Replay, ReplayOnly};
use crate::domain::options::OptionsChange;
use crate::domain::subscription::SubscriptionChange;
use crate::storage::maintenance::{Verified, verify};
use crate::storage::read::reader::{DeliveryFilter, PageRequest};
use crate::storage::redb::{retained, tables};
use crate::storage::rules::service_time::tests::*;

impl Machine {
    fn switch(&mut self, id: SubscriptionId, active: bool) {
        let change = SubscriptionChange { active: Some(active), ..SubscriptionChange::default() };
        self.ask(|reply| Command::ChangeSubscription { account: OWN, id, change, reply });
    }

    fn state(&self, subscription: SubscriptionId, event: EventId) -> DeliveryState {
        self.reader().view().delivery(DeliveryId { event, subscription }).unwrap().unwrap().state
    }

    fn attempts(&self, subscription: SubscriptionId, event: EventId) -> usize {
        self.reader().view().delivery(DeliveryId { event, subscription }).unwrap().unwrap().attempts.len()
    }

    fn total(&self, subscription: SubscriptionId, status: Option<&'static str>) -> usize {
        let filter = DeliveryFilter { status, ..DeliveryFilter::of(OWN, vec![subscription]) };
        let page = PageRequest { limit: 1, offset: 0, after: None };
        self.reader().view().deliveries(&filter, page).unwrap().total
    }

    /// How many deliveries were never attempted, and how many wait for a retry.
    fn pending(&self) -> (u64, u64) {
        let pending = self.reader().view().backlog().unwrap().pending;
        (pending.unattempted, pending.retrying)
    }

    /// How many outcomes of an event are there. The server is down meanwhile.
    fn outcomes_of(&mut self, event: EventId) -> usize {
        self.kill();
        let count = retained::testing::outcomes_of(&self.folder.path().join(DATABASE_FILE), OWN, event);
        self.start();
        count
    }

    /// Every row is as it should be, and fits the others. The server is down meanwhile.
    fn verify(&mut self) {
        self.kill();
        match verify(&self.folder.path().join(DATABASE_FILE)).unwrap() {
            Verified::Database(report) => assert!(report.faults.is_empty(), "{:?}", report.faults),
            other => panic!("{other:?}"),
        }
        self.start();
    }
}

#[test]
fn what_is_pending_keeps_its_event_until_it_was_settled_for_as_long_as_others() {
    let mut machine = Machine::new();
    let [quick, slow] = ["a.example.com", "b.example.com"].map(|host| machine.subscribe(host));
    let event = machine.deliver(quick);
    let settled = machine.publish(EventType::ClockOut);
    machine.at_work_for(31 * DAY);
    assert!(machine.has(event) && !machine.has(settled));
    assert_eq!((machine.attempts(quick, event), machine.total(quick, None)), (0, 1), "attempts are kept for 10 days");
    machine.attempt(slow, event, OK);
    machine.at_work_for(9 * DAY);
    assert_eq!(machine.attempts(slow, event), 1);
    machine.at_work_for(2 * DAY);
    assert_eq!(machine.attempts(slow, event), 0, "10 days after it was settled");
    machine.verify();
    machine.at_work_for(18 * DAY);
    assert!(machine.has(event), "29 days after it was settled");
    machine.at_work_for(2 * DAY);
    assert!(!machine.has(event));
    assert_eq!((machine.total(quick, None), machine.total(slow, None)), (0, 0));
    machine.verify();
}

#[test]
fn an_event_whose_deliveries_cannot_be_told_is_left_alone_as_one_may_be_pending() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("a.example.com");
    let event = machine.deliver(subscription);
    let pending = machine.publish(EventType::ClockIn);
    machine.kill();
    let database = machine.folder.path().join(DATABASE_FILE);
    retained::testing::damage(&database, tables::OUTCOMES);
    machine.start();
    machine.at_work_for(31 * DAY);
    assert!(machine.has(event), "its only outcome cannot be read");
    machine.kill();
    retained::testing::damage(&database, tables::RECEIVER_SETS);
    machine.start();
    machine.at_work_for(31 * DAY);
    for event in [event, pending] {
        let read = machine.reader().view().event(OWN, event);
        assert!(read.is_err(), "it is gone, or its receivers can be read: {read:?}");
    }
}

#[test]
fn what_is_sent_again_by_hand_after_its_time_keeps_its_event() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("a.example.com");
    let event = machine.deliver(subscription);
    machine.at_work_for(29 * DAY);
    let id = DeliveryId { event, subscription };
    machine.ask(|reply| Command::Redeliver { account: OWN, id, reply });
    machine.at_work_for(5 * DAY);
    assert!(machine.has(event), "it is pending");
    machine.attempt(subscription, event, OK);
    machine.at_work_for(10 * DAY);
    // Once more, now that retention has passed it.
    machine.ask(|reply| Command::Redeliver { account: OWN, id, reply });
    machine.at_work_for(40 * DAY);
    assert!(machine.has(event), "it is pending again");
    machine.verify();
    machine.attempt(subscription, event, OK);
    machine.at_work_for(31 * DAY);
    assert!(!machine.has(event));
    machine.verify();
}

#[test]
fn what_is_held_for_too_long_expires_and_what_was_not_held_so_long_does_not() {
    let mut machine = Machine::new();
    machine.settings.rules.retention.held = 20 * DAY;
    machine.down_for(MINUTE);
    let subscription = machine.subscribe("a.example.com");
    let retried = machine.fail(subscription, FAILED);
    let never = machine.publish(EventType::ClockIn);
    // It was not held meanwhile.
    machine.at_work_for(10 * DAY);
    machine.switch(subscription, false);
    machine.at_work_for(15 * DAY);
    let late = machine.publish(EventType::ClockIn);
    machine.at_work_for(4 * DAY);
    for event in [retried, never, late] {
        assert!(machine.state(subscription, event).is_pending());
    }
    machine.at_work_for(2 * DAY);
    assert!(matches!(machine.state(subscription, retried), DeliveryState::Expired { .. }));
    assert!(matches!(machine.state(subscription, never), DeliveryState::Expired { .. }));
    assert!(machine.state(subscription, late).is_pending());
    assert_eq!((machine.total(subscription, Some("expired")), machine.total(subscription, Some("pending"))), (2, 1));
    machine.verify();
    // It can be sent again, and is held as long as anything else.
    let id = DeliveryId { event: never, subscription };
    machine.ask(|reply| Command::Redeliver { account: OWN, id, reply });
    machine.at_work_for(DAY);
    assert!(machine.state(subscription, never).is_pending());
    machine.switch(subscription, true);
    machine.at_work_for(30 * DAY);
    assert!(machine.state(subscription, late).is_pending(), "nothing is held");
    machine.attempt(subscription, never, OK);
    machine.verify();
}

#[test]
fn a_batch_that_is_held_for_too_long_ends_with_its_deliveries_and_is_none_itself() {
    let mut machine = Machine::new();
    machine.settings.rules.retention.held = 20 * DAY;
    machine.down_for(MINUTE);
    let id = machine.subscribe("a.example.com");
    let mut options = OptionsChange::default();
    options.push("batch", json!({"max": 2, "wait": "1s"}));
    let change = SubscriptionChange { options, ..SubscriptionChange::default() };
    machine.ask(|reply| Command::ChangeSubscription { account: OWN, id, change, reply });
    let events = [(); 3].map(|()| machine.publish(EventType::ClockIn));
    machine.switch(id, false);
    machine.at_work_for(21 * DAY);
    for event in events {
        assert!(matches!(machine.state(id, event), DeliveryState::Expired { .. }));
    }
    assert_eq!((machine.total(id, None), machine.total(id, Some("expired"))), (3, 3));
    assert_eq!(machine.pending(), (0, 0));
    machine.verify();
}

/// As many steps beside callers as make retention look at an event of [`MANY`] deliveries, and not to its end.
const LOOKING: usize = 2;
const MANY: usize = 600;

impl Machine {
    /// An event that was delivered to many.
    fn deliver_to_many(&mut self) -> (Vec<SubscriptionId>, EventId) {
        self.settings.rules.subscriptions_per_account = 1000;
        self.down_for(MINUTE);
        let subscriptions = self.subscribe_many(MANY);
        let event = self.publish(EventType::ClockIn);
        let (handle, writer, _) = self.running.as_mut().unwrap();
        for subscription in &subscriptions {
            let id = DeliveryId { event, subscription: *subscription };
            handle.complete(Completion::new(id, first_attempt(START, OK), None));
        }
        writer.commit_some(usize::MAX, usize::MAX, usize::MAX).unwrap();
        (subscriptions, event)
    }

    /// Until its time is over in the next step.
    fn wait_for_the_end_of(&mut self, event: EventId) {
        let left = event.time().plus(30 * DAY).since(self.clock().wall());
        self.at_work_for(left);
        assert!(self.has(event));
        self.time.pass(HOUR);
    }

    /// One commit for a caller, with the step of retention in it.
    fn step(&mut self) {
        self.ask(|reply| Command::Flush { reply });
    }
}

#[test]
fn an_event_of_many_deliveries_goes_in_small_steps_and_a_kill_in_between_loses_nothing() {
    let mut machine = Machine::new();
    let (subscriptions, event) = machine.deliver_to_many();
    machine.wait_for_the_end_of(event);
    let young = machine.publish(EventType::ClockIn);
    let mut steps = 0;
    while machine.has(event) {
        machine.step();
        steps += 1;
        assert!(steps < 20, "retention does not get through");
    }
    assert!(steps > LOOKING, "{steps}");
    assert!(machine.has(young));
    // Beside a caller, who does not wait for more than a small step, some of it was left, and counts for nobody.
    let last = subscriptions[MANY - 1];
    assert_eq!((machine.total(last, None), machine.total(last, Some("delivered"))), (1, 0));
    assert!(machine.outcomes_of(event) > 0);
    machine.verify();
    machine.idle();
    assert_eq!(machine.outcomes_of(event), 0);
    assert_eq!(machine.total(subscriptions[0], None), 1);
    machine.verify();
}

#[test]
fn an_event_is_looked_at_anew_when_a_delivery_of_it_is_sent_again_meanwhile() {
    let mut machine = Machine::new();
    let (subscriptions, event) = machine.deliver_to_many();
    machine.at_work_for(10 * DAY);
    machine.time.pass(HOUR);
    machine.step();
    let attempts = [subscriptions[0], subscriptions[MANY - 1]].map(|id| machine.attempts(id, event));
    assert_eq!(attempts, [0, 1], "the attempts of all of them took one step");
    machine.wait_for_the_end_of(event);
    for _ in 0..LOOKING {
        machine.step();
    }
    assert!(machine.has(event), "it was looked at in fewer steps");
    let id = DeliveryId { event, subscription: subscriptions[0] };
    machine.ask(|reply| Command::Redeliver { account: OWN, id, reply });
    machine.at_work_for(3 * DAY);
    assert!(machine.has(event) && machine.state(subscriptions[0], event).is_pending());
    assert_eq!((machine.attempts(subscriptions[0], event), machine.attempts(subscriptions[1], event)), (0, 0));
    machine.verify();
    machine.attempt(subscriptions[0], event, OK);
    machine.at_work_for(31 * DAY);
    assert!(!machine.has(event));
    assert_eq!(machine.outcomes_of(event), 0);
    machine.verify();
}

#[test]
fn an_event_of_many_deliveries_that_is_kept_has_its_attempts_removed_in_small_steps_as_well() {
    let mut machine = Machine::new();
    machine.settings.rules.retention.attempts = 60 * DAY;
    let (subscriptions, event) = machine.deliver_to_many();
    let late = machine.subscribe("b.example.com");
    machine.wait_for_the_end_of(event);
    let (since, until) = (event.time(), event.time().plus(MINUTE));
    let replay = Replay { subscription: late, events: None, only: ReplayOnly::Missing, since, until };
    for _ in 0..LOOKING {
        machine.step();
    }
    assert!(machine.has(event), "it was looked at in fewer steps");
    machine.ask(|reply| Command::CreateJob { account: OWN, task: JobTask::Replay(replay), of: None, reply });
    for _ in 0..40 {
        machine.step();
    }
    assert!(machine.has(event), "it is gone");
    assert!(machine.state(late, event).is_pending(), "{:?}", machine.state(late, event));
    machine.verify();
    machine.attempt(late, event, OK);
    machine.at_work_for(29 * DAY);
    assert_eq!((machine.attempts(subscriptions[9], event), machine.attempts(late, event)), (1, 1));
    machine.at_work_for(2 * DAY);
    assert_eq!(machine.outcomes_of(event), 0);
    machine.verify();
}

#[test]
fn a_subscription_that_is_deleted_takes_along_what_it_was_counted_for() {
    let mut machine = Machine::new();
    let [gone, stays] = ["a.example.com", "b.example.com"].map(|host| machine.subscribe(host));
    let event = machine.deliver(gone);
    machine.fail(stays, FAILED);
    machine.at_work_for(31 * DAY);
    machine.publish(EventType::ClockIn);
    assert_eq!(machine.pending(), (4, 1));
    machine.ask(|reply| Command::DeleteSubscription { account: OWN, id: gone, reply });
    assert_eq!(machine.pending(), (2, 1), "what is being removed is pending no more");
    machine.kill();
    machine.start();
    assert_eq!(machine.pending(), (2, 1));
    machine.idle();
    assert_eq!(machine.total(stays, None), 3);
    let all = DeliveryFilter::of(OWN, vec![stays]);
    let page = PageRequest { limit: 10, offset: 0, after: None };
    let listed = machine.reader().view().deliveries(&all, page).unwrap();
    assert_eq!((listed.items.len(), listed.total), (3, 3));
    machine.verify();
    machine.attempt(stays, event, OK);
    machine.at_work_for(31 * DAY);
    assert!(!machine.has(event));
    machine.verify();
}
