//! What is kept and until when. Each account's events are passed once, from the oldest on, when their time is over: what is
//! settled is removed, and what is not is noted and comes back when it is.
//! Runs on the writer thread, as steps of housekeeping. It removes nothing that is pending.

use std::collections::btree_map::Entry;

use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::counts::Kind;
use crate::storage::engine::{Due, DueKind, Front, Tx};
use crate::storage::error::StorageError;
use crate::storage::rows::record::EventHead;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::budget::Budget;
use crate::storage::rules::retain::look::{Looked, Purpose};

/// What was settled before these times is over.
#[derive(Clone, Copy)]
pub(in crate::storage) struct Cutoffs {
    pub events: Timestamp,
    pub attempts: Timestamp,
    /// What is held since before this time expires: by the calendar, and by the steady clock.
    pub held: (Timestamp, Timestamp),
}

impl Cutoffs {
    /// Those of now.
    pub fn now(state: &State) -> Self {
        let rule = state.rules.retention;
        let held = state.time.kept_from(rule.held);
        let monotonic = state.clock.monotonic().minus(state.time.now().since(held));
        Self {
            events: state.time.kept_from(rule.events),
            attempts: state.time.kept_from(rule.attempts),
            held: (held, monotonic),
        }
    }
}

pub(in crate::storage) fn settled(
    kind: DueKind,
    settled_at: Timestamp,
    account: AccountId,
    delivery: DeliveryId,
) -> Due {
    Due { kind, settled_at, account, delivery }
}

/// The event as a whole.
fn whole(event: EventId) -> DeliveryId {
    DeliveryId { event, subscription: SubscriptionId(0) }
}

impl<T: Tx> Batch<T> {
    fn front(state: &State, account: AccountId) -> Front {
        state.fronts.get(&account).copied().unwrap_or_default()
    }

    fn put_front(&mut self, state: &mut State, account: AccountId, front: Front) -> Result<(), StorageError> {
        match state.fronts.entry(account) {
            Entry::Occupied(known) if *known.get() == front => return Ok(()),
            Entry::Occupied(mut known) => drop(known.insert(front)),
            Entry::Vacant(_) if front == Front::default() => return Ok(()),
            Entry::Vacant(place) => drop(place.insert(front)),
        }
        self.tx.put_front(account, front)
    }

    /// A look at that event begins anew.
    fn changed(state: &State, account: AccountId, event: EventId) {
        if let Some(look) = &state.look {
            look.changed(account, event);
        }
    }

    /// A delivery was settled: if retention has passed it, it has to come back.
    pub(in crate::storage) fn settled_behind_front(
        &mut self,
        state: &State,
        account: AccountId,
        id: DeliveryId,
        at: Timestamp,
    ) -> Result<(), StorageError> {
        Self::changed(state, account, id.event);
        let front = Self::front(state, account);
        if id.event <= front.attempts.max(front.events) {
            self.tx.put_due(settled(DueKind::Attempts, at, account, id))?;
        }
        self.settled_of_kept(state, account, id.event, at)
    }

    /// One less of an event's deliveries is pending.
    pub(in crate::storage) fn settled_of_kept(
        &mut self,
        state: &State,
        account: AccountId,
        event: EventId,
        at: Timestamp,
    ) -> Result<(), StorageError> {
        Self::changed(state, account, event);
        if event > Self::front(state, account).events {
            return Ok(());
        }
        match self.tx.kept(account, event)? {
            None => Ok(()),
            Some(pending) if pending > 1 => self.tx.put_kept(account, event, Some(pending - 1)),
            Some(_) => {
                self.tx.put_kept(account, event, None)?;
                self.tx.put_due(settled(DueKind::Event, at, account, whole(event)))
            }
        }
    }

    /// A delivery that was settled is pending again.
    pub(in crate::storage) fn pending_behind_front(
        &mut self,
        state: &State,
        account: AccountId,
        id: DeliveryId,
    ) -> Result<(), StorageError> {
        Self::changed(state, account, id.event);
        if id.event > Self::front(state, account).events {
            return Ok(());
        }
        match self.tx.kept(account, id.event)? {
            // It is looked at again when its time is over.
            None => Ok(()),
            Some(pending) => self.tx.put_kept(account, id.event, Some(pending.saturating_add(1))),
        }
    }

    /// Passes over old attempts of an account. Gives whether there are no more.
    pub(in crate::storage) fn forget_attempts(
        &mut self,
        state: &mut State,
        account: AccountId,
        before: Cutoffs,
        budget: &mut Budget,
    ) -> Result<bool, StorageError> {
        let mut front = Self::front(state, account);
        let wanted = budget.rows();
        let found = self.tx.events_after(account, front.attempts, before.attempts, wanted)?;
        let mut is_done = found.len() < wanted;
        budget.spend(1);
        for (event, head) in found {
            match head {
                Ok(head) => {
                    let of = (account, event, &head);
                    if let Looked::Unfinished = self.look(state, Purpose::Attempts, of, before, budget)? {
                        is_done = false;
                        break;
                    }
                }
                Err(error) => log::error!("{error}"),
            }
            front.attempts = event;
            budget.spend(1);
            if budget.is_spent() {
                is_done = false;
                break;
            }
        }
        self.put_front(state, account, front)?;
        Ok(is_done)
    }

    pub(in crate::storage) fn clear_attempts(
        &mut self,
        account: AccountId,
        id: DeliveryId,
    ) -> Result<(), StorageError> {
        match self.tx.delivery(account, id)? {
            Some(Ok(mut delivery)) if !delivery.attempts.is_empty() => {
                delivery.attempts.clear();
                self.tx.put_delivery(account, id, &delivery)
            }
            _ => Ok(()),
        }
    }

