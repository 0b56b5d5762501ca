//! Rows as what they stand for, read alike by the writer's transaction and by a snapshot. Belongs to whoever has the rows.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::delivery::history::History;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::event_type::EventType;
use crate::domain::gaps::{Gap, Gaps};
use crate::domain::job::{DeliverySelection, Job};
use crate::domain::{AccountId, DeliveryId, EventId, JobId, SubscriptionId, Timestamp};
use crate::storage::engine::{BatchHead, Selected, Stored};
use crate::storage::error::StorageError;
use crate::storage::postgres::rows::{Row, Rows, Walk};
use crate::storage::postgres::tables::{
    BATCHES, EVENTS, HISTORIES, JOBS, Key, META, OUTBOX, OUTCOMES, Order, Part, RECEIVER_SETS, Span, TAGS, key,
};
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rows::record::EventHead;
use crate::storage::rows::{codec, delivery_record, digest, history_record, job_record};
use crate::storage::rules::service_time::Seen;

type Result<T> = std::result::Result<T, StorageError>;

/// The version of the small rows of this engine.
pub(super) const VERSION: u8 = 1;
/// The due time of deliveries that were never attempted.
pub(super) const UNATTEMPTED: i64 = 0;
/// The due time of deliveries that wait for others.
pub(super) const WAITING: i64 = i64::MAX;
/// A step over outcomes ends after about so many bytes.
const STEP_BYTES: usize = 1024 * 1024;
/// In place of an order key: what is gathered for the next batch.
pub(super) const GATHERED: i64 = 0;
/// The name of when the last backup is.
pub(super) const LAST_BACKUP: &str = "last_backup";
/// The name of the service time, and how the names of its gaps begin.
pub(super) const TIME: &str = "time";
pub(super) const GAPS: &str = "gaps";

/// A time as a column.
pub(super) fn ms(time: Timestamp) -> i64 {
    i64::try_from(time.as_ms()).unwrap_or(i64::MAX)
}

/// A column as a time.
pub(super) fn time(ms: i64) -> Timestamp {
    Timestamp::from_ms(u64::try_from(ms).unwrap_or_default())
}

/// The due time of a retry as a column.
pub(super) fn due(time: Timestamp) -> i64 {
    ms(time).clamp(UNATTEMPTED + 1, WAITING - 1)
}

/// The key of an event.
pub(super) fn event_key(account: AccountId, id: EventId) -> Key {
    key![account.0, id.0]
}

/// The key of an outcome.
pub(super) fn outcome_key(account: AccountId, id: DeliveryId) -> Key {
    key![account.0, id.event.0, id.subscription.0]
}

/// The events of an account between two ids, both included.
pub(super) fn events_between(account: AccountId, first: u128, last: u128) -> Span {
    Span::of(key![account.0, first], key![account.0, last])
}

/// An event's row without its digest.
pub(super) fn open_event(account: AccountId, id: EventId, row: &[u8]) -> Stored<&[u8]> {
    EVENTS.open(&event_key(account, id), row, digest::named("event", id))
}

/// The head in an event's row.
pub(super) fn head_of(account: AccountId, id: EventId, row: &[u8]) -> Stored<EventHead> {
    EventHead::decode(open_event(account, id, row)?)
}

/// An event without its body; none if there is none.
pub(super) fn head(rows: &dyn Rows, account: AccountId, id: EventId) -> Result<Option<Stored<EventHead>>> {
    Ok(rows.get(&EVENTS, &event_key(account, id))?.map(|row| head_of(account, id, &row)))
}

/// The type of an event.
pub(super) fn event_type(rows: &dyn Rows, account: AccountId, id: EventId) -> Result<Stored<EventType>> {
    let missing = || Err(StorageError::Codec(format!("event {id} is not in the store")));
    Ok(head(rows, account, id)?.unwrap_or_else(missing).map(|head| head.event_type))
}

/// The members of a set of receivers.
pub(super) fn members(rows: &dyn Rows, number: u32) -> Stored<Arc<[SubscriptionId]>> {
    if number == 0 {
        return Ok(Arc::default());
    }
    let name = digest::named("receiver set", number);
    let at = key![number];
    let Some(row) = rows.get(&RECEIVER_SETS, &at)? else {
        return Err(StorageError::Codec(format!("{} is not in the store", name())));
    };
    let members: Vec<u32> = codec::decode(VERSION, RECEIVER_SETS.open(&at, &row, name)?)?;
    Ok(members.into_iter().map(SubscriptionId).collect())
}

