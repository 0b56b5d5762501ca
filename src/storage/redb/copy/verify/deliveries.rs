//! Checks events, their receivers and outcomes, and what is kept beside them: the counts, the uses of receiver sets, and
//! how far retention has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _};

use crate::domain::delivery::DeliveryState;
use crate::domain::event::event_type::EventType;
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId};
use crate::storage::counts::{Counts, Kind};
use crate::storage::engine::Front;
use crate::storage::error::StorageError;
use crate::storage::redb::copy::verify::report::{Subscriptions, VerifyReport};
use crate::storage::redb::outbox::{Outbox, OutboxAt};
use crate::storage::redb::receiver_sets::{self, ReceiverSets};
use crate::storage::redb::tables::{self, DueKey, OutcomeKey};
use crate::storage::redb::{counts, retained, time};
use crate::storage::rows::record::{EventHead, EventRow};
use crate::storage::rows::{delivery_record, digest};

type EventKey = (u32, u128);

/// What was found and is compared with what is kept.
#[derive(Default)]
struct Found {
    counts: BTreeMap<(u32, u32), Counts>,
    set_uses: BTreeMap<u32, u64>,
    fronts: BTreeMap<AccountId, Front>,
}

impl Found {
    /// Counts a delivery of an account and a subscription.
    fn count(&mut self, (account, subscription): (u32, u32), kind: Kind) {
        for whose in [0, subscription] {
            self.counts.entry((account, whose)).or_default().add(kind, 1);
        }
    }
}

/// Checks all of it.
pub fn check(
    rows: &ReadTransaction,
    subscriptions: &Subscriptions,
    report: &mut VerifyReport,
) -> Result<(), StorageError> {
    let mut found = Found::default();
    for row in rows.open_table(tables::FRONTS)?.iter()? {
        let (account, row) = row?;
        let front = report.check("front", retained::decode_front(account.value(), row.value()));
        found.fronts.extend(front.map(|front| (AccountId(account.value()), front)));
    }
    beyond_the_end(rows, report, &found)?;
    events(rows, subscriptions, report, &mut found)?;
    outcomes(rows, subscriptions, report, &mut found)?;
    compare_counts(rows, report, &found)?;
    compare_sets(rows, report, &found)?;
    retention(rows, report)
}

fn beyond_the_end(rows: &ReadTransaction, report: &mut VerifyReport, found: &Found) -> Result<(), StorageError> {
    let newest = time::last_event(rows)?;
    let seen = time::read(&rows.open_table(tables::META)?, newest)?.now.unwrap_or_default();
    // How far the store's time has come is noted once a minute.
    let latest = newest.map_or(seen, |event| event.time().max(seen)).plus(Duration::from_mins(2));
    for (account, front) in found.fronts.iter().filter(|(_, front)| front.is_beyond(latest)) {
        let at = front.events.max(front.attempts);
        report.fault(format!("the retention position of account {account} is {at}, after all events"));
    }
    Ok(())
}

fn events(
    rows: &ReadTransaction,
    subscriptions: &Subscriptions,
    report: &mut VerifyReport,
    found: &mut Found,
) -> Result<(), StorageError> {
    let (sets, outbox) = (ReceiverSets::of(rows)?, Outbox::of(rows)?);
    let outcomes = rows.open_table(tables::OUTCOMES)?;
    for row in rows.open_table(tables::EVENTS)?.iter()? {
        let (key, row) = row?;
        let (account, id) = (AccountId(key.value().0), EventId(key.value().1));
        found.counts.entry((account.0, 0)).or_default().events += 1;
        let opened = tables::open::<EventKey>(key.value(), row.value(), digest::named("event", id));
        let event = opened.and_then(|row| EventRow::decode(row, |number| sets.members(number)));
        let Some(event) = report.check(format_args!("event {id}"), event) else { continue };
        if !event.content.is_intact() {
            report.fault(format!("event {id}: the body does not match its digest"));
        }
        let head = tables::open::<EventKey>(key.value(), row.value(), digest::named("event", id));
        if let Ok(head) = head.and_then(EventHead::decode)
            && head.receivers != receiver_sets::EMPTY
        {
            *found.set_uses.entry(head.receivers).or_default() += 1;
        }
        for receiver in event.subscriptions.iter().filter(|id| subscriptions.contains_key(id)) {
            let id = DeliveryId { event: id, subscription: *receiver };
            let kind = kind((account, id, event.content.event_type), &outcomes, &outbox, report)?;
            found.count((account.0, receiver.0), kind);
        }
    }
    Ok(())
}

/// What a delivery is, and whether the outbox says the same.
fn kind(
    (account, id, event_type): (AccountId, DeliveryId, EventType),
    outcomes: &ReadOnlyTable<OutcomeKey, &'static [u8]>,
    outbox: &OutboxAt,
    report: &mut VerifyReport,
) -> Result<Kind, StorageError> {
    let key = (account.0, id.event.0, id.subscription.0);
    let Some(row) = outcomes.get(key)? else {
        if !outbox.is_unattempted(id)? && outbox.waiting(id)?.is_none() {
            report.fault(format!("delivery {id}: never attempted, but not in the outbox"));
        }
        return Ok(Kind::Unattempted);
    };
    let opened = tables::open::<OutcomeKey>(key, row.value(), digest::named("delivery", id));
    let delivery = opened.and_then(|row| delivery_record::decode(row, event_type));
    let Some(delivery) = report.check(format_args!("delivery {id}"), delivery) else {
        // Its state may be readable all the same; the digest comes behind it.
        return Ok(delivery_record::decode_state(row.value()).map_or(Kind::Retrying, Kind::of));
    };
    if let DeliveryState::Pending { due } = delivery.state
        && !outbox.has_retry(id, due)?
        && outbox.waiting(id)?.is_none()
    {
        report.fault(format!("delivery {id}: pending, but not in the outbox"));
    }
    Ok(Kind::of(delivery.state))
}

