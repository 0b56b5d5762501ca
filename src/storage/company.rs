//! Outcomes wait here for company, as nobody waits for them: a page that many of them touch is written once for all.
//! Lives in the writer, on its thread. It never keeps anything from whoever waits for an answer of the store.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::command::Command;
use crate::domain::DeliveryId;
use crate::domain::outcome::EndpointSign;

/// How long deliveries that arrived wait, and how many are company enough.
pub(super) const WAIT: Duration = Duration::from_millis(5);
const ENOUGH: usize = 32;
/// How long failed attempts wait, and how many are company enough. Each costs more pages than one that arrived, and
/// nothing hangs on it before the next attempt.
const FAILURES_WAIT: Duration = Duration::from_millis(250);
const FAILURES_ENOUGH: usize = 1024;
/// So many of them go with one commit, in the order of their pages, so that none becomes long for whoever publishes.
const FAILURES_AT_ONCE: usize = 16;

/// What waits.
#[derive(Default)]
pub(super) struct Company {
    prompt: Vec<Command>,
    prompt_until: Option<Instant>,
    failures: Vec<(DeliveryId, Command)>,
    failures_until: Option<Instant>,
    /// Failures that have waited, subscription by subscription.
    sorted: VecDeque<Command>,
}

impl Company {
    /// Takes in a command that nobody waits for.
    pub fn push(&mut self, command: Command, now: Instant) {
        match &command {
            Command::Complete(completion)
                if matches!(completion.attempt.outcome.sign(), EndpointSign::Failing | EndpointSign::Unresponsive) =>
            {
                self.failures_until.get_or_insert_with(|| now + FAILURES_WAIT);
                self.failures.push((completion.delivery, command));
            }
            _ => {
                self.prompt_until.get_or_insert_with(|| now + WAIT);
                self.prompt.push(command);
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.failures.len() + self.sorted.len()
    }

    /// Are there enough of a kind to go at once?
    pub fn is_enough(&self) -> bool {
        self.prompt.len() >= ENOUGH || self.failures.len() >= FAILURES_ENOUGH || !self.sorted.is_empty()
    }

    /// Until when there is time, if any wait.
    pub fn until(&self) -> Option<Instant> {
        self.prompt_until.into_iter().chain(self.failures_until).min()
    }

    /// Takes what is to go with the next commit. `is_open`: that commit is no quick one anyhow, or has nothing else.
    pub fn take(&mut self, is_open: bool, now: Instant) -> Vec<Command> {
        let is_over = |until: Option<Instant>| until.is_some_and(|until| now >= until);
        let mut taken = Vec::new();
        if is_open || self.prompt.len() >= ENOUGH || is_over(self.prompt_until) {
            taken.append(&mut self.take_prompt());
        }
        if self.sorted.is_empty() && (self.failures.len() >= FAILURES_ENOUGH || is_over(self.failures_until)) {
            self.sort_failures();
        }
        taken.extend(self.sorted.drain(..self.sorted.len().min(FAILURES_AT_ONCE)));
        taken
    }

    /// Takes everything.
    pub fn take_all(&mut self) -> Vec<Command> {
        let mut taken = self.take_prompt();
        taken.extend(self.sorted.drain(..));
        self.sort_failures();
        taken.extend(self.sorted.drain(..));
        taken
    }

    fn take_prompt(&mut self) -> Vec<Command> {
        self.prompt_until = None;
        std::mem::take(&mut self.prompt)
    }

    fn sort_failures(&mut self) {
        self.failures_until = None;
        self.failures.sort_by_key(|(id, _)| (id.subscription, id.event));
        self.sorted.extend(self.failures.drain(..).map(|(_, command)| command));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{Attempt, Signed, VERSION};
    use crate::domain::outcome::Outcome;
    use crate::domain::signing::Signatures;
    use crate::domain::{EventId, SubscriptionId, Timestamp};
    use crate::storage::command::Completion;

    fn outcome(subscription: u32, event: u128, status: u16) -> Command {
        let attempt = Attempt {
            number: 1,
            started_at: Timestamp::from_ms(0),
            duration_ms: 0,
            url: "http://receiver.test/".into(),
            version: VERSION.into(),
            signed: Signed { timestamp_s: 0, signatures: Signatures { tempclock: [0; 32], standard: [0; 32] } },
            outcome: Outcome::of_status(status),
            response: None,
        };
        let delivery = DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) };
        Command::Complete(Box::new(Completion::new(delivery, attempt, None)))
    }

    fn ids(commands: &[Command]) -> Vec<(u32, u128)> {
        let id = |command: &Command| match command {
            Command::Complete(completion) => (completion.delivery.subscription.0, completion.delivery.event.0),
            _ => unreachable!("only outcomes are put in"),
        };
        commands.iter().map(id).collect()
    }

    #[test]
    fn what_failed_waits_longer_than_what_arrived_and_goes_subscription_by_subscription() {
        let begun = Instant::now();
        let mut company = Company::default();
        company.push(outcome(1, 9, 200), begun);
        for event in 1..=10 {
            (1..=3).for_each(|subscription| company.push(outcome(subscription, event, 500), begun));
        }
        assert_eq!(company.until(), Some(begun + WAIT));
        assert!(company.take(false, begun).is_empty());
        assert_eq!(ids(&company.take(false, begun + WAIT)), [(1, 9)]);
        assert_eq!(company.until(), Some(begun + FAILURES_WAIT));
        let over = begun + FAILURES_WAIT;
        let mut taken = ids(&company.take(false, over));
        assert_eq!(taken.len(), FAILURES_AT_ONCE);
        // What comes later waits for its own time.
        company.push(outcome(1, 11, 500), over);
        assert!(company.is_enough());
        taken.extend(ids(&company.take(false, over)));
        let expected: Vec<_> =
            (1..=3).flat_map(|subscription| (1..=10).map(move |event| (subscription, event))).collect();
        assert_eq!(taken, expected);
        assert!(!company.is_enough() && company.len() == 1);
        assert_eq!(ids(&company.take_all()), [(1, 11)]);
        assert_eq!((company.len(), company.until()), (0, None));
    }

    #[test]
    fn nothing_waits_when_there_is_company_enough() {
        let begun = Instant::now();
        let mut company = Company::default();
        (0..ENOUGH as u128).for_each(|event| company.push(outcome(1, event, 200), begun));
        assert_eq!(company.take(false, begun).len(), ENOUGH);
        (0..FAILURES_ENOUGH as u128).for_each(|event| company.push(outcome(1, event, 500), begun));
        assert_eq!(company.take(false, begun).len(), FAILURES_AT_ONCE);
        // A commit that has nothing else takes what arrived, and leaves failures their time.
        company.take_all();
        company.push(outcome(1, 1, 200), begun);
        company.push(outcome(1, 2, 500), begun);
        assert_eq!(ids(&company.take(true, begun)), [(1, 1)]);
    }
}
