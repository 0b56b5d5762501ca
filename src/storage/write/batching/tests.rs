//! What the policy decides for what waits, and what it learns from how long commits take.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn share(reason: Reason, delivered: bool, failed: usize) -> Next {
    let replayed = if reason == Reason::Caller { REPLAYED_BESIDE_CALLERS } else { usize::MAX };
    Next::Commit(Share { reason, delivered, failed, replayed })
}

fn next(waiting: Waiting, now: Instant) -> Next {
    Batching::default().next(&waiting, now + Duration::from_mins(10), now)
}

#[test]
fn a_caller_never_waits_and_takes_along_only_what_is_due() {
    let now = Instant::now();
    let asked = Waiting { commands: 1, ..Waiting::default() };
    assert_eq!(next(asked, now), share(Reason::Caller, false, 0));
    let beside = Waiting { delivered: 31, delivered_since: Some(now), ..asked };
    assert_eq!(next(beside, now), share(Reason::Caller, false, 0));
    assert_eq!(next(beside, now + DELIVERED_DELAY), share(Reason::Caller, true, 0));
    assert_eq!(next(Waiting { delivered: 32, ..beside }, now), share(Reason::Caller, true, 0));
    assert_eq!(next(Waiting { commands: 8, ..beside }, now), share(Reason::Crowd, true, 0));
    assert_eq!(next(Waiting { is_ordered: true, ..beside }, now), share(Reason::Order, true, usize::MAX));
}

#[test]
fn outcomes_wait_for_their_delay_or_for_enough_of_their_kind() {
    let now = Instant::now();
    let delivered = Waiting { delivered: 1, delivered_since: Some(now), ..Waiting::default() };
    assert_eq!(next(delivered, now), Next::WaitUntil(now + DELIVERED_DELAY));
    assert_eq!(next(delivered, now + DELIVERED_DELAY), share(Reason::Delay, true, 0));
    assert_eq!(next(Waiting { delivered: 32, ..delivered }, now), share(Reason::Enough, true, 0));
    let failed = Waiting { failed: 1, failed_since: Some(now), ..Waiting::default() };
    assert_eq!(next(failed, now + DELIVERED_DELAY), Next::WaitUntil(now + FAILED_DELAY));
    assert_eq!(next(failed, now + FAILED_DELAY), share(Reason::Delay, true, FAILED_MIN));
    assert_eq!(next(Waiting { failed: OUTCOMES, ..failed }, now), share(Reason::Enough, true, FAILED_MIN));
    // What is left of those is not kept waiting again, and what came later has its own delay.
    assert_eq!(next(Waiting { failed_due: 1, ..failed }, now), share(Reason::Enough, true, FAILED_MIN));
}

#[test]
fn with_nothing_that_waits_there_is_housekeeping_and_at_last_an_end() {
    let now = Instant::now();
    let (nothing, later) = (Waiting::default(), now + Duration::from_mins(10));
    assert_eq!(next(nothing, now), Next::WaitUntil(later));
    assert_eq!(Batching::default().next(&nothing, later, later), share(Reason::Idle, true, 0));
    assert_eq!(next(Waiting { is_closed: true, ..nothing }, now), Next::End);
    let left = Waiting { failed: 1, failed_since: Some(now), is_closed: true, ..nothing };
    assert_eq!(next(left, now), share(Reason::End, true, usize::MAX));
}

#[test]
fn while_callers_keep_coming_replayed_deliveries_are_a_small_part_of_other_commits() {
    let now = Instant::now();
    let replayed = |next: Next| match next {
        Next::Commit(Share { replayed, .. }) => replayed,
        other => panic!("{other:?}"),
    };
    let until = now + 50 * MS;
    let waiting =
        Waiting { replayed: 100, replayed_since: Some(now), callers_until: Some(until), ..Waiting::default() };
    assert_eq!(next(waiting, now + 49 * MS), Next::WaitUntil(until));
    assert_eq!(replayed(next(Waiting { commands: 1, ..waiting }, now)), REPLAYED_BESIDE_CALLERS);
    assert_eq!(replayed(next(Waiting { delivered: 32, ..waiting }, now)), REPLAYED_BESIDE_CALLERS);
    // A commit for many callers is long anyway.
    assert_eq!(replayed(next(Waiting { commands: 8, ..waiting }, now)), usize::MAX);
    // Nobody comes any more, or nobody has come: they are like other outcomes.
    assert_eq!(replayed(next(waiting, until)), usize::MAX);
    let alone = Waiting { replayed: 1, callers_until: None, ..waiting };
    assert_eq!(next(alone, now), Next::WaitUntil(now + DELIVERED_DELAY));
    assert_eq!(replayed(next(alone, now + DELIVERED_DELAY)), usize::MAX);
    assert_eq!(replayed(next(Waiting { replayed: 32, ..alone }, now)), usize::MAX);
}

