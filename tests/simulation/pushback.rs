//! What becomes of deliveries that an endpoint pushes back: while it takes others, that uses up nothing.

use std::collections::{BTreeMap, BTreeSet};

use tempclock_webhooks::domain::delivery::attempt::Attempt;
use tempclock_webhooks::domain::delivery::outcome::Outcome;
use tempclock_webhooks::domain::delivery::{Delivery, DeliveryState};
use tempclock_webhooks::domain::event::event_type::EventType;
use tempclock_webhooks::domain::{DeliveryId, SubscriptionId, Timestamp};

/// When an endpoint took a delivery last, as far as it is known for certain.
#[derive(Default)]
pub struct Successes {
    known: BTreeMap<SubscriptionId, Timestamp>,
    /// Those of the last commit, which count from the next one on: of one commit nobody knows what came first.
    new: BTreeMap<SubscriptionId, Timestamp>,
    changed: BTreeSet<SubscriptionId>,
}

impl Successes {
    /// The calendar was set, or the store may have forgotten what was not acknowledged.
    pub fn forget(&mut self) {
        self.known.clear();
        self.new.clear();
    }

    /// A subscription may have another endpoint now.
    pub fn changed(&mut self, id: SubscriptionId) {
        self.changed.insert(id);
    }

    /// All deliveries of a commit have been looked at.
    pub fn committed(&mut self) {
        self.known.append(&mut self.new);
        for id in std::mem::take(&mut self.changed) {
            self.known.remove(&id);
        }
    }

    /// Looks at a delivery as it was and as it is after a commit, at this time by the wall clock. A success that ended
    /// later by it is from before the clock was set back, and says nothing.
    pub fn look_at(
        &mut self,
        id: DeliveryId,
        before: Option<&Delivery>,
        now: &Delivery,
        waits: usize,
        wall: Timestamp,
    ) -> Result<(), String> {
        let counted = now.attempt_count - now.uncounted_attempts;
        let is_exhausted = matches!(now.state, DeliveryState::Exhausted { .. });
        if is_exhausted && now.event_type != EventType::Ping && usize::try_from(counted) != Ok(waits + 1) {
            return Err(format!("{id} is exhausted after {counted} attempts that count: {now:?}"));
        }
        let attempts_before = before.map_or(0, |delivery| delivery.attempt_count);
        let Some(last) = now.attempts.last().filter(|last| last.number == attempts_before + 1) else { return Ok(()) };
        if last.outcome.is_delivered() {
            self.new.insert(id.subscription, last.ended_at());
            return Ok(());
        }
        let since = match before {
            Some(before) if attempts_before > 0 => before.attempts.last().map(Attempt::ended_at),
            // One that has waited for its turn, or was sent again, is due since then.
            Some(Delivery { state: DeliveryState::Pending { due }, .. }) => Some(id.event.time().max(*due)),
            _ => Some(id.event.time()),
        };
        let others = self.known.get(&id.subscription).zip(since).is_some_and(|(at, since)| *at > since && *at <= wall);
        if others && last.outcome.is_pushback() && !matches!(last.outcome, Outcome::PushedBack(_)) {
            return Err(format!("{id} was pushed back while others got through, and it counts: {now:?}"));
        }
        Ok(())
    }
}
