//! Executes the commands on subscriptions inside the open write transaction. Runs on the writer thread and follows the
//! same rules as `apply`: check first, then write, never commit.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::audit::Change;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::Removed;
use crate::domain::signing::SigningSecret;
use crate::domain::signing_keys::SigningKeys;
use crate::domain::subscription::{
    DisabledReason, NewSubscription, Subscription, SubscriptionChange, SubscriptionState,
};
use crate::domain::{AccountId, SubscriptionId, Timestamp};
use crate::storage::engine::{Numbered, Tx};
use crate::storage::error::{Rejection, StorageError};
use crate::storage::rules::apply::{Batch, CommandResult, State};

/// For so long after its end, by the time in which the server was at work, a secret is kept: a clock that was ahead is noticed
/// and set right meanwhile. As long as the longest overlap.
const ENDED_SECRETS_KEPT: Duration = Duration::from_hours(7 * 24);

impl<T: Tx> Batch<T> {
    /// Creates a subscription.
    pub fn create_subscription(
        &mut self,
        state: &mut State,
        account: AccountId,
        new: NewSubscription,
        keys: SigningKeys,
    ) -> CommandResult<Subscription> {
        let limit = state.rules.subscriptions_per_account;
        if state.registry.subscriptions_of(account).len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Ok(Err(Rejection::TooManySubscriptions(limit)));
        }
        let Some(number) = self.next_number(Numbered::Subscription)? else {
            return Ok(Err(Rejection::OutOfNumbers));
        };
        self.use_number(Numbered::Subscription, number)?;
        let now = state.clock.wall();
        let subscription = Subscription {
            id: SubscriptionId(number),
            account,
            endpoint: new.endpoint,
            events: new.events,
            description: new.description,
            keys,
            options: new.options,
            state: if new.active {
                SubscriptionState::Active
            } else {
                SubscriptionState::Disabled { reason: DisabledReason::Owner, since: now }
            },
            created_at: now,
            updated_at: now,
        };
        self.put_subscription(state, subscription.clone())?;
        self.note(Change::of_subscription(None, Some(&subscription)));
        Ok(Ok(subscription))
    }

    /// Changes a subscription. Pending deliveries go to the new endpoint; enabling resets the endpoint's health.
    pub fn change_subscription(
        &mut self,
        state: &mut State,
        account: AccountId,
        id: SubscriptionId,
        change: SubscriptionChange,
    ) -> CommandResult<Subscription> {
        let Some(before) = state.registry.subscription_of(account, id).cloned() else {
            return Ok(Err(Rejection::NotFound));
        };
        let catalogue = Arc::clone(&change.catalogue);
        let after = change.apply(&before, state.clock.wall());
        if after == *before {
            return Ok(Ok(after));
        }
        let is_reset = after.endpoint != before.endpoint || (after.state.is_active() && !before.state.is_active());
        if is_reset && let Some(history) = state.histories.get_mut(&id) {
            history.health = crate::domain::delivery::health::EndpointHealth::default();
            history.last_success = None;
            self.hasten(state, id);
        }
        let mut removed = before.events.without(&after.events, &catalogue);
        removed.retain(|removed| *removed != Removed::One(EventType::Ping));
        if !removed.is_empty() {
            self.withdraw(state, id, &removed);
        }
        if before.options.batch != after.options.batch {
            self.close(state, id)?;
        }
        self.put_subscription(state, after.clone())?;
        self.note(Change::of_subscription(Some(&before), Some(&after)));
        Ok(Ok(after))
    }

    /// Gives a subscription another secret, beside which the present one is valid until then.
    pub fn rotate_secret(
        &mut self,
        state: &mut State,
        account: AccountId,
        id: SubscriptionId,
        secret: SigningSecret,
        previous_valid_until: Timestamp,
    ) -> CommandResult<Subscription> {
        let Some(before) = state.registry.subscription_of(account, id).cloned() else {
            return Ok(Err(Rejection::NotFound));
        };
        let now = state.clock.wall();
        let keys = before.keys.clone().rotated(secret, previous_valid_until, now);
        let after = Subscription { keys, updated_at: now, ..(*before).clone() };
        self.put_subscription(state, after.clone())?;
        self.note(Change::of(account, "subscription.secret_rotated", id.to_string()));
        Ok(Ok(after))
    }

    /// Enables a subscription that was disabled because its endpoint failed, or notes that the endpoint is gone. One that was
    /// changed since is left alone.
    pub fn end_probe(
        &mut self,
        state: &mut State,
        id: SubscriptionId,
        since: Timestamp,
        is_gone: bool,
    ) -> CommandResult<()> {
        let probed = SubscriptionState::Disabled { reason: DisabledReason::FailedTooLong, since };
        let Some(before) = state.registry.subscription(id).filter(|found| found.state == probed).cloned() else {
            return Ok(Ok(()));
        };
        let (found, name) = if is_gone {
            (SubscriptionState::Disabled { reason: DisabledReason::Gone, since }, "the endpoint responded 410 Gone")
        } else {
            (SubscriptionState::Active, "the endpoint responds again, and the subscription is enabled")
        };
        let account = state.registry.account_name(before.account);
        log::warn!("subscription {id} of account {account} was probed: {name}");
        let updated_at = state.clock.wall();
        self.put_subscription(state, Subscription { state: found, updated_at, ..(*before).clone() })?;
        if !is_gone {
            if let Some(history) = state.histories.get_mut(&id) {
                history.health = crate::domain::delivery::health::EndpointHealth::default();
                history.last_success = None;
            }
            self.hasten(state, id);
            self.alert_of_recovery(state, &before)?;
        }
        Ok(Ok(()))
    }

    /// Wipes secrets that a rotation has kept and that ended long enough ago. They sign nothing from their end on, but a clock
    /// that is set right again makes them valid again.
    pub fn wipe_ended_secrets(&mut self, state: &mut State) -> Result<(), StorageError> {
        let now = state.time.kept_from(ENDED_SECRETS_KEPT).min(state.clock.wall());
        let ended: Vec<_> = state.registry.subscriptions().filter(|found| found.keys.has_ended(now)).cloned().collect();
        for before in ended {
            let keys = before.keys.clone().without_ended(now);
            self.put_subscription(state, Subscription { keys, ..(*before).clone() })?;
        }
        Ok(())
    }

    pub(in crate::storage) fn put_subscription(
        &mut self,
        state: &mut State,
        subscription: Subscription,
    ) -> Result<(), StorageError> {
        let id = subscription.id;
        self.tx.put_subscription(&subscription)?;
        Arc::make_mut(&mut state.registry).put_subscription(subscription);
        self.changes.changed.push(id);
        Ok(())
    }

    /// Deletes a subscription at once; its rows are removed in bounded steps (see `purge`).
    pub fn delete_subscription(
        &mut self,
        state: &mut State,
        account: AccountId,
        id: SubscriptionId,
    ) -> CommandResult<()> {
        let Some(before) = state.registry.subscription_of(account, id).cloned() else {
            return Ok(Err(Rejection::NotFound));
        };
        let counts = self.tx.remove_subscription(account, id)?;
        self.pending.subtract(counts.pending());
        self.forget_alerts(state, id)?;
        self.note(Change::of_subscription(Some(&before), None));
        Arc::make_mut(&mut state.registry).remove_subscription(id);
        state.histories.remove(&id);
        self.changed_histories.remove(&id);
        self.changes.changed.push(id);
        Ok(Ok(()))
    }

    /// The next number of a kind that nothing has or had; none when all are used up.
    pub(super) fn next_number(&self, kind: Numbered) -> Result<Option<u32>, StorageError> {
        Ok(u32::try_from(self.tx.next_number(kind)?).ok())
    }

    /// Notes that a number is in use.
    pub(super) fn use_number(&mut self, kind: Numbered, number: u32) -> Result<(), StorageError> {
        self.tx.put_next_number(kind, u128::from(number) + 1)
    }
}
