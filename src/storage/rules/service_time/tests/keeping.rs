//! What is kept, and until when.

use crate::storage::rules::service_time::tests::*;

#[test]
fn a_start_with_the_clock_sixty_days_ahead_takes_nothing_away() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("crm.example.com");
    let (delivered, alone) = (machine.deliver(subscription), machine.publish(EventType::ClockOut));
    machine.killed_and_set_to(START.plus(SIXTY_DAYS));
    machine.at_work_for(4 * MINUTE);
    assert!(machine.has(delivered) && machine.has(alone));
    let attempts =
        machine.reader().view().delivery(DeliveryId { event: delivered, subscription }).unwrap().unwrap().attempts;
    assert_eq!(attempts.len(), 1);
    machine.killed_and_set_to(START.plus(4 * MINUTE));
    machine.at_work_for(29 * DAY);
    assert!(machine.has(delivered) && machine.has(alone), "29 days are not over yet, whatever the clock said before");
    machine.at_work_for(2 * DAY);
    assert!(!machine.has(delivered) && !machine.has(alone), "31 days at work are over");
}

#[test]
fn a_secret_outlives_a_clock_that_is_ahead_and_is_wiped_a_week_of_work_after_its_end() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("crm.example.com");
    let secret = SigningSecret::from_random(&[2; 32]);
    let previous_valid_until = START.plus(DAY);
    machine.ask(|reply| Command::RotateSecret { account: OWN, id: subscription, secret, previous_valid_until, reply });
    let kept = |machine: &Machine| machine.reader().registry().subscription(subscription).unwrap().keys.previous.len();
    machine.killed_and_set_to(START.plus(SIXTY_DAYS));
    machine.at_work_for(4 * MINUTE);
    assert_eq!(kept(&machine), 1);
    machine.killed_and_set_to(START.plus(4 * MINUTE));
    machine.down_for(SIXTY_DAYS);
    machine.at_work_for(6 * DAY);
    assert_eq!(kept(&machine), 1, "what was down could not be mended");
    machine.at_work_for(2 * DAY);
    assert_eq!(kept(&machine), 0);
}

#[test]
fn days_without_the_server_count_for_nothing_and_days_with_it_do() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("crm.example.com");
    let (delivered, alone) = (machine.deliver(subscription), machine.publish(EventType::ClockOut));
    machine.at_work_for(10 * DAY);
    machine.down_for(SIXTY_DAYS);
    machine.at_work_for(19 * DAY);
    assert!(machine.has(delivered) && machine.has(alone), "29 of 89 days at work");
    machine.at_work_for(2 * DAY);
    assert!(!machine.has(delivered) && !machine.has(alone), "31 of 91 days at work");
}

#[test]
fn a_clock_that_leaps_forward_and_back_while_running_takes_nothing_away_and_keeps_nothing_for_long() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("crm.example.com");
    let (delivered, alone) = (machine.deliver(subscription), machine.publish(EventType::ClockOut));
    machine.at_work_for(DAY);
    let right = machine.clock().wall();
    machine.time.set_wall(right.plus(SIXTY_DAYS));
    machine.at_work_for(MINUTE);
    machine.at_work_for(HOUR);
    assert!(machine.has(delivered) && machine.has(alone));
    machine.time.set_wall(right.plus(HOUR + MINUTE));
    machine.at_work_for(27 * DAY);
    assert!(machine.has(delivered) && machine.has(alone), "after 28 days");
    // It was believed, so the calendar stands until it is reached; then it goes on.
    machine.at_work_for(70 * DAY);
    assert!(!machine.has(delivered) && !machine.has(alone));
}

#[test]
fn a_clock_that_is_set_back_keeps_nothing_longer_than_until_it_has_caught_up() {
    let mut machine = Machine::new();
    let alone = machine.publish(EventType::ClockOut);
    machine.at_work_for(DAY);
    machine.time.set_wall(START.plus(HOUR));
    machine.at_work_for(29 * DAY);
    assert!(machine.has(alone));
    machine.at_work_for(DAY + HOUR);
    assert!(!machine.has(alone));
}