fn done(reason: Reason, failed: usize, took: Duration) -> Done {
    Done { reason, events: 1, outcomes: failed, failed, never_attempted: 0, took }
}

#[test]
fn when_publishing_outruns_delivering_the_next_commit_waits_for_more_unless_it_is_full() {
    let now = Instant::now();
    let mut batching = Batching::default();
    let large = Done { events: 8, outcomes: 8, never_attempted: UNATTEMPTED_MAX, ..done(Reason::Crowd, 0, 3 * MS) };
    batching.committed(&large, now);
    let next = |waiting: Waiting, now| batching.next(&waiting, now + Duration::from_mins(10), now);
    let asked = Waiting { commands: 1, ..Waiting::default() };
    assert_eq!(next(asked, now), Next::WaitUntil(now + 3 * MS));
    assert_eq!(next(asked, now + 3 * MS), share(Reason::Caller, false, 0));
    for full in [
        Waiting { commands: COMMANDS, ..asked },
        Waiting { deliveries: DELIVERIES, ..asked },
        Waiting { delivered: OUTCOMES, ..asked },
        Waiting { failed: OUTCOMES, ..asked },
    ] {
        assert!(matches!(next(full, now), Next::Commit(_)), "{full:?}");
    }
    batching.committed(&Done { never_attempted: UNATTEMPTED_MAX - 1, ..large }, now);
    assert!(batching.rest_until.is_none());
}

/// A disk on which each commit takes `fixed`, and each failed attempt in it `each` more. Gives how many go with a
/// commit after a while, and the longest commit.
fn settled(fixed: Duration, each: Duration) -> (usize, Duration) {
    let mut batching = Batching::default();
    let mut now = Instant::now();
    let waiting = Waiting { commands: 1, failed_due: OUTCOMES, ..Waiting::default() };
    let mut longest = Duration::ZERO;
    for _ in 0..500 {
        let Next::Commit(Share { reason, failed, .. }) = batching.next(&waiting, now, now) else {
            panic!("a caller waits")
        };
        let took = fixed + each * u32::try_from(failed).unwrap();
        longest = longest.max(took);
        now += took;
        batching.committed(&done(reason, failed, took), now);
    }
    (batching.failures.rows, longest)
}

#[test]
fn as_many_failures_go_with_a_commit_as_it_hardly_gets_longer_by() {
    let (rows, longest) = settled(20 * MS, MS / 20);
    assert!((50..=116).contains(&rows), "{rows}");
    assert!(longest <= 26 * MS, "{longest:?}");
    // On a fast disk each of them counts, and the fewest are taken.
    let (rows, longest) = settled(MS / 2, MS / 20);
    assert_eq!((rows, longest), (FAILED_MIN, MS / 2 + 16 * MS / 20));
    let (rows, _) = settled(200 * MS, MS / 100);
    assert_eq!(rows, OUTCOMES);
}

#[test]
fn how_long_a_commit_takes_without_failures_is_measured_again_and_again() {
    let now = Instant::now();
    let mut batching = Batching::default();
    let waiting = Waiting { commands: 1, failed_due: 100, ..Waiting::default() };
    let failed = |batching: &Batching, now| match batching.next(&waiting, now, now) {
        Next::Commit(Share { failed, .. }) => failed,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(&batching, now), 0);
    batching.committed(&done(Reason::Caller, 0, MS), now);
    assert_eq!(failed(&batching, now), FAILED_MIN);
    assert_eq!(failed(&batching, now + MEASURE_EVERY), 0);
    // One commit that stands out does not count, and what has become the rule does.
    (0..3).for_each(|_| batching.committed(&done(Reason::Caller, 0, 100 * MS), now));
    batching.committed(&done(Reason::Caller, FAILED_MIN, 100 * MS), now);
    assert_eq!(failed(&batching, now), FAILED_MIN);
    batching.committed(&done(Reason::Caller, 0, 100 * MS), now);
    batching.committed(&done(Reason::Caller, FAILED_MIN, 100 * MS), now);
    assert_eq!(failed(&batching, now), 2 * FAILED_MIN);
}

#[test]
fn failures_go_with_commits_for_many_callers_and_without_callers_too() {
    let now = Instant::now();
    let waiting = Waiting { failed_due: 100, ..Waiting::default() };
    assert_eq!(next(Waiting { commands: 8, ..waiting }, now), share(Reason::Crowd, true, FAILED_MIN));
    assert_eq!(next(waiting, now), share(Reason::Enough, true, FAILED_MIN));
    let mut batching = Batching::default();
    batching.committed(&done(Reason::Enough, FAILED_MIN, MS), now);
    batching.committed(&done(Reason::Enough, FAILED_MIN, MS), now);
    assert_eq!(batching.failures.rows, 2 * FAILED_MIN);
}
