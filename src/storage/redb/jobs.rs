//! The rows of jobs, of which there are few, and the rows of attempted deliveries that one step of a job looks at.
//! Belongs to the thread of its transaction.

use std::ops::Bound;

use redb::{ReadTransaction, ReadableTable};

use crate::domain::event::event_type::EventType;
use crate::domain::job::{DeliverySelection, Job};
use crate::domain::{AccountId, DeliveryId, EventId, JobId, SubscriptionId};
use crate::storage::engine::{Selected, Stored};
use crate::storage::error::StorageError;
use crate::storage::redb::found::range_of;
use crate::storage::redb::tables::{self, JobKey};
use crate::storage::rows::{delivery_record, job_record};

type Bytes = &'static [u8];
type Result<T> = std::result::Result<T, StorageError>;

/// A step ends after about so many bytes of rows, however few those are.
const STEP_BYTES: usize = 1024 * 1024;

/// The event of a position behind all rows of a subscription.
const DONE: EventId = EventId(u128::MAX);

/// Every job. A store that never had one lacks the table.
pub fn all(rows: &ReadTransaction) -> Result<Vec<(AccountId, JobId, Stored<Job>)>> {
    if !tables::has(rows, redb::TableHandle::name(&tables::JOBS))? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for row in rows.open_table(tables::JOBS)?.iter()? {
        let (key, value) = row?;
        found.push(read(key.value(), value.value()));
    }
    Ok(found)
}

/// The jobs of an account, newest first.
pub fn of_snapshot(rows: &ReadTransaction, account: AccountId) -> Result<Vec<Job>> {
    if !tables::has(rows, redb::TableHandle::name(&tables::JOBS))? {
        return Ok(Vec::new());
    }
    of_account(&rows.open_table(tables::JOBS)?, account)
}

/// The jobs of an account, newest first. One that is damaged is left out.
pub fn of_account(jobs: &impl ReadableTable<JobKey, Bytes>, account: AccountId) -> Result<Vec<Job>> {
    let mut found = Vec::new();
    for row in jobs.range((account.0, 0)..=(account.0, u128::MAX))?.rev() {
        let (key, value) = row?;
        match read(key.value(), value.value()) {
            (.., Ok(job)) => found.push(job),
            (_, id, Err(error)) => log::error!("{id} cannot be read, and is left alone: {error}"),
        }
    }
    Ok(found)
}

fn read((account, id): JobKey, value: &[u8]) -> (AccountId, JobId, Stored<Job>) {
    let (account, id) = (AccountId(account), JobId(id));
    (account, id, job_record::decode(account, id, value))
}

/// Looks at up to so many rows of attempted deliveries behind that one, subscription by subscription and oldest event
/// first. `subscriptions` are in the order of their numbers.
pub fn select(
    deliveries: &impl ReadableTable<(u32, u128), Bytes>,
    subscriptions: &[SubscriptionId],
    which: &DeliverySelection,
    after: Option<DeliveryId>,
    limit: usize,
) -> Result<Selected> {
    let (first, last) = range_of(which.since, which.until);
    let mut step = Selected { deliveries: Vec::new(), last: after, is_end: false };
    let (mut rows_left, mut bytes_left) = (limit, STEP_BYTES);
    for id in subscriptions {
        let from = match after {
            Some(after) if (after.subscription, after.event) >= (*id, DONE) => continue,
            Some(after) if after.subscription == *id && after.event.0 >= first => {
                Bound::Excluded((id.0, after.event.0))
            }
            _ => Bound::Included((id.0, first)),
        };
        let (Bound::Excluded((_, begin)) | Bound::Included((_, begin))) = from else { continue };
        if begin < last || (begin == last && matches!(from, Bound::Included(_))) {
            for row in deliveries.range::<(u32, u128)>((from, Bound::Included((id.0, last))))? {
                if rows_left == 0 || bytes_left == 0 {
                    return Ok(step);
                }
                let (key, value) = row?;
                let delivery = DeliveryId { event: EventId(key.value().1), subscription: *id };
                if is_selected(delivery, value.value(), which) {
                    step.deliveries.push(delivery);
                }
                step.last = Some(delivery);
                rows_left -= 1;
                bytes_left = bytes_left.saturating_sub(value.value().len());
            }
        }
        if rows_left == 0 {
            return Ok(step);
        }
        // A subscription without rows costs a search.
        rows_left -= 1;
        step.last = Some(DeliveryId { event: DONE, subscription: *id });
    }
    Ok(Selected { is_end: true, ..step })
}