#[test]
fn a_confirmed_clock_lets_retention_go_on_at_once() {
    for name in ["down", "ahead, believed", "ahead, doubted"] {
        let mut machine = Machine::new();
        let old = machine.publish(EventType::ClockOut);
        machine.at_work_for(DAY);
        let wall = machine.clock().wall().plus(SIXTY_DAYS);
        match name {
            "down" => machine.down_for(SIXTY_DAYS),
            _ => machine.killed_and_set_to(wall),
        }
        if name != "ahead, doubted" {
            machine.at_work_for(HOUR);
        }
        let new = machine.publish(EventType::ClockOut);
        assert!(machine.has(old), "{name}");
        let counted = machine.confirm();
        assert!(counted <= SIXTY_DAYS + HOUR && counted + HOUR >= SIXTY_DAYS, "{name}: {counted:?}");
        assert!(!machine.has(old), "{name}: it is still there");
        assert!(machine.has(new), "{name}: what is new is gone");
        assert_eq!(machine.left_out(), Duration::ZERO, "{name}");
        let next = machine.publish(EventType::ClockOut);
        assert!(machine.clock().wall().since(next.time()) < MINUTE, "{name}: {}", next.time());
        machine.down_for(MINUTE);
        assert_eq!(machine.left_out(), Duration::ZERO, "{name}: it is noted");
    }
}

#[test]
fn a_store_that_is_killed_has_been_at_work_until_then() {
    let mut busy = Machine::new();
    for _ in 0..60 {
        busy.time.pass(MINUTE);
        busy.publish(EventType::ClockOut);
    }
    busy.down_for(5 * MINUTE);
    assert_eq!(busy.left_out(), Duration::ZERO);
    let mut idle = Machine::new();
    for _ in 0..6 {
        idle.at_work_for(10 * MINUTE);
    }
    idle.time.pass(9 * MINUTE);
    idle.down_for(MINUTE);
    assert_eq!(idle.left_out(), Duration::ZERO);
}

#[test]
fn what_an_earlier_version_left_is_not_taken_away_by_the_first_start_of_this_one() {
    for names in [&["steady_ms"][..], &["steady_ms", "seen_ms"]] {
        let mut machine = Machine::new();
        let subscription = machine.subscribe("crm.example.com");
        let (delivered, alone) = (machine.deliver(subscription), machine.publish(EventType::ClockOut));
        machine.fail(subscription, FAILED);
        machine.forget_what_this_version_notes(names);
        machine.killed_and_set_to(START.plus(SIXTY_DAYS));
        machine.at_work_for(DAY);
        assert!(machine.has(delivered) && machine.has(alone), "without {names:?}");
        let now = machine.clock().monotonic();
        assert!(machine.reader().view().retries(subscription, now, 1).unwrap()[0].due <= START.plus(WAIT.mul_f64(1.1)));
        machine.at_work_for(30 * DAY);
        assert!(!machine.has(delivered) && !machine.has(alone), "without {names:?}: 31 days are over");
    }
}

#[test]
fn an_outage_that_never_ends_does_not_keep_everything_for_ever() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("a.example.com");
    let old = machine.deliver(subscription);
    for _ in 0..59 {
        machine.fail(subscription, Outcome::ConnectFailed(NO_ROUTE.to_owned()));
        machine.at_work_for(DAY);
    }
    assert!(machine.has(old), "after 59 days");
    for _ in 0..3 {
        machine.fail(subscription, Outcome::ConnectFailed(NO_ROUTE.to_owned()));
        machine.at_work_for(DAY);
    }
    assert!(!machine.has(old), "after 62 days: twice as long as without");
}

#[test]
fn a_store_that_a_command_has_opened_loses_nothing() {
    let mut machine = Machine::new();
    let subscription = machine.subscribe("crm.example.com");
    let old = machine.deliver(subscription);
    machine.at_work_for(DAY);
    machine.kill();
    machine.settings.rules.retention = RetentionRule { events: HOUR, idempotency: HOUR, attempts: HOUR, held: HOUR };
    let listeners = Listeners { committed: Box::new(|_, _| {}), failed: Box::new(|error| panic!("{error}")) };
    let store = Opened::open(&machine.settings, machine.clock()).unwrap().start_for_a_command(listeners).unwrap();
    for _ in 0..5 {
        let (reply, answer) = oneshot::channel();
        store.writer.try_send(Command::Flush { reply }).unwrap();
        answer.blocking_recv().unwrap().unwrap();
    }
    assert!(store.reader.view().event(OWN, old).unwrap().is_some(), "a command has taken it away");
    drop((store.writer, store.reader));
    store.thread.join().unwrap();
    machine.start();
    assert!(!machine.has(old), "the server takes it away");
}
