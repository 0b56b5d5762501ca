//! Decides in which order the addresses of a name are dialled, and when the next one is begun beside those that do not
//! answer (RFC 8305). Pure: the time that has passed is an argument.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long one address has before the next is begun beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// How many are dialled beside each other; beyond it the oldest is given up, which has had four head starts.
pub(in crate::delivery) const AT_A_TIME: usize = 4;

/// The order in which to dial: the two families in turn, beginning with that of the first address, as the C library
/// prefers it. Those that failed lately come last, the latest failure at the end.
pub(in crate::delivery) fn in_order(
    addresses: &[SocketAddr],
    failed_at: impl Fn(&SocketAddr) -> Option<Instant>,
) -> Vec<SocketAddr> {
    let mut failed = Vec::new();
    let mut families = [VecDeque::new(), VecDeque::new()];
    let is_second = |address: &SocketAddr| addresses.first().is_some_and(|first| first.is_ipv4() != address.is_ipv4());
    for address in addresses {
        match failed_at(address) {
            Some(at) => failed.push((at, *address)),
            None => families[usize::from(is_second(address))].push_back(*address),
        }
    }
    let mut ordered = Vec::with_capacity(addresses.len());
    while families.iter().any(|family| !family.is_empty()) {
        ordered.extend(families.iter_mut().filter_map(VecDeque::pop_front));
    }
    failed.sort_by_key(|(at, _)| *at);
    ordered.extend(failed.into_iter().map(|(_, address)| address));
    ordered
}

/// Which of so many addresses are being dialled. They are known by their place in the order.
#[derive(Debug)]
pub(in crate::delivery) struct Race {
    count: usize,
    next: usize,
    /// When the next one may begin.
    next_at: Duration,
    /// The one that began first in front.
    dialled: VecDeque<usize>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Step {
    /// Begin to dial this one.
    Dial(usize),
    /// Stop dialling this one.
    GiveUp(usize),
    /// Wait for those that are dialled, until the next one is to begin, if there is one.
    Wait(Option<Duration>),
    /// None is left.
    Lost,
}

impl Race {
    /// Of so many addresses, none of which is dialled yet.
    pub(in crate::delivery) fn new(count: usize) -> Self {
        Self { count, next: 0, next_at: Duration::ZERO, dialled: VecDeque::new() }
    }

    /// What to do when so much time has passed since the first step.
    pub(in crate::delivery) fn step(&mut self, passed: Duration) -> Step {
        if self.next >= self.count {
            return if self.dialled.is_empty() { Step::Lost } else { Step::Wait(None) };
        }
        if passed < self.next_at && !self.dialled.is_empty() {
            return Step::Wait(Some(self.next_at));
        }
        if self.dialled.len() >= AT_A_TIME
            && let Some(oldest) = self.dialled.pop_front()
        {
            return Step::GiveUp(oldest);
        }
        let dialled = self.next;
        self.dialled.push_back(dialled);
        self.next += 1;
        self.next_at = passed + HEAD_START;
        Step::Dial(dialled)
    }

    /// This one cannot be reached, so the next one begins at once.
    pub(in crate::delivery) fn failed(&mut self, failed: usize) {
        self.dialled.retain(|dialled| *dialled != failed);
        self.next_at = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 443)).collect()
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_families_take_turns_beginning_with_the_first() {
        let found = all(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"]);
        let wanted = all(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]);
        assert_eq!(in_order(&found, |_| None), wanted);
        let found = all(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        assert_eq!(in_order(&found, |_| None), all(&["192.0.2.1", "2001:db8::1", "192.0.2.2"]));
    }

    #[test]
    fn what_failed_lately_comes_last_however_many_there_are() {
        let found: Vec<SocketAddr> = (0..40).map(|number| SocketAddr::from(([192, 0, 2, number], 443))).collect();
        let now = Instant::now();
        let (first, second) = (found[0], found[1]);
        let failed_at = |address: &SocketAddr| match *address {
            address if address == first => Some(now + MS(5)),
            address if address == second => Some(now),
            _ => None,
        };
        let ordered = in_order(&found, failed_at);
        assert_eq!(ordered.len(), 40);
        assert_eq!((ordered[0], ordered[38], ordered[39]), (found[2], second, first));
    }

    #[test]
    fn one_address_has_all_the_time() {
        let mut race = Race::new(1);
        assert_eq!(race.step(MS(0)), Step::Dial(0));
        assert_eq!(race.step(MS(60_000)), Step::Wait(None));
        race.failed(0);
        assert_eq!(race.step(MS(60_000)), Step::Lost);
    }

    #[test]
    fn the_next_begins_beside_one_that_does_not_answer_and_at_once_after_one_that_refuses() {
        let mut race = Race::new(3);
        assert_eq!(race.step(MS(0)), Step::Dial(0));
        assert_eq!(race.step(MS(0)), Step::Wait(Some(MS(250))));
        assert_eq!(race.step(MS(250)), Step::Dial(1));
        assert_eq!(race.step(MS(251)), Step::Wait(Some(MS(500))));
        race.failed(1);
        assert_eq!(race.step(MS(252)), Step::Dial(2));
        assert_eq!(race.step(MS(600)), Step::Wait(None));
    }

    #[test]
    fn nobody_waits_longer_than_a_second_for_each_that_does_not_answer() {
        let mut race = Race::new(100);
        let (mut passed, mut dialled, mut at_a_time) = (MS(0), 0, 0_usize);
        loop {
            match race.step(passed) {
                Step::Dial(number) => {
                    assert_eq!(number, dialled, "each once, in order");
                    assert!(passed <= MS(1000) * u32::try_from(number).unwrap());
                    dialled += 1;
                    at_a_time += 1;
                }
                Step::GiveUp(_) => at_a_time -= 1,
                Step::Wait(Some(until)) => passed = until,
                Step::Wait(None) => break,
                Step::Lost => panic!("some are still dialled"),
            }
            assert!(at_a_time <= AT_A_TIME);
        }
        assert_eq!(dialled, 100);
    }
}