/// The state in an outcome's row.
pub(super) fn state_of(account: AccountId, id: DeliveryId, row: &[u8]) -> Stored<DeliveryState> {
    let key = outcome_key(account, id);
    delivery_record::decode_state(OUTCOMES.open(&key, row, digest::named("delivery", id))?)
}

/// The delivery in an outcome's row.
pub(super) fn delivery_of(account: AccountId, id: DeliveryId, row: &[u8], of: EventType) -> Stored<Delivery> {
    let key = outcome_key(account, id);
    delivery_record::decode(OUTCOMES.open(&key, row, digest::named("delivery", id))?, of)
}

/// The response code of the last attempt in an outcome's row.
pub(super) fn response_code_of(account: AccountId, id: DeliveryId, row: &[u8], of: EventType) -> Stored<Option<u16>> {
    let key = outcome_key(account, id);
    delivery_record::last_response_code(OUTCOMES.open(&key, row, digest::named("delivery", id))?, of)
}

/// What stands in a row of the outbox. One that is damaged says nothing, and its delivery goes on without order.
pub(super) fn outbox_row(key: &Key, value: &[u8]) -> OutboxRow {
    let name = || {
        let id = |place: usize| key.get(place).map(Part::number).unwrap_or_default();
        format!("a pending delivery of subscription {}", id(0))
    };
    OUTBOX.open(key, value, name).and_then(OutboxRow::decode).unwrap_or_else(|error| {
        log::error!("{error}");
        OutboxRow::default()
    })
}

/// The event in the key of a row of the outbox.
pub(super) fn event_in(key: &Key) -> EventId {
    EventId(key.last().map(Part::id).unwrap_or_default())
}

/// The due time in it.
pub(super) fn due_in(key: &Key) -> i64 {
    key.get(1).map(Part::int).unwrap_or_default()
}

/// The rows of a subscription's outbox with that due time, of events between two, both included.
pub(super) fn outbox_at(id: SubscriptionId, due: i64, first: u128, last: u128) -> Span {
    Span::of(key![id.0, due, first], key![id.0, due, last])
}

/// The retries of a subscription.
pub(super) fn retries_of(id: SubscriptionId) -> Span {
    Span::of(key![id.0, UNATTEMPTED + 1, 0_u128], key![id.0, WAITING - 1, u128::MAX])
}

/// A subscription's history.
pub(super) fn history(rows: &dyn Rows, id: SubscriptionId) -> Result<Option<History>> {
    let at = key![id.0];
    let Some(row) = rows.get(&HISTORIES, &at)? else { return Ok(None) };
    history_record::decode(HISTORIES.open(&at, &row, digest::named("history of subscription", id))?).map(Some)
}

/// The tags of an event.
pub(super) fn tags(rows: &dyn Rows, account: AccountId, id: EventId) -> Result<Vec<Box<str>>> {
    tags_of(account, id, rows.get(&TAGS, &event_key(account, id))?.as_deref())
}

/// The tags in the row of an event, which has none without one.
pub(super) fn tags_of(account: AccountId, id: EventId, row: Option<&[u8]>) -> Result<Vec<Box<str>>> {
    let Some(row) = row else { return Ok(Vec::new()) };
    codec::decode(VERSION, TAGS.open(&event_key(account, id), row, digest::named("tags of event", id))?)
}

/// A batch itself.
pub(super) fn batch(rows: &dyn Rows, at: &Key) -> Result<Option<BatchHead>> {
    let Some(row) = rows.get(&BATCHES, at)? else { return Ok(None) };
    let row = BATCHES.open(at, &row, || "a batch".to_owned())?;
    let (attempts, due_ms): (u32, u64) = codec::decode(VERSION, row)?;
    Ok(Some(BatchHead { attempts, due: Timestamp::from_ms(due_ms) }))
}

/// The members of a batch, oldest event first.
pub(super) fn batch_members(id: SubscriptionId, batch: u128) -> Span {
    Span::of(key![id.0, batch, 0_u128], key![id.0, batch, u128::MAX]).behind()
}

