//! Batches: which deliveries are in one, at each of its attempts and when its outcome is stored.

use std::collections::{BTreeMap, BTreeSet};

use tempclock_webhooks::domain::subscription::Subscription;
use tempclock_webhooks::domain::{BatchId, DeliveryId, Timestamp};
use tempclock_webhooks::storage::command::Committed;
use tempclock_webhooks::storage::read::reader::{ReadView, WaitsFor};

use super::attempts::Reported;

#[derive(Default)]
pub struct Batches {
    /// The deliveries of each batch as it was sent last.
    sent: BTreeMap<DeliveryId, BTreeSet<DeliveryId>>,
    /// Those whose attempt is under way, or its outcome not stored.
    under_way: BTreeMap<DeliveryId, Vec<DeliveryId>>,
}

/// What a delivery has to do with a batch.
fn place(view: &ReadView, id: DeliveryId) -> Option<WaitsFor> {
    view.waits_for(id).unwrap()
}

/// Whether the delivery is gathered for a batch that is still to be made.
pub fn is_gathered(view: &ReadView, id: DeliveryId) -> bool {
    place(view, id) == Some(WaitsFor::MoreForBatch)
}

/// Whether it waits for one before it in order, and for no batch.
pub fn waits_in_order(view: &ReadView, id: DeliveryId) -> bool {
    place(view, id) == Some(WaitsFor::Earlier)
}

impl Batches {
    /// Another process: nothing is under way.
    pub fn restarted(&mut self) {
        self.under_way.clear();
    }

    /// A batch starts: gives the number of its attempt and what is in it; none if nothing is left of it.
    pub fn started(
        &mut self,
        view: &ReadView,
        of: &Subscription,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<(u32, Vec<DeliveryId>)>, String> {
        let batch = BatchId(id.event.0);
        let Some((head, events)) = view.batch(of.id, batch).unwrap() else { return Ok(None) };
        if head.due > now {
            return Err(format!("{batch} is sent at {now}, and due at {}", head.due));
        }
        let most = of.options.batch.as_ref().map_or(0, |option| option.max);
        if events.is_empty() || events.len() > most {
            return Err(format!("{batch} has {} deliveries, and {most} may be in it", events.len()));
        }
        let members: Vec<_> = events.into_iter().map(|event| DeliveryId { event, subscription: of.id }).collect();
        for member in &members {
            let is_pending = view.delivery(*member).unwrap().is_some_and(|delivery| delivery.state.is_pending());
            if !is_pending || place(view, *member) != Some(WaitsFor::Batch(batch)) {
                return Err(format!("{member} is sent in {batch}, and is not pending in it"));
            }
        }
        let now_in_it: BTreeSet<_> = members.iter().copied().collect();
        if let Some(before) = self.sent.insert(id, now_in_it.clone())
            && !now_in_it.is_subset(&before)
        {
            return Err(format!("{batch} is sent with {now_in_it:?}, and was sent with {before:?}"));
        }
        self.under_way.insert(id, members.clone());
        Ok(Some((head.attempts + 1, members)))
    }

    /// The dispatcher was told of an outcome: gives the deliveries that are not claimed any more.
    pub fn told(&mut self, id: DeliveryId) -> Vec<DeliveryId> {
        self.under_way.remove(&id).unwrap_or_default()
    }
}

/// Outcomes were stored: gives the number of the attempt that each delivery of a batch has for it. What was sent in a
/// batch and has none is not in it any more.
pub fn stored(view: &ReadView, committed: &Committed, reported: &[Reported]) -> Result<Vec<(DeliveryId, u32)>, String> {
    // What is left of a deleted subscription is being removed.
    let is_there = |id: DeliveryId| view.registry().subscription(id.subscription).is_some();
    let mut numbers: BTreeMap<_, _> = committed
        .in_batches
        .iter()
        .filter_map(|recorded| Some((recorded.delivery, recorded.attempt.as_ref()?.number)))
        .collect();
    let mut stored = Vec::new();
    for Reported { id, members, .. } in reported {
        for member in members {
            match numbers.remove(member) {
                Some(number) => stored.push((*member, number)),
                None if is_there(*id) && place(view, *member) == Some(WaitsFor::Batch(BatchId(id.event.0))) => {
                    return Err(format!("the outcome of the batch {id} is not that of {member}, which is in it"));
                }
                None => {}
            }
        }
    }
    match numbers.first_key_value() {
        Some((member, _)) => Err(format!("{member} has the outcome of a batch that it was not sent in")),
        None => Ok(stored),
    }
}
