//! Deliveries that go in order, rates and windows: what may start now, as their owner understands it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tempclock_webhooks::domain::delivery::DeliveryState;
use tempclock_webhooks::domain::event::find;
use tempclock_webhooks::domain::options::order::OrderKey;
use tempclock_webhooks::domain::subscription::Subscription;
use tempclock_webhooks::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use tempclock_webhooks::storage::read::reader::ReadView;

use super::model::Model;

/// The longest time that a rate is counted in.
const LONGEST: Duration = Duration::from_mins(1);

#[derive(Default)]
pub struct Turns {
    /// Of each event its worker, as its body says.
    workers: BTreeMap<EventId, Option<OrderKey>>,
    /// Sent again at some time, so they have lost their place.
    redelivered: BTreeSet<DeliveryId>,
    /// So may have been any of these, by a job.
    by_job: BTreeSet<SubscriptionId>,
    is_by_job_of_all: bool,
    /// The starts of each subscription, by the steady clock.
    starts: BTreeMap<SubscriptionId, VecDeque<Timestamp>>,
}

impl Turns {
    pub fn redelivered(&mut self, id: DeliveryId) {
        self.redelivered.insert(id);
    }

    /// A job may send any delivery of that subscription again; none: of all.
    pub fn asked_for_job(&mut self, id: Option<SubscriptionId>) {
        self.by_job.extend(id);
        self.is_by_job_of_all |= id.is_none();
    }

    fn is_in_place(&self, id: &DeliveryId) -> bool {
        !self.is_by_job_of_all && !self.by_job.contains(&id.subscription) && !self.redelivered.contains(id)
    }

    /// Another process: what it starts is counted anew, as it waits for its rate before the first one.
    pub fn restarted(&mut self) {
        self.starts.clear();
    }

    fn key(&mut self, view: &ReadView, of: &Subscription, event: EventId) -> Option<OrderKey> {
        of.options.order.key(|| {
            *self.workers.entry(event).or_insert_with(|| {
                let content = view.event_content(of.account, event).unwrap();
                content.and_then(|content| find::worker_key_of(content.body()))
            })
        })
    }

    /// An attempt starts: is it its turn? `claims`: attempts that are under way, or whose outcome is not stored.
    pub fn started(
        &mut self,
        view: &ReadView,
        model: &Model,
        subscription: &Subscription,
        id: DeliveryId,
        claims: &BTreeSet<DeliveryId>,
        (now, wall): (Timestamp, Timestamp),
    ) -> Result<bool, String> {
        self.look_at_pace(subscription, id, now, wall)?;
        let Some(key) = self.key(view, subscription, id.event) else { return Ok(false) };
        for other in claims.iter().filter(|other| other.subscription == id.subscription && **other != id) {
            if self.key(view, subscription, other.event) == Some(key) {
                return Err(format!("{id} starts beside {other} of its order"));
            }
        }
        // What was settled at the last look can only be pending again after a redelivery.
        let may_be_pending = |other: &DeliveryId| model.last.get(other).is_none_or(|last| last.state.is_pending());
        let of_key: Vec<_> = model
            .events
            .iter()
            .filter(|(event, (_, receivers))| **event != id.event && receivers.contains(&id.subscription))
            .map(|(event, _)| DeliveryId { event: *event, subscription: id.subscription })
            .filter(|other| may_be_pending(other) && self.key(view, subscription, other.event) == Some(key))
            .collect();
        let is_pending = view.delivery(id).unwrap().is_some_and(|own| own.state.is_pending());
        for other in of_key {
            let Some(delivery) = view.delivery(other).unwrap() else { continue };
            let DeliveryState::Pending { .. } = delivery.state else { continue };
            if is_pending && view.waits_for(other).unwrap().is_none() {
                return Err(format!("{id} starts, and {other} of its order may start too"));
            }
            if other.event < id.event && self.is_in_place(&other) && self.is_in_place(&id) {
                return Err(format!("{id} starts before {other} of its order"));
            }
        }
        Ok(true)
    }

    /// The same of a batch with these deliveries.
    pub fn batch_started(
        &mut self,
        view: &ReadView,
        model: &Model,
        subscription: &Subscription,
        (batch, members): (DeliveryId, &[DeliveryId]),
        claims: &BTreeSet<DeliveryId>,
        (now, wall): (Timestamp, Timestamp),
    ) -> Result<bool, String> {
        self.look_at_pace(subscription, batch, now, wall)?;
        if subscription.options.order.key(|| None).is_none() {
            return Ok(false);
        }
        let of_this = |other: &&DeliveryId| other.subscription == batch.subscription;
        let is_own = |other: &&DeliveryId| **other == batch || members.contains(other);
        if let Some(other) = claims.iter().filter(of_this).find(|other| !is_own(other)) {
            return Err(format!("the batch {batch} starts beside {other} of its order"));
        }
        let Some(first) = members.first().filter(|first| self.is_in_place(first)) else { return Ok(true) };
        for (event, _) in model.events.range(..first.event).filter(|(_, (_, to))| to.contains(&batch.subscription)) {
            let other = DeliveryId { event: *event, subscription: batch.subscription };
            let is_pending = || view.delivery(other).unwrap().is_some_and(|delivery| delivery.state.is_pending());
            if self.is_in_place(&other) && is_pending() {
                return Err(format!("the batch {batch} starts before {other} of its order"));
            }
        }
        Ok(true)
    }

    fn look_at_pace(
        &mut self,
        subscription: &Subscription,
        id: DeliveryId,
        now: Timestamp,
        wall: Timestamp,
    ) -> Result<(), String> {
        let options = &subscription.options;
        if options.delivery_window.as_ref().is_some_and(|window| window.closed_for(wall).is_some()) {
            return Err(format!("{id} starts at {wall}, outside of its window"));
        }
        let Some(rate) = &options.rate_limit else { return Ok(()) };
        let (most, span) = match rate.as_str() {
            "1/s" => (1, Duration::from_secs(1)),
            "3/s" => (3, Duration::from_secs(1)),
            _ => (30, LONGEST),
        };
        let starts = self.starts.entry(id.subscription).or_default();
        starts.retain(|start| now.since(*start) < LONGEST);
        starts.push_back(now);
        let within = starts.iter().filter(|start| now.since(**start) < span).count();
        if within > most {
            return Err(format!("{id} is start {within} within {span:?}, and {most} may be"));
        }
        Ok(())
    }
}
