//! What the back-off promises, answer by answer.

use proptest::prelude::*;

use crate::delivery::schedule::backoff::*;

/// An endpoint with its back-off, at some time.
struct Endpoint {
    backoff: Backoff,
    now: Timestamp,
    under_way: usize,
}

impl Endpoint {
    fn new() -> Self {
        Self { backoff: Backoff::default(), now: Timestamp::from_ms(1_000_000), under_way: 0 }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(Duration::from_millis(ms));
    }

    fn hold(&self) -> Option<Hold> {
        self.backoff.hold(self.now, self.under_way)
    }

    /// Waits until an attempt may begin, and begins it.
    fn send(&mut self) -> Turn {
        while let Some(Hold::Paced(until) | Hold::Resting(until)) = self.hold() {
            self.now = until;
        }
        assert_eq!(self.hold(), None);
        self.under_way += 1;
        self.backoff.sent(self.now, self.under_way, true)
    }

    fn take(&mut self, turn: Turn) {
        self.under_way -= 1;
        self.backoff.taken(turn, self.now, self.under_way);
    }

    fn push_back(&mut self, turn: Turn, retry_after_s: Option<u64>) {
        self.under_way -= 1;
        self.backoff.pushed_back(turn, self.now, retry_after_s.map(Duration::from_secs), self.under_way);
    }

    /// So many attempts one after the other are pushed back.
    fn push_back_in_a_row(&mut self, asked_s: &[Option<u64>]) {
        for retry_after_s in asked_s {
            let turn = self.send();
            self.push_back(turn, *retry_after_s);
        }
    }

    fn rest(&self) -> Option<Duration> {
        match self.hold() {
            Some(Hold::Resting(until)) => Some(until.since(self.now)),
            _ => None,
        }
    }
}

#[test]
fn an_endpoint_that_does_not_push_back_is_held_to_nothing() {
    let mut endpoint = Endpoint::new();
    for _ in 0..1000 {
        let turns: Vec<Turn> = (0..256).map(|_| endpoint.send()).collect();
        for turn in turns {
            endpoint.take(turn);
        }
    }
    assert_eq!(endpoint.now, Endpoint::new().now);
}

#[test]
fn after_five_pushbacks_in_a_row_it_rests_until_the_earliest_time_asked_for_and_begins_with_one() {
    let mut endpoint = Endpoint::new();
    let begun = endpoint.now;
    endpoint.push_back_in_a_row(&[Some(100), Some(30), None, Some(60)]);
    assert_eq!(endpoint.rest(), None, "four are not five");
    assert!(matches!(endpoint.hold(), Some(Hold::Paced(_))), "it goes on, slower");
    endpoint.push_back_in_a_row(&[Some(100)]);
    let Some(Hold::Resting(until)) = endpoint.hold() else { panic!("{:?}", endpoint.hold()) };
    let waited = until.since(begun);
    assert!((Duration::from_secs(30)..Duration::from_secs(35)).contains(&waited), "{waited:?}");

    let probe = endpoint.send();
    assert_eq!((endpoint.now, endpoint.hold()), (until, Some(Hold::Full)), "it begins with one");
    endpoint.push_back(probe, Some(7));
    assert_eq!(endpoint.rest(), Some(Duration::from_secs(7)), "what was asked for before is over");
    let probe = endpoint.send();
    endpoint.take(probe);
    assert_eq!(endpoint.rest(), None);
    endpoint.push_back_in_a_row(&[Some(50); 4]);
    assert_eq!(endpoint.rest(), None, "it counts from one again");
}

#[test]
fn an_answer_in_between_breaks_the_row() {
    let mut endpoint = Endpoint::new();
    for _ in 0..10 {
        endpoint.push_back_in_a_row(&[Some(60); 4]);
        let turn = endpoint.send();
        endpoint.take(turn);
        assert_eq!(endpoint.rest(), None);
    }
}

#[test]
fn five_that_were_under_way_together_are_five_in_a_row() {
    let mut endpoint = Endpoint::new();
    let turns: Vec<Turn> = (0..16).map(|_| endpoint.send()).collect();
    for (turn, asked_s) in turns.into_iter().zip([9, 3, 9, 9, 5, 2, 60, 60].into_iter().cycle()) {
        endpoint.push_back(turn, Some(asked_s));
    }
    assert_eq!(endpoint.rest(), Some(Duration::from_secs(3)));
}

