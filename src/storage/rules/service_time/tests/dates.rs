//! How events are dated, when retries are due, and what is written down.

use crate::storage::rules::service_time::tests::*;

#[test]
fn ids_of_a_time_with_a_wrong_clock_do_not_date_what_comes_after() {
    let mut machine = Machine::new();
    let before = machine.publish(EventType::ClockOut);
    machine.killed_and_set_to(START.plus(SIXTY_DAYS));
    let wrong = machine.publish(EventType::ClockOut);
    machine.at_work_for(2 * MINUTE);
    machine.time.set_wall(START.plus(5 * MINUTE));
    let right = machine.publish(EventType::ClockOut);
    assert!(before < wrong && wrong < right, "{before} {wrong} {right}");
    assert!(wrong.time().since(START) < 5 * MINUTE, "{}", wrong.time());
    assert_eq!(right.time(), START.plus(5 * MINUTE));
}

#[test]
fn ids_have_the_right_time_soon_after_a_long_time_without_the_server() {
    let mut machine = Machine::new();
    machine.publish(EventType::ClockOut);
    machine.down_for(SIXTY_DAYS);
    machine.at_work_for(5 * MINUTE);
    assert_eq!(machine.publish(EventType::ClockOut).time(), machine.clock().wall());
    machine.down_for(2 * DAY);
    assert_eq!(machine.publish(EventType::ClockOut).time(), machine.clock().wall(), "a weekend is not doubted");
}

#[test]
fn a_retry_waits_as_long_as_it_was_to_by_the_time_of_the_server() {
    for (name, wall) in [("ahead or down", START.plus(SIXTY_DAYS)), ("back", START.minus(SIXTY_DAYS))] {
        let mut machine = Machine::new();
        let subscription = machine.subscribe("crm.example.com");
        machine.fail(subscription, FAILED);
        machine.at_work_for(HOUR);
        machine.killed_and_set_to(wall);
        let now = machine.clock().monotonic();
        let due = machine.reader().view().retries(subscription, now, 1).unwrap()[0].due;
        let left = due.since(now);
        assert!(left + HOUR >= WAIT && left + HOUR <= WAIT.mul_f64(1.1) + MINUTE, "{name}: {left:?}");
        let shown = machine.clock().read().on_the_wall(due);
        assert_eq!(shown.since(machine.clock().wall()), left, "{name}");
    }
}

#[test]
fn a_stop_of_minutes_or_a_day_holds_no_retry_back() {
    for (down, left_out) in [(10 * MINUTE, false), (DAY, true)] {
        let mut machine = Machine::new();
        let subscription = machine.subscribe("crm.example.com");
        machine.fail(subscription, FAILED);
        machine.down_for(down);
        let due = machine.reader().view().retries(subscription, START, 1).unwrap()[0].due;
        assert!(due.since(machine.clock().monotonic()) <= WAIT.mul_f64(1.1).saturating_sub(down));
        assert_eq!(!machine.left_out().is_zero(), left_out);
    }
}

#[test]
fn a_restored_backup_is_as_old_as_it_was_and_ids_go_on_after_what_it_replaced() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("crm.example.com");
    let old = machine.deliver(subscription);
    machine.at_work_for(20 * DAY);
    let backup = machine.folder.path().join("old.bak");
    let made_at = machine.clock().wall();
    machine.reader().back_up(std::fs::File::create(&backup).unwrap(), made_at, &mut |_, _| {}).unwrap();
    machine.at_work_for(DAY);
    let lost = machine.publish(EventType::ClockOut);
    machine.kill();
    machine.time.pass(SIXTY_DAYS);
    let folder = machine.settings.data_dir.clone();
    crate::storage::redb::copy::restore::restore(&backup, &folder, (machine.clock().wall(), "test"), &mut |_, _| {})
        .unwrap();
    machine.start();
    machine.at_work_for(9 * DAY);
    assert!(machine.has(old), "20 days before the backup and 9 after the restore");
    let new = machine.publish(EventType::ClockOut);
    assert!(new > lost, "{new} and {lost}");
    assert_eq!(new.time(), machine.clock().wall());
    machine.at_work_for(2 * DAY);
    assert!(!machine.has(old), "after 31 days");
}
