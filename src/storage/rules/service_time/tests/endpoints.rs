//! Which endpoints are switched off, and which are not.

use crate::storage::rules::service_time::tests::*;

#[test]
fn no_endpoint_is_switched_off_for_time_in_which_it_was_not_tried() {
    for name in ["down", "ahead at the start", "ahead while running"] {
        let mut machine = Machine::new();
        let subscription = machine.subscribe("crm.example.com");
        for _ in 0..4 {
            machine.fail(subscription, FAILED);
            machine.at_work_for(HOUR);
        }
        match name {
            "down" => machine.down_for(SIXTY_DAYS),
            "ahead at the start" => machine.killed_and_set_to(START.plus(SIXTY_DAYS)),
            _ => machine.time.set_wall(START.plus(SIXTY_DAYS)),
        }
        machine.at_work_for(HOUR);
        machine.fail(subscription, FAILED);
        assert!(machine.is_on(subscription), "{name}");
        machine.confirm();
        machine.fail(subscription, FAILED);
        assert!(machine.is_on(subscription), "{name}, confirmed");
        for _ in 0..6 {
            machine.at_work_for(DAY);
            machine.fail(subscription, FAILED);
        }
        assert!(!machine.is_on(subscription), "{name}: after six days at work");
    }
}

#[test]
fn two_failures_a_week_apart_do_not_switch_a_quiet_endpoint_off() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("crm.example.com");
    let may = machine.fail(subscription, FAILED);
    for _ in 0..9 {
        machine.attempt(subscription, may, FAILED);
        machine.at_work_for(MINUTE);
    }
    machine.at_work_for(7 * DAY);
    machine.fail(subscription, FAILED);
    assert!(machine.is_on(subscription));
}

#[test]
fn an_outage_of_this_machines_network_counts_neither_against_endpoints_nor_for_retention() {
    let no_route = || Outcome::ConnectFailed(NO_ROUTE.to_owned());
    let silent = || Outcome::TimedOut(Phase::Connect);
    for (name, hosts, outcome) in [
        ("no route", &["a.example.com"][..], &no_route as &dyn Fn() -> Outcome),
        ("no answer from anybody", &["a.example.com", "b.example.com"], &silent),
    ] {
        let mut machine = Machine::new();
        let subscriptions: Vec<_> = hosts.iter().map(|host| machine.subscribe(host)).collect();
        let old = machine.publish(EventType::ClockIn);
        for subscription in &subscriptions {
            machine.attempt(*subscription, old, OK);
        }
        for _ in 0..20 * 4 {
            let event = machine.publish(EventType::ClockIn);
            for subscription in &subscriptions {
                machine.attempt(*subscription, event, outcome());
            }
            machine.at_work_for(6 * HOUR);
        }
        assert!(subscriptions.iter().all(|id| machine.is_on(*id)), "{name}: 20 days without a network");
        let left_out = machine.left_out();
        assert!(left_out > 19 * DAY && left_out <= 20 * DAY, "{name}: {left_out:?}");
        machine.fail(subscriptions[0], FAILED);
        assert!(machine.is_on(subscriptions[0]), "{name}: the first failure after it");
        machine.at_work_for(28 * DAY);
        assert!(machine.has(old), "{name}: after 28 days with a network");
        machine.at_work_for(3 * DAY);
        assert!(!machine.has(old), "{name}: after 31 days with a network");
    }
}

#[test]
fn one_endpoint_that_does_not_answer_is_switched_off_while_others_do_and_when_it_is_alone() {
    for has_other in [false, true] {
        let mut machine = Machine::new();
        let silent = machine.subscribe("a.example.com");
        let other = has_other.then(|| machine.subscribe("b.example.com"));
        for _ in 0..6 {
            machine.fail(silent, Outcome::TimedOut(Phase::Connect));
            if let Some(other) = other {
                machine.deliver(other);
            }
            machine.at_work_for(DAY);
        }
        assert!(!machine.is_on(silent));
        assert_eq!(machine.left_out(), Duration::ZERO);
    }
}
