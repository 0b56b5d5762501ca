//! The receivers, and what the schedule may do given how they behaved: so many attempts, at most that many threads, a
//! rest after silence.

use std::collections::BTreeMap;
use std::time::Duration;

use tempclock_webhooks::delivery::schedule::job::{AttemptResult, Pushback};
use tempclock_webhooks::domain::delivery::health::EndpointHealth;
use tempclock_webhooks::domain::delivery::outcome::{EndpointSignal, Outcome, Phase};
use tempclock_webhooks::domain::{DeliveryId, SubscriptionId, Timestamp};
use tempclock_webhooks::storage::read::reader::Reader;

use super::dice::Dice;

const FIRST_REST: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_secs(1);
/// So many push-backs in a row, and the endpoint is left alone.
const IN_A_ROW: usize = 5;
const LEAST_REST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    Healthy,
    Slow,
    Failing,
    Refusing,
    Hanging,
    PushingBack,
    Full,
    Flaky,
    Gone,
}

impl Mood {
    pub fn draw(dice: &mut Dice) -> Self {
        use Mood::{Failing, Flaky, Full, Gone, Hanging, Healthy, PushingBack, Refusing, Slow};
        dice.pick(&[
            Healthy,
            Healthy,
            Healthy,
            Slow,
            Slow,
            Failing,
            Failing,
            Refusing,
            Hanging,
            PushingBack,
            PushingBack,
            Full,
            Flaky,
            Flaky,
            Gone,
        ])
    }

    /// How an attempt will end, and after how long.
    pub fn answer(self, dice: &mut Dice) -> (Outcome, Duration) {
        let quick = Duration::from_millis(dice.next() % 900);
        match self {
            Self::Healthy => (Outcome::Delivered(200), quick),
            Self::Slow => (Outcome::Delivered(200), Duration::from_secs(3)),
            Self::Failing => (Outcome::of_status(dice.pick(&[500, 404, 301])), quick),
            Self::Refusing => (Outcome::ConnectFailed("refused".to_owned()), Duration::ZERO),
            Self::Hanging => (Outcome::TimedOut(Phase::Wait), Duration::from_secs(30)),
            Self::PushingBack if dice.one_in(2) => (Outcome::Delivered(200), quick),
            Self::PushingBack | Self::Full => (Outcome::of_status(dice.pick(&[429, 503])), quick),
            Self::Gone => (Outcome::HttpError(410), quick),
            Self::Flaky => Self::draw(dice).healed_if(Self::Flaky).answer(dice),
        }
    }

