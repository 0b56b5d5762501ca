//! Alerts are stored in the commit of what they are about, so that none is lost and none told twice. Runs on the writer
//! thread; handing them over is for others.

pub mod told;

use crate::domain::alert::{Alert, AlertEndpoint, AlertKind, Notice, Told};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::event_type::EventType;
use crate::domain::subscription::{DisabledReason, Subscription};
use crate::domain::timestamp::span_in_words;
use crate::domain::{EventId, SubscriptionId};
use crate::storage::engine::Tx;
use crate::storage::error::StorageError;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::settings::AlertRule;

/// How many alerts wait at most. Beyond it the oldest is dropped: nobody has taken one for long.
const WAITING: usize = 1000;
/// What alerts are about that concern the whole server.
pub const SERVER: &str = "server";

fn endpoint(state: &State, subscription: &Subscription) -> AlertEndpoint {
    AlertEndpoint {
        account: state.registry.account_name(subscription.account).to_owned(),
        subscription: subscription.id,
        host: subscription.endpoint.host().to_owned(),
    }
}

impl<T: Tx> Batch<T> {
    /// Stores an alert, unless the same was told or nobody is to be told. Gives whether it did.
    pub fn alert(
        &mut self,
        state: &mut State,
        (kind, of): (AlertKind, &str),
        endpoint: Option<AlertEndpoint>,
        message: String,
    ) -> Result<bool, StorageError> {
        let now = state.time.now();
        let was_told = state.alerts.of(kind, of).is_some_and(|told| !told.allows_more(now));
        if state.rules.alerts.is_none() || was_told {
            return Ok(false);
        }
        let id = state.ids.next(now, state.random.next_u128()?);
        let alert = Alert { id, kind, endpoint, message };
        log::warn!("alert {}: {}", kind.name(), alert.message);
        self.tx.put_notice(&Notice { alert, done: Vec::new() })?;
        self.put_told(state, kind, of, Some(Told { at: now, is_open: kind.is_state() }))?;
        state.alerts.waiting.insert(id);
        while state.alerts.waiting.len() > WAITING {
            let Some(oldest) = state.alerts.waiting.pop_first() else { break };
            self.tx.take_notice(oldest)?;
            log::error!("alert {oldest} was dropped: {WAITING} others are waiting to be sent");
        }
        self.changes.has_alert = true;
        Ok(true)
    }

    fn put_told(
        &mut self,
        state: &mut State,
        kind: AlertKind,
        of: &str,
        told: Option<Told>,
    ) -> Result<(), StorageError> {
        let key = (kind, of.to_owned());
        match told {
            Some(told) => state.alerts.told.insert(key, told),
            None => state.alerts.told.remove(&key),
        };
        self.tx.put_told(kind, of, told)
    }

    /// A state has ended that may have been told.
    pub fn end_alert(&mut self, state: &mut State, kind: AlertKind, of: &str) -> Result<(), StorageError> {
        match state.alerts.of(kind, of) {
            Some(told) if told.is_open => self.put_told(state, kind, of, Some(Told { is_open: false, ..told })),
            _ => Ok(()),
        }
    }

    /// Nothing is told of a subscription any more.
    pub(super) fn forget_alerts(&mut self, state: &mut State, id: SubscriptionId) -> Result<(), StorageError> {
        let of = id.to_string();
        for kind in AlertKind::ALL {
            if state.alerts.of(kind, &of).is_some() {
                self.put_told(state, kind, &of, None)?;
            }
        }
        Ok(())
    }

    /// An attempt was recorded: the endpoint may have failed for too long, or recovered, and the delivery may be given up.
    pub(super) fn alert_of_attempt(
        &mut self,
        state: &mut State,
        subscription: &Subscription,
        delivery: &Delivery,
        disabled: Option<DisabledReason>,
    ) -> Result<(), StorageError> {
        let Some(rule) = state.rules.alerts else { return Ok(()) };
        let Some(last) = delivery.attempts.last() else { return Ok(()) };
        let of = subscription.id.to_string();
        if last.outcome.is_delivered() {
            return self.alert_of_recovery(state, subscription);
        }
        let why = || last.explanation().unwrap_or_default();
        let failing_since = state.histories.get(&subscription.id).and_then(|history| history.health.failing_since);
        if let Some(reason) = disabled {
            let message = format!("{}; its deliveries are held. The last attempt: {}", reason.words(), why());
            let about = Some(endpoint(state, subscription));
            self.alert(state, (AlertKind::EndpointOff, &of), about, message)?;
        } else if let Some(since) = failing_since
            && state.time.now().since(since) >= rule.failing_after
        {
            let span = span_in_words(state.time.now().since(since));
            let message = format!("every attempt has failed for {span}. The last attempt: {}", why());
            let about = Some(endpoint(state, subscription));
            self.alert(state, (AlertKind::EndpointFailing, &of), about, message)?;
        }
        if matches!(delivery.state, DeliveryState::Exhausted { .. }) && delivery.event_type != EventType::Ping {
            let message = format!(
                "a delivery is exhausted after its last retry; once the endpoint works, redeliver all of them with: tempclock-webhooks deliveries retry --subscription {of}. The last attempt: {}",
                why()
            );
            let about = Some(endpoint(state, subscription));
            self.alert(state, (AlertKind::DeliveryExhausted, &of), about, message)?;
        }
        Ok(())
    }

