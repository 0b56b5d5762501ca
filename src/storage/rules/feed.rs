//! What the reader of a feed acknowledges: one position that never goes back. All up to it is delivered, the first rows in
//! the commit of the position and the rest in steps beside the commits, which a restart goes on with. Runs on the writer
//! thread, inside the open write transaction; never commits.

use crate::domain::alert::AlertKind;
use crate::domain::delivery::Delivery;
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId};
use crate::storage::counts::Kind;
use crate::storage::engine::Tx;
use crate::storage::error::{Rejection, StorageError};
use crate::storage::rules::apply::{Batch, CommandResult, State};

/// How many rows are settled in the commit that others wait for.
const ROWS_AT_ONCE: usize = 1_000;

impl<T: Tx> Batch<T> {
    /// Moves the position of a feed. Returns where it is now.
    pub fn acknowledge(
        &mut self,
        state: &mut State,
        account: AccountId,
        id: SubscriptionId,
        up_to: EventId,
    ) -> CommandResult<EventId> {
        if state.registry.subscription_of(account, id).is_none() {
            return Ok(Err(Rejection::NotFound));
        }
        let history = state.histories.entry(id).or_default();
        if up_to <= history.acknowledged {
            return Ok(Ok(history.acknowledged));
        }
        history.acknowledged = up_to;
        self.changed_histories.insert(id);
        if state.alerts.is_open(AlertKind::FeedBehind, &id.to_string()) {
            self.look_at_feed(state, id)?;
        }
        let rows = self.tx.unattempted_before(id, EventId(up_to.0.saturating_add(1)), ROWS_AT_ONCE)?;
        let is_all = rows.len() < ROWS_AT_ONCE;
        for event in rows {
            self.settle_read(state, account, DeliveryId { event, subscription: id })?;
        }
        if !is_all {
            let history = state.histories.entry(id).or_default();
            history.is_settling = true;
            state.backlogs.begin(id, history);
        }
        Ok(Ok(up_to))
    }

    /// Settles a delivery that was read.
    pub(in crate::storage) fn settle_read(
        &mut self,
        state: &State,
        account: AccountId,
        id: DeliveryId,
    ) -> Result<(), StorageError> {
        let Some(row) = self.take_unattempted(id)? else { return Ok(()) };
        let mut delivery: Delivery = self.unattempted(account, id.event)?;
        delivery.acknowledge(state.time.now());
        self.settle(state, (account, id), Kind::Unattempted, &delivery, row).map(drop)
    }
}