#[test]
fn without_a_word_from_the_endpoint_rests_double_up_to_half_a_minute() {
    let mut endpoint = Endpoint::new();
    endpoint.push_back_in_a_row(&[None; 5]);
    let mut backoffs = Vec::new();
    for _ in 0..8 {
        backoffs.push(endpoint.rest().unwrap().as_secs());
        endpoint.push_back_in_a_row(&[None]);
    }
    assert_eq!(backoffs, [1, 2, 4, 8, 16, 30, 30, 30]);
    let turn = endpoint.send();
    endpoint.take(turn);
    endpoint.push_back_in_a_row(&[None; 5]);
    assert_eq!(endpoint.rest(), Some(BACKOFF_MIN), "something got through in between");
}

#[test]
fn a_rest_that_was_asked_for_as_none_is_one_all_the_same() {
    let mut endpoint = Endpoint::new();
    endpoint.push_back_in_a_row(&[Some(0); 5]);
    assert_eq!(endpoint.rest(), Some(BACKOFF_MIN));
}

#[test]
fn a_hiccup_among_many_answers_slows_nobody_down() {
    let mut endpoint = Endpoint::new();
    for _ in 0..20 {
        for _ in 0..200 {
            let turn = endpoint.send();
            endpoint.take(turn);
            endpoint.pass(1);
        }
        let turn = endpoint.send();
        endpoint.push_back(turn, None);
        assert_eq!(endpoint.hold(), None);
    }
}

#[test]
fn a_limit_is_forgotten_when_nothing_is_pushed_back_for_a_while() {
    let mut endpoint = Endpoint::new();
    endpoint.push_back_in_a_row(&[Some(1); 3]);
    let begun = endpoint.now;
    while endpoint.hold().is_some() || endpoint.backoff.limits.is_some() {
        let turn = endpoint.send();
        endpoint.take(turn);
        assert!(endpoint.now.since(begun) < Duration::from_secs(15), "it still holds");
    }
    // The same if there was nothing to send.
    endpoint.push_back_in_a_row(&[Some(1); 3]);
    let turn = endpoint.send();
    endpoint.take(turn);
    let turn = endpoint.backoff.sent(endpoint.now, 1, false);
    endpoint.backoff.taken(turn, endpoint.now, 0);
    endpoint.pass(60_000);
    let turn = endpoint.send();
    endpoint.take(turn);
    assert!(endpoint.backoff.limits.is_none());
}

#[test]
fn an_endpoint_that_pushes_back_however_little_it_gets_is_not_slowed_down_for_ever() {
    let mut endpoint = Endpoint::new();
    let begun = endpoint.now;
    for number in 0..2000 {
        let turn = endpoint.send();
        if number % 4 == 3 { endpoint.push_back(turn, None) } else { endpoint.take(turn) }
    }
    let took = endpoint.now.since(begun);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn an_attempt_that_was_to_find_out_and_never_arrived_holds_up_nothing() {
    let mut endpoint = Endpoint::new();
    endpoint.push_back_in_a_row(&[Some(1); 2]);
    for _ in 0..3 {
        let turn = endpoint.send();
        assert_eq!(endpoint.hold(), Some(Hold::Full), "it is awaited");
        endpoint.under_way -= 1;
        endpoint.backoff.ended(turn);
    }
    let turn = endpoint.send();
    endpoint.take(turn);
    endpoint.send();
}

proptest! {
    /// With nothing under way something may always begin, now or at a time that comes.
    #[test]
    fn it_never_comes_to_a_standstill(answers in prop::collection::vec((0..4_u8, 0..20_u64, 0..3000_u64), 0..300)) {
        let mut endpoint = Endpoint::new();
        let mut under_way = std::collections::VecDeque::new();
        for (what, asked_s, ms) in answers {
            endpoint.pass(ms);
            let hold = endpoint.hold();
            match (what, under_way.pop_front()) {
                (0 | 1, turn) => {
                    under_way.extend(turn);
                    if hold.is_none() {
                        let turn = endpoint.send();
                        under_way.push_back(turn);
                    }
                }
                (2, Some(turn)) => endpoint.take(turn),
                (_, Some(turn)) => endpoint.push_back(turn, (asked_s > 0).then_some(asked_s)),
                (_, None) => {}
            }
            if endpoint.under_way == 0 {
                let latest = endpoint.now.plus(Duration::from_mins(1));
                let may_begin = match endpoint.hold() {
                    None => true,
                    Some(Hold::Paced(until) | Hold::Resting(until)) => until <= latest,
                    Some(Hold::Full) => false,
                };
                prop_assert!(may_begin, "{:?} at {}", endpoint.hold(), endpoint.now);
            }
        }
    }
}
