//! Looks at all receivers of an event, for retention. An event may have a hundred thousand of them, so a step looks at some
//! and the next goes on there. Runs on the writer thread, as part of a step of housekeeping.

use crate::domain::{AccountId, DeliveryId, EventId};
use crate::storage::engine::{DueKind, Tx};
use crate::storage::error::StorageError;
use crate::storage::rows::record::EventHead;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::budget::Budget;
use crate::storage::rules::kept::{Cutoffs, settled};
use crate::storage::rules::retain::look::{Look, Looked, Purpose, Standing};

impl<T: Tx> Batch<T> {
    /// Looks at receivers of an event, for as long as the step lasts.
    pub(in crate::storage) fn look(
        &mut self,
        state: &mut State,
        purpose: Purpose,
        (account, event, head): (AccountId, EventId, &EventHead),
        before: Cutoffs,
        budget: &mut Budget,
    ) -> Result<Looked, StorageError> {
        let receivers = match self.tx.receivers(head.receivers) {
            Ok(receivers) => receivers,
            Err(error) => {
                log::error!("the receivers of event {event} are not known, and it is left alone: {error}");
                return Ok(Looked::Unreadable);
            }
        };
        let known = state.look.take().filter(|look| look.is_at(account, event));
        if let Some(Look { purpose: Purpose::AttemptsOfKept(standing), .. }) = known
            && purpose == Purpose::Standing
        {
            state.look = known;
            return Ok(Looked::Done(standing));
        }
        let mut look =
            known.filter(|look| look.purpose == purpose).unwrap_or_else(|| Look::new(purpose, account, event));
        while let Some(subscription) = receivers.get(look.done) {
            if budget.is_spent() {
                state.look = Some(look);
                return Ok(Looked::Unfinished);
            }
            budget.spend(1);
            look.done += 1;
            let id = DeliveryId { event, subscription: *subscription };
            if state.registry.subscription(id.subscription).is_none() {
                continue;
            }
            if purpose != Purpose::Standing {
                self.forget_attempts_of(account, id, before)?;
            } else if !self.add_to(&mut look.standing, account, id)? {
                return Ok(Looked::Unreadable);
            }
        }
        Ok(Looked::Done(look.standing))
    }

    /// Counts a delivery along. Gives whether it can be read.
    fn add_to(&mut self, standing: &mut Standing, account: AccountId, id: DeliveryId) -> Result<bool, StorageError> {
        let settled_at = match self.tx.delivery_state(account, id)? {
            None => None,
            Some(Ok(found)) => found.settled_at(),
            Some(Err(error)) => {
                log::error!("event {} is left alone: {error}", id.event);
                return Ok(false);
            }
        };
        match settled_at {
            Some(at) => standing.settled_at = standing.settled_at.max(at),
            None => standing.pending += 1,
        }
        Ok(true)
    }

    /// Removes the attempts of a delivery that was settled long ago, or notes when to come back.
    fn forget_attempts_of(&mut self, account: AccountId, id: DeliveryId, before: Cutoffs) -> Result<(), StorageError> {
        let Some(Ok(found)) = self.tx.delivery_state(account, id)? else { return Ok(()) };
        match found.settled_at() {
            // It comes back when it is settled.
            None => Ok(()),
            Some(at) if at < before.attempts => self.clear_attempts(account, id),
            Some(at) => self.tx.put_due(settled(DueKind::Attempts, at, account, id)),
        }
    }
}