fn is_selected(id: DeliveryId, row: &[u8], which: &DeliverySelection) -> bool {
    match delivery_record::decode_summary(row) {
        Ok((event_type, status)) => {
            event_type != EventType::Ping
                && status == which.status
                && which.event_type.is_none_or(|wanted| event_type == wanted)
        }
        Err(error) => {
            log::error!("delivery {id} cannot be read, and is left alone: {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase as _, backends::InMemoryBackend};

    use super::*;
    use crate::domain::Timestamp;
    use crate::domain::delivery::{Delivery, DeliveryState};

    fn row(event_type: EventType, state: DeliveryState) -> Vec<u8> {
        delivery_record::encode(&Delivery { state, ..Delivery::unattempted(event_type, Timestamp::from_ms(0)) })
            .unwrap()
    }

    proptest! {
        #[test]
        fn steps_of_any_size_visit_all_that_is_selected_once(
            rows in prop::collection::btree_map((1..5_u32, 1..9_u64), (0..2_usize, 0..3_usize), 0..40),
            subscriptions in prop::collection::btree_set(1..6_u32, 0..5),
            (since, until) in (prop::option::of(1..9_u64), prop::option::of(1..9_u64)),
            limit in 1..9_usize,
        ) {
            let states = [DeliveryState::Exhausted { at: Timestamp::from_ms(1) }, DeliveryState::Pending { due: Timestamp::from_ms(1) }];
            let types = [EventType::ClockIn, EventType::ClockOut, EventType::Ping];
            let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
            let transaction = db.begin_write().unwrap();
            let mut table = transaction.open_table(tables::DELIVERIES).unwrap();
            let mut wanted = Vec::new();
            for ((subscription, ms), (state, event_type)) in &rows {
                let event = EventId::first_at(Timestamp::from_ms(*ms));
                table.insert((*subscription, event.0), row(types[*event_type], states[*state]).as_slice()).unwrap();
                let is_in_time = since.is_none_or(|since| *ms >= since) && until.is_none_or(|until| *ms < until);
                if subscriptions.contains(subscription) && is_in_time && *state == 0 && *event_type == 0 {
                    wanted.push(DeliveryId { event, subscription: SubscriptionId(*subscription) });
                }
            }
            drop(table);
            transaction.commit().unwrap();
            let table = db.begin_read().unwrap().open_table(tables::DELIVERIES).unwrap();
            let subscriptions: Vec<_> = subscriptions.into_iter().map(SubscriptionId).collect();
            let which = DeliverySelection {
                subscription: None,
                status: "exhausted",
                event_type: Some(EventType::ClockIn),
                since: since.map(Timestamp::from_ms),
                until: until.map(Timestamp::from_ms),
            };
            let (mut found, mut after) = (Vec::new(), None);
            for _ in 0..200 {
                let step = select(&table, &subscriptions, &which, after, limit).unwrap();
                prop_assert!(step.deliveries.len() <= limit);
                found.extend(step.deliveries);
                if step.is_end {
                    prop_assert_eq!(found, wanted);
                    return Ok(());
                }
                prop_assert!(step.last > after || step.last.map(|id| id.subscription) > after.map(|id| id.subscription));
                after = step.last;
            }
            prop_assert!(false, "it has no end");
        }
    }
}
