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
use crate::storage::redb::tables::{self, JobKey, OutcomeKey};
use crate::storage::rows::{delivery_record, digest, job_record};

type Bytes = &'static [u8];
type Result<T> = std::result::Result<T, StorageError>;

/// A step ends after about so many bytes of rows, however few those are.
const STEP_BYTES: usize = 1024 * 1024;

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
    let row = tables::open::<JobKey>((account.0, id.0), value, digest::named("job", id));
    (account, id, row.and_then(|row| job_record::decode(account, id, row)))
}

/// Looks at up to so many outcomes of an account behind that one, oldest event first. `subscriptions` are in the order of
/// their numbers, and `event_type` tells the type of an event.
pub fn select(
    outcomes: &impl ReadableTable<OutcomeKey, Bytes>,
    mut event_type: impl FnMut(EventId) -> Result<Stored<EventType>>,
    (account, subscriptions): (AccountId, &[SubscriptionId]),
    which: &DeliverySelection,
    after: Option<DeliveryId>,
    limit: usize,
) -> Result<Selected> {
    let (first, last) = range_of(which.since, which.until);
    let mut step = Selected { deliveries: Vec::new(), last: after, is_end: false };
    let (mut rows_left, mut bytes_left) = (limit, STEP_BYTES);
    let from = match after {
        Some(after) if after.event.0 >= first => Bound::Excluded((account.0, after.event.0, after.subscription.0)),
        _ => Bound::Included((account.0, first, 0)),
    };
    if first > last || after.is_some_and(|after| after.event.0 > last) {
        return Ok(Selected { is_end: true, ..step });
    }
    for row in outcomes.range::<OutcomeKey>((from, Bound::Included((account.0, last, u32::MAX))))? {
        if rows_left == 0 || bytes_left == 0 {
            return Ok(step);
        }
        let (key, value) = row?;
        let (_, event, subscription) = key.value();
        let id = DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) };
        let is_wanted = subscriptions.binary_search(&id.subscription).is_ok();
        match is_selected((key.value(), id), value.value(), which) {
            Ok(true) if is_wanted => match event_type(id.event)? {
                Ok(EventType::Ping) => {}
                Ok(found) if which.event_type.is_some_and(|wanted| wanted != found) => {}
                Ok(_) => step.deliveries.push(id),
                Err(error) => log::error!("delivery {id} is left alone: {error}"),
            },
            Ok(_) => {}
            Err(error) => log::error!("delivery {id} cannot be read, and is left alone: {error}"),
        }
        step.last = Some(id);
        rows_left -= 1;
        bytes_left = bytes_left.saturating_sub(value.value().len());
    }
    Ok(Selected { is_end: true, ..step })
}

fn is_selected((key, id): (OutcomeKey, DeliveryId), row: &[u8], which: &DeliverySelection) -> Stored<bool> {
    let row = tables::open::<OutcomeKey>(key, row, digest::named("delivery", id))?;
    Ok(delivery_record::decode_state(row)?.name() == which.status)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase as _, backends::InMemoryBackend};

    use super::*;
    use crate::domain::Timestamp;
    use crate::domain::delivery::{Delivery, DeliveryState};

    const OWN: AccountId = AccountId(1);

    fn row(key: OutcomeKey, state: DeliveryState) -> Vec<u8> {
        let delivery = Delivery { state, ..Delivery::unattempted(EventType::ClockIn, Timestamp::from_ms(0)) };
        tables::seal::<OutcomeKey>(key, delivery_record::encode(&delivery).unwrap())
    }

    proptest! {
        #[test]
        fn steps_of_any_size_visit_all_that_is_selected_once(
            rows in prop::collection::btree_map((1..9_u64, 1..5_u32), 0..2_usize, 0..40),
            types in prop::collection::vec(0..3_usize, 9),
            subscriptions in prop::collection::btree_set(1..6_u32, 0..5),
            (since, until) in (prop::option::of(1..9_u64), prop::option::of(1..9_u64)),
            limit in 1..9_usize,
        ) {
            let states = [DeliveryState::Exhausted { at: Timestamp::from_ms(1) }, DeliveryState::Pending { due: Timestamp::from_ms(1) }];
            let named = [EventType::ClockIn, EventType::ClockOut, EventType::Ping];
            let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
            let transaction = db.begin_write().unwrap();
            let mut table = transaction.open_table(tables::OUTCOMES).unwrap();
            let mut wanted = Vec::new();
            for ((ms, subscription), state) in &rows {
                let event = EventId::first_at(Timestamp::from_ms(*ms));
                let key = (OWN.0, event.0, *subscription);
                table.insert(key, row(key, states[*state]).as_slice()).unwrap();
                let is_in_time = since.is_none_or(|since| *ms >= since) && until.is_none_or(|until| *ms < until);
                let is_clock_in = types[usize::try_from(*ms).unwrap()] == 0;
                if subscriptions.contains(subscription) && is_in_time && *state == 0 && is_clock_in {
                    wanted.push(DeliveryId { event, subscription: SubscriptionId(*subscription) });
                }
            }
            drop(table);
            transaction.commit().unwrap();
            let table = db.begin_read().unwrap().open_table(tables::OUTCOMES).unwrap();
            let subscriptions: Vec<_> = subscriptions.into_iter().map(SubscriptionId).collect();
            let which = DeliverySelection {
                subscription: None,
                status: "exhausted",
                event_type: Some(EventType::ClockIn),
                since: since.map(Timestamp::from_ms),
                until: until.map(Timestamp::from_ms),
            };
            let event_type = |event: EventId| Ok(Ok(named[types[usize::try_from(event.time().as_ms()).unwrap()]]));
            let (mut found, mut after) = (Vec::new(), None);
            for _ in 0..200 {
                let step = select(&table, event_type, (OWN, &subscriptions), &which, after, limit).unwrap();
                prop_assert!(step.deliveries.len() <= limit);
                found.extend(step.deliveries);
                if step.is_end {
                    prop_assert_eq!(found, wanted);
                    return Ok(());
                }
                prop_assert!(step.last > after);
                after = step.last;
            }
            prop_assert!(false, "it has no end");
        }
    }
}