    /// Comes back to attempts that were settled late. Gives whether there are no more.
    pub(in crate::storage) fn forget_late_attempts(
        &mut self,
        before: Cutoffs,
        budget: &mut Budget,
    ) -> Result<bool, StorageError> {
        let wanted = budget.rows();
        let found = self.tx.take_due(DueKind::Attempts, before.attempts, wanted)?;
        budget.spend(found.len().max(1));
        let is_done = found.len() < wanted;
        for Due { account, delivery: id, .. } in found {
            let Some(Ok(found)) = self.tx.delivery_state(account, id)? else { continue };
            match found.settled_at() {
                Some(at) if at < before.attempts => self.clear_attempts(account, id)?,
                Some(at) => self.tx.put_due(settled(DueKind::Attempts, at, account, id))?,
                None => {}
            }
        }
        Ok(is_done)
    }

    /// Passes over old events of an account. Gives whether there are no more.
    pub(in crate::storage) fn remove_old_events(
        &mut self,
        state: &mut State,
        account: AccountId,
        before: Cutoffs,
        budget: &mut Budget,
    ) -> Result<bool, StorageError> {
        if !self.finish_removing(state, account, budget)? {
            return Ok(false);
        }
        let after = Self::front(state, account).events;
        let wanted = budget.rows();
        let found = self.tx.events_after(account, after, before.events, wanted)?;
        let is_all = found.len() < wanted;
        budget.spend(1);
        for (event, head) in found {
            match head {
                Ok(head) if !self.pass_event(state, (account, event, &head), before, budget)? => return Ok(false),
                Ok(_) => {}
                Err(error) => log::error!("an event cannot be read, and is left alone: {error}"),
            }
            let front = Front { events: event, ..Self::front(state, account) };
            self.put_front(state, account, front)?;
            if budget.is_spent() {
                return Ok(false);
            }
        }
        Ok(is_all)
    }

    /// Comes back to events that were settled late. Gives whether there are no more.
    pub(in crate::storage) fn remove_late_events(
        &mut self,
        state: &mut State,
        before: Cutoffs,
        budget: &mut Budget,
    ) -> Result<bool, StorageError> {
        let unfinished = state.fronts.iter().filter(|(_, front)| front.removing.is_some()).map(|(account, _)| *account);
        for account in unfinished.collect::<Vec<_>>() {
            if !self.finish_removing(state, account, budget)? {
                return Ok(false);
            }
        }
        while !budget.is_spent() {
            let Some(due) = self.tx.take_due(DueKind::Event, before.events, 1)?.pop() else { return Ok(true) };
            budget.spend(1);
            let (account, event) = (due.account, due.delivery.event);
            match self.tx.event_head(account, event)? {
                Some(Ok(head)) if !self.pass_event(state, (account, event, &head), before, budget)? => {
                    self.tx.put_due(due)?;
                    return Ok(false);
                }
                Some(Err(error)) => log::error!("an event cannot be read, and is left alone: {error}"),
                None | Some(Ok(_)) => {}
            }
        }
        Ok(false)
    }

    /// Removes an event whose time is over, or notes when to come back. Gives whether it was done with.
    fn pass_event(
        &mut self,
        state: &mut State,
        (account, event, head): (AccountId, EventId, &EventHead),
        before: Cutoffs,
        budget: &mut Budget,
    ) -> Result<bool, StorageError> {
        budget.spend(1);
        let standing = match self.look(state, Purpose::Standing, (account, event, head), before, budget)? {
            Looked::Done(standing) => standing,
            Looked::Unfinished => return Ok(false),
            Looked::Unreadable => return Ok(true),
        };
        if standing.pending == 0 && standing.settled_at < before.events {
            self.tx.remove_event(account, event, head)?;
            self.tx.count_events(account, -1);
            let front = Front { removing: Some(event), ..Self::front(state, account) };
            self.put_front(state, account, front)?;
            self.finish_removing(state, account, budget)?;
            return Ok(true);
        }
        let attempts = Purpose::AttemptsOfKept(standing);
        if event > Self::front(state, account).attempts
            && let Looked::Unfinished = self.look(state, attempts, (account, event, head), before, budget)?
        {
            return Ok(false);
        }
        if standing.pending > 0 {
            self.tx.put_kept(account, event, Some(standing.pending))?;
        } else {
            self.tx.put_due(settled(DueKind::Event, standing.settled_at, account, whole(event)))?;
        }
        Ok(true)
    }

    /// Removes what is left of the outcomes of an event that is gone, and counts them no more. Gives whether that was all.
    fn finish_removing(
        &mut self,
        state: &mut State,
        account: AccountId,
        budget: &mut Budget,
    ) -> Result<bool, StorageError> {
        let front = Self::front(state, account);
        let Some(event) = front.removing else { return Ok(true) };
        loop {
            let wanted = budget.rows().max(1);
            let removed = self.tx.remove_outcomes(account, event, wanted)?;
            let is_all = removed.len() < wanted;
            budget.spend(removed.len());
            for (subscription, found) in removed {
                match found {
                    // Those of a deleted one are not counted any more.
                    Ok(_) if state.registry.subscription(subscription).is_none() => {}
                    Ok(found) => self.tx.count(account, subscription, Kind::of(found), -1),
                    Err(error) => log::error!("{error}"),
                }
            }
            if is_all {
                self.put_front(state, account, Front { removing: None, ..front })?;
                return Ok(true);
            }
            if budget.is_spent() {
                return Ok(false);
            }
        }
    }
}