    fn healed_if(self, mood: Self) -> Self {
        if self == mood { Self::Healthy } else { self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Nothing,
    Quick,
    Slow,
    Silent,
}

struct Lane {
    is_active: bool,
    known: Known,
    silent_at: Option<Timestamp>,
    /// How many answers in a row pushed back, and the earliest time that they asked for.
    pushed_back: usize,
    asked_until: Option<Timestamp>,
    /// After five: until when it rests, unless somebody changes the subscription.
    rest_until: Option<Timestamp>,
}

impl Lane {
    fn new(is_active: bool, known: Known) -> Self {
        Self { is_active, known, silent_at: None, pushed_back: 0, asked_until: None, rest_until: None }
    }

    fn answered(&mut self, pushback: Option<Pushback>, now: Timestamp) {
        let Some(Pushback { retry_after }) = pushback else {
            (self.pushed_back, self.asked_until, self.rest_until) = (0, None, None);
            return;
        };
        self.pushed_back += 1;
        self.asked_until = self.asked_until.into_iter().chain(retry_after.map(|wait| now.plus(wait))).min();
        if self.pushed_back == IN_A_ROW {
            self.rest_until = Some(self.asked_until.unwrap_or(now).max(now.plus(LEAST_REST)));
        }
    }
}

/// What the dispatcher has been told, and what it handed out.
pub struct Endpoints {
    threads: usize,
    per_endpoint: usize,
    lanes: BTreeMap<SubscriptionId, Lane>,
    held: Vec<(DeliveryId, Known)>,
}

impl Endpoints {
    /// As a process finds them at its start.
    pub fn at_start(reader: &Reader, threads: usize, per_endpoint: usize) -> Self {
        let registry = reader.registry();
        let lanes = registry.subscriptions().map(|subscription| {
            let history = reader.view().history(subscription.id).unwrap();
            let known = match history.health {
                EndpointHealth { is_suspect: true, .. } => Known::Silent,
                EndpointHealth { failing_since: None, .. } if !history.recent.is_empty() => Known::Quick,
                _ => Known::Nothing,
            };
            (subscription.id, Lane::new(subscription.state.is_active(), known))
        });
        Self { threads, per_endpoint, lanes: lanes.collect(), held: Vec::new() }
    }

    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// The dispatcher was told of a change.
    pub fn changed(&mut self, reader: &Reader, id: SubscriptionId) {
        let Some(subscription) = reader.registry().subscription(id).cloned() else {
            self.lanes.remove(&id);
            return;
        };
        let lane = self.lanes.entry(id).or_insert(Lane::new(true, Known::Nothing));
        lane.is_active = subscription.state.is_active();
        lane.silent_at = None;
        (lane.pushed_back, lane.asked_until, lane.rest_until) = (0, None, None);
        if lane.known != Known::Quick {
            lane.known = Known::Nothing;
        }
    }

    /// The schedule gave this job to a thread: was it right to?
    pub fn started(&mut self, id: DeliveryId, now: Timestamp) -> Result<(), String> {
        let Some(lane) = self.lanes.get(&id.subscription) else {
            return Err(format!("{id} starts, though its subscription is deleted"));
        };
        if !lane.is_active {
            return Err(format!("{id} starts, though its subscription is off"));
        }
        let siblings = self.held.iter().filter(|(held, _)| held.subscription == id.subscription).count();
        if siblings >= self.per_endpoint {
            return Err(format!("{id} starts beside {siblings} attempts of its endpoint"));
        }
        if lane.known == Known::Silent && siblings > 0 {
            return Err(format!("{id} starts, though its endpoint was silent and has another attempt"));
        }
        if lane.silent_at.is_some_and(|at| now.since(at) < FIRST_REST) {
            return Err(format!("{id} starts without a rest after silence"));
        }
        if let Some(until) = lane.rest_until
            && (now < until || siblings > 0)
        {
            return Err(format!(
                "{id} starts beside {siblings}, though its endpoint pushed back five times until {until}"
            ));
        }
        self.held.push((id, lane.known));
        let held = |what: &[Known]| self.held.iter().filter(|(_, known)| what.contains(known)).count();
        let all_but = |part: usize| (self.threads - self.threads / part).max(1);
        let (slow, unproven) = (held(&[Known::Slow]), held(&[Known::Slow, Known::Silent, Known::Nothing]));
        if self.held.len() > self.threads || slow > all_but(4) || unproven > all_but(8) {
            return Err(format!(
                "of {} threads slow endpoints hold {slow}, all unproven ones {unproven}",
                self.threads
            ));
        }
        Ok(())
    }

    /// A thread handed its job back.
    pub fn ended(&mut self, id: DeliveryId, ended: Option<AttemptResult>, now: Timestamp) {
        let place = self.held.iter().position(|(held, _)| *held == id).unwrap();
        self.held.swap_remove(place);
        let Some(AttemptResult { signal, took, pushback }) = ended else { return };
        if let Some(lane) = self.lanes.get_mut(&id.subscription) {
            lane.silent_at = (signal == EndpointSignal::Unresponsive).then_some(now);
            if signal != EndpointSignal::Unresponsive {
                lane.answered(pushback, now);
            }
            lane.known = match signal {
                EndpointSignal::Unresponsive => Known::Silent,
                _ if took > SLOW => Known::Slow,
                _ => Known::Quick,
            };
        }
    }
}