    /// An endpoint takes deliveries, which it may not have done before.
    pub(super) fn alert_of_recovery(
        &mut self,
        state: &mut State,
        subscription: &Subscription,
    ) -> Result<(), StorageError> {
        let of = subscription.id.to_string();
        let states = [AlertKind::EndpointFailing, AlertKind::EndpointOff];
        if !states.iter().any(|kind| state.alerts.is_open(*kind, &of)) {
            return Ok(());
        }
        let message = "the endpoint accepts deliveries again".to_owned();
        let about = Some(endpoint(state, subscription));
        if self.alert(state, (AlertKind::EndpointRecovered, &of), about, message)? {
            for kind in states {
                self.end_alert(state, kind, &of)?;
            }
        }
        Ok(())
    }

    /// Deliveries that were held expired.
    pub(super) fn alert_of_expired(
        &mut self,
        state: &mut State,
        subscription: &Subscription,
    ) -> Result<(), StorageError> {
        let message = if subscription.is_pull() {
            "events that the reader did not acknowledge within retention.held have expired and are no longer in the feed"
        } else {
            "deliveries that were held for longer than retention.held have expired and will not be sent"
        };
        let of = subscription.id.to_string();
        let about = Some(endpoint(state, subscription));
        self.alert(state, (AlertKind::DeliveryExpired, &of), about, message.to_owned()).map(drop)
    }

    /// The reader of a feed does not keep up, or does again.
    pub(in crate::storage) fn look_at_feed(
        &mut self,
        state: &mut State,
        id: SubscriptionId,
    ) -> Result<(), StorageError> {
        let Some(AlertRule { feed_behind_after: limit, .. }) = state.rules.alerts else { return Ok(()) };
        let Some(subscription) = state.registry.subscription(id).cloned() else { return Ok(()) };
        let acknowledged = state.histories.get(&id).map_or(EventId(0), |history| history.acknowledged);
        let oldest = self.tx.unattempted_after(id, acknowledged, 1)?.first().map(|event| event.time());
        let is_read = subscription.is_pull() && subscription.state.is_active() && !limit.is_zero();
        let of = id.to_string();
        let Some(since) = oldest.filter(|at| is_read && state.time.now().since(*at) >= limit) else {
            return self.end_alert(state, AlertKind::FeedBehind, &of);
        };
        let message = format!(
            "the oldest event that the reader has not acknowledged was stored at {since}, and alerts.feed_behind_after is {}; check that the reader runs",
            span_in_words(limit)
        );
        let about = Some(endpoint(state, &subscription));
        self.alert(state, (AlertKind::FeedBehind, &of), about, message).map(drop)
    }

    /// The disk is too full to publish, or not.
    pub fn alert_of_space(&mut self, state: &mut State, is_enough: bool) -> Result<(), StorageError> {
        if is_enough {
            return self.end_alert(state, AlertKind::DiskLow, SERVER);
        }
        let message = "free space is below storage.free_space_reserve: publishing is refused until there is more, deliveries continue"
            .to_owned();
        self.alert(state, (AlertKind::DiskLow, SERVER), None, message).map(drop)
    }

    /// Alerts were handed over by one way; `ways` are all there are. What was handed over by each of them is removed.
    pub fn handed_over(
        &mut self,
        state: &mut State,
        alerts: &[EventId],
        way: &str,
        ways: &[String],
    ) -> Result<(), StorageError> {
        for id in alerts {
            let Some(Ok(mut notice)) = self.tx.take_notice(*id)? else { continue };
            if !notice.done.iter().any(|done| done == way) {
                notice.done.push(way.to_owned());
            }
            if ways.iter().all(|way| notice.done.contains(way)) {
                state.alerts.waiting.remove(id);
            } else {
                self.tx.put_notice(&notice)?;
            }
        }
        Ok(())
    }
}
