//! Steps through a backlog on a real store, one at a time.

use super::job_tests::Bench;
use super::*;
use crate::domain::delivery::DeliveryState;
use crate::domain::event::event_types::EventTypes;
use crate::domain::subscription::SubscriptionChange;
use crate::domain::{AccountId, SubscriptionId};
use crate::storage::test_store::OWN;

fn step(bench: &mut Bench, rows: usize) {
    bench.commit(|_, batch, state| batch.step_backlogs(state, StepSize::of(rows))).unwrap();
}

fn set_events(bench: &mut Bench, account: AccountId, id: SubscriptionId, events: &str) {
    let events = Some(EventTypes::from_stored([events]).unwrap());
    let change = SubscriptionChange { events, ..SubscriptionChange::default() };
    bench.commit(|_, batch, state| batch.change_subscription(state, account, id, change)).unwrap().unwrap();
}

/// How many retries are due by now.
fn due(bench: &Bench, id: SubscriptionId) -> usize {
    let now = bench.writer.state.clock.monotonic();
    let retries = bench.writer.engine.view().unwrap().retries(id, now, 1000).unwrap();
    retries.iter().filter(|retry| retry.due <= now).count()
}

#[test]
fn what_waits_of_a_removed_type_is_cancelled_step_by_step_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path());
    bench.writer.state.rules.retry.waits = vec![Duration::from_hours(1)];
    let id = bench.waiting(OWN, 30);
    let events = bench.publish(OWN, 50);
    set_events(&mut bench, OWN, id, "clock_out");
    step(&mut bench, 20);
    assert_eq!((bench.writer.state.pending.unattempted, bench.writer.state.pending.retrying), (30, 30));
    drop(bench);
    let mut bench = Bench::open(folder.path());
    let mut steps = 0;
    while bench.writer.state.backlogs.is_active() {
        step(&mut bench, 20);
        steps += 1;
    }
    assert!((3..10).contains(&steps), "{steps} steps");
    assert_eq!((bench.writer.state.pending.unattempted, bench.writer.state.pending.retrying), (0, 0));
    let view = bench.writer.engine.view().unwrap();
    for event in events {
        let delivery = view.delivery(OWN, DeliveryId { event, subscription: id }).unwrap().unwrap();
        assert!(matches!(delivery.state, DeliveryState::Cancelled { .. }), "{delivery:?}");
    }
    assert!(!view.history(id).unwrap().unwrap().is_marked());
    // What is published when the type is back is wanted.
    drop(view);
    set_events(&mut bench, OWN, id, "clock_in");
    bench.publish(OWN, 5);
    step(&mut bench, 20);
    assert_eq!(bench.writer.state.pending.unattempted, 5);
}

#[test]
fn what_was_acknowledged_is_delivered_though_its_time_is_over_before_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path());
    let id = bench.feed(OWN);
    let events = bench.publish(OWN, 1_500);
    bench.commit(|_, batch, state| batch.acknowledge(state, OWN, id, events[1_499])).unwrap().unwrap();
    assert_eq!(bench.writer.state.pending.unattempted, 500);
    bench.writer.state.rules.retention.held = Duration::ZERO;
    let stored = bench.writer.state.clock.wall();
    while bench.writer.state.clock.wall() <= stored {
        std::thread::yield_now();
    }
    let mut housekeeping = Housekeeping::default();
    let budget = Budget::new(HOUSEKEEPING_ROWS, false);
    bench.commit(|_, batch, state| housekeeping.step(batch, state, budget)).unwrap();
    assert_eq!(bench.writer.state.pending.unattempted, 0);
    let view = bench.writer.engine.view().unwrap();
    for event in events {
        let delivery = view.delivery(OWN, DeliveryId { event, subscription: id }).unwrap().unwrap();
        assert!(matches!(delivery.state, DeliveryState::Delivered { .. }), "{delivery:?}");
    }
}

#[test]
fn retries_are_due_step_by_step_after_a_repair_and_each_of_them_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path());
    bench.writer.state.rules.retry.waits = vec![Duration::from_hours(1); 9];
    let id = bench.waiting(OWN, 50);
    assert_eq!(due(&bench, id), 0);
    bench.commit(|_, batch, state| batch.hasten(state, id));
    for wanted in [20, 40] {
        step(&mut bench, 20);
        assert_eq!(due(&bench, id), wanted);
    }
    drop(bench);
    let mut bench = Bench::open(folder.path());
    bench.writer.state.rules.retry.waits = vec![Duration::from_hours(1); 9];
    step(&mut bench, 100);
    assert_eq!((due(&bench, id), bench.writer.state.backlogs.is_active()), (50, false));
    // They fail again, and the next repair is another one.
    bench.fail_all(id, 2);
    step(&mut bench, 100);
    assert_eq!(due(&bench, id), 0);
    assert_eq!(bench.writer.state.pending.retrying, 50);
}

#[test]
fn what_failed_after_a_repair_waits_as_planned() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path());
    bench.writer.state.rules.retry.waits = vec![Duration::from_hours(1); 9];
    let id = bench.waiting(OWN, 10);
    bench.commit(|_, batch, state| batch.hasten(state, id));
    // Later than the repair, by both clocks.
    let repaired = bench.writer.state.clock.wall();
    while bench.writer.state.clock.wall().since(repaired) < Duration::from_millis(3) {
        std::thread::yield_now();
    }
    bench.fail_all(id, 2);
    step(&mut bench, 100);
    assert_eq!(due(&bench, id), 0, "each would be attempted once more, and once more after that");
}