/// Looks for outcomes that belong to no event. Those of one that is being removed count until they are gone.
fn outcomes(
    rows: &ReadTransaction,
    subscriptions: &Subscriptions,
    report: &mut VerifyReport,
    found: &mut Found,
) -> Result<(), StorageError> {
    let (sets, events) = (ReceiverSets::of(rows)?, rows.open_table(tables::EVENTS)?);
    let mut last: Option<(EventKey, Option<Arc<[SubscriptionId]>>)> = None;
    for row in rows.open_table(tables::OUTCOMES)?.iter()? {
        let (key, row) = row?;
        let (account, event, subscription) = key.value();
        let id = DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) };
        if last.as_ref().is_none_or(|(key, _)| *key != (account, event)) {
            let event_row = events.get((account, event))?;
            let receivers = event_row.map(|row| -> Result<_, StorageError> {
                let name = digest::named("event", id.event);
                let head = EventHead::decode(tables::open::<EventKey>((account, event), row.value(), name)?)?;
                sets.members(head.receivers)
            });
            // One that cannot be read was told before, and says nothing about its outcomes.
            let Ok(receivers) = receivers.transpose() else { continue };
            last = Some(((account, event), receivers));
        }
        let receivers = last.as_ref().and_then(|(_, receivers)| receivers.as_ref());
        let is_removing = found.fronts.get(&AccountId(account)).is_some_and(|front| front.removing == Some(id.event));
        match receivers {
            None if is_removing && subscriptions.contains_key(&id.subscription) => {
                if let Ok(state) = delivery_record::decode_state(row.value()) {
                    found.count((account, subscription), Kind::of(state));
                }
            }
            None if is_removing => {}
            None => report.fault(format!("delivery {id}: it has an outcome, but its event is missing")),
            Some(receivers) if receivers.binary_search(&id.subscription).is_err() => {
                report.fault(format!("delivery {id}: it has an outcome, but its event goes to other subscriptions"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn compare_counts(rows: &ReadTransaction, report: &mut VerifyReport, found: &Found) -> Result<(), StorageError> {
    let mut kept = BTreeMap::<_, Counts>::new();
    for row in counts::all(rows)? {
        kept.extend(report.check("count", row?).into_iter().flatten());
    }
    // What did not fit the filter of a subscription is nowhere else.
    kept.iter_mut().filter(|((_, subscription), _)| *subscription != 0).for_each(|(_, counts)| counts.events = 0);
    let all: std::collections::BTreeSet<_> = kept.keys().chain(found.counts.keys()).copied().collect();
    for key in all {
        let of = |counts: &BTreeMap<_, Counts>| counts.get(&key).copied().unwrap_or_default();
        let (kept, found) = (of(&kept), of(&found.counts));
        if kept != found {
            let (account, subscription) = key;
            let whose = if subscription == 0 { String::new() } else { format!(", subscription {subscription}") };
            report.fault(format!("the count of account {account}{whose} is {kept:?}, but {found:?} were found"));
        }
    }
    Ok(())
}

fn compare_sets(rows: &ReadTransaction, report: &mut VerifyReport, found: &Found) -> Result<(), StorageError> {
    for row in rows.open_table(tables::RECEIVER_SETS)?.iter()? {
        let (number, row) = row?;
        report
            .check(format_args!("receiver set {}", number.value()), receiver_sets::decode(number.value(), row.value()));
    }
    for row in rows.open_table(tables::RECEIVER_SET_NUMBERS)?.iter()? {
        let (digest, row) = row?;
        report.check("number of a receiver set", receiver_sets::decode_number(digest.value(), row.value()));
    }
    for row in rows.open_table(tables::RECEIVER_SET_USES)?.iter()? {
        let (number, row) = row?;
        let number = number.value();
        let uses = report.check("uses", receiver_sets::decode_uses(number, row.value()));
        let there_are = found.set_uses.get(&number).copied().unwrap_or_default();
        if uses.is_some_and(|uses| uses != there_are) {
            report.fault(format!("receiver set {number} has {uses:?} recorded uses, but {there_are} actual ones"));
        }
    }
    Ok(())
}

fn retention(rows: &ReadTransaction, report: &mut VerifyReport) -> Result<(), StorageError> {
    for row in rows.open_table(tables::KEPT)?.iter()? {
        let (key, row) = row?;
        report.check("kept", retained::decode_kept(key.value(), row.value()));
    }
    for row in rows.open_table(tables::DUE)?.iter()? {
        let (key, row) = row?;
        let name = || format!("retention of event {}", EventId(key.value().3));
        report.check("due", tables::open::<DueKey>(key.value(), row.value(), name));
    }
    Ok(())
}