/// The jobs of an account, newest first. One that is damaged is left out.
pub(super) fn jobs(rows: &dyn Rows, account: AccountId) -> Result<Vec<Job>> {
    let mut found = Vec::new();
    for row in Walk::over(rows, &JOBS, JOBS.with_prefix(key![account.0]), Order::Falling) {
        found.extend(job(row?));
    }
    Ok(found)
}

/// A job, unless it is damaged.
pub(super) fn job((at, row): Row) -> Option<Job> {
    let account = AccountId(at.first().map(Part::number).unwrap_or_default());
    let id = JobId(at.last().map(Part::id).unwrap_or_default());
    let row = JOBS.open(&at, &row, digest::named("job", id)).and_then(|row| job_record::decode(account, id, row));
    row.inspect_err(|error| log::error!("{id} cannot be read, and is left alone: {error}")).ok()
}

/// The ids of events of that time.
pub(super) fn range_of(since: Option<Timestamp>, until: Option<Timestamp>) -> (u128, u128) {
    let first = since.map_or(0, |time| EventId::first_at(time).0);
    (first, until.map_or(u128::MAX, |time| EventId::first_at(time).0.saturating_sub(1)))
}

/// Looks at up to so many outcomes of an account behind that one, oldest event first, for a job.
pub(super) fn select(
    rows: &dyn Rows,
    (account, subscriptions): (AccountId, &[SubscriptionId]),
    which: &DeliverySelection,
    after: Option<DeliveryId>,
    limit: usize,
) -> Result<Selected> {
    let (first, last) = range_of(which.since, which.until);
    let mut step = Selected { deliveries: Vec::new(), last: after, is_end: false };
    let to = key![account.0, last, u32::MAX];
    let span = match after {
        Some(after) if after.event.0 >= first => Span::of(outcome_key(account, after), to).behind(),
        _ => Span::of(key![account.0, first, 0_u32], to),
    };
    let (mut rows_left, mut bytes_left) = (limit, STEP_BYTES);
    for row in Walk::over(rows, &OUTCOMES, span, Order::Rising) {
        if rows_left == 0 || bytes_left == 0 {
            return Ok(step);
        }
        let (at, value) = row?;
        let id = delivery_in(&at);
        let is_wanted = subscriptions.binary_search(&id.subscription).is_ok();
        match state_of(account, id, &value).map(|state| state.name() == which.status) {
            Ok(true) if is_wanted => match event_type(rows, account, id.event)? {
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
        bytes_left = bytes_left.saturating_sub(value.len());
    }
    Ok(Selected { is_end: true, ..step })
}

/// The delivery in the key of an outcome.
pub(super) fn delivery_in(at: &Key) -> DeliveryId {
    DeliveryId {
        event: EventId(at.get(1).map(Part::id).unwrap_or_default()),
        subscription: SubscriptionId(at.get(2).map(Part::number).unwrap_or_default()),
    }
}

/// A small row of `meta`.
pub(super) fn meta<T: serde::de::DeserializeOwned>(rows: &dyn Rows, name: &str) -> Result<Option<T>> {
    let at = key![name];
    let Some(row) = rows.get(&META, &at)? else { return Ok(None) };
    codec::decode(VERSION, META.open(&at, &row, || format!("meta {name}"))?).map(Some)
}

/// A gap in the store's time: begin, end, how much of it counts, in ms, and whether it is confirmed.
pub(super) type GapRow = (u64, u64, u64, bool);

/// How far the store's time had come, and the gaps in it.
pub(super) fn seen(rows: &dyn Rows, newest_event: Option<EventId>) -> Result<Seen> {
    let noted: Option<(u64, u64)> = meta(rows, TIME)?;
    let gaps: Option<Vec<GapRow>> = meta(rows, GAPS)?;
    let now = noted.map(|(now, _)| Timestamp::from_ms(now)).or(newest_event.map(EventId::time));
    let monotonic = noted.map(|(_, monotonic)| Timestamp::from_ms(monotonic)).or(now).unwrap_or_default();
    let gaps = gaps.unwrap_or_default().into_iter().map(|(from, to, between, is_confirmed)| Gap {
        from: Timestamp::from_ms(from),
        to: Timestamp::from_ms(to),
        between: Duration::from_millis(between),
        is_confirmed,
    });
    Ok(Seen { now, monotonic, gaps: Gaps::new(gaps.collect()) })
}
