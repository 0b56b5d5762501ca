//! The stored form of a job. Pure; any thread. A stored struct never changes: another shape is another version, or
//! another task at the end.

use serde::{Deserialize, Serialize};

use crate::domain::delivery::DeliveryState;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::EventTypes;
use crate::domain::event::find::{FindKey, FindKind};
use crate::domain::job::{DeliverySelection, Erasure, Job, JobState, JobTask, Replay, ReplayOnly};
use crate::domain::{AccountId, DeliveryId, EventId, JobId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;
use crate::storage::rows::record::damaged;

const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct JobRow {
    task: TaskRow,
    state: String,
    done: u64,
    of: Option<u64>,
    started_ms: Option<u64>,
    finished_ms: Option<u64>,
    error: Option<String>,
    position: Option<(u128, u32)>,
}

#[derive(Serialize, Deserialize)]
enum TaskRow {
    Retry(SelectionRow),
    Replay(ReplayRow),
    Erase(ErasureRow),
}

#[derive(Serialize, Deserialize)]
struct ErasureRow {
    worker: String,
    until: u128,
    deliver_pending: bool,
    has_left: bool,
}

#[derive(Serialize, Deserialize)]
struct ReplayRow {
    subscription: u32,
    events: Option<Vec<String>>,
    only: String,
    since_ms: u64,
    until_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct SelectionRow {
    subscription: Option<u32>,
    status: String,
    event: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
}

/// The stored form; account and id are its key.
pub fn encode(job: &Job) -> Result<Vec<u8>, StorageError> {
    let task = match &job.task {
        JobTask::Retry(selection) => TaskRow::Retry(SelectionRow {
            subscription: selection.subscription.map(|id| id.0),
            status: selection.status.to_owned(),
            event: selection.event_type.map(|event_type| event_type.name().to_owned()),
            since_ms: selection.since.map(Timestamp::as_ms),
            until_ms: selection.until.map(Timestamp::as_ms),
        }),
        JobTask::Replay(replay) => TaskRow::Replay(ReplayRow {
            subscription: replay.subscription.0,
            events: replay.events.as_ref().map(EventTypes::names),
            only: replay.only.name().to_owned(),
            since_ms: replay.since.as_ms(),
            until_ms: replay.until.as_ms(),
        }),
        JobTask::Erase(erasure) => TaskRow::Erase(ErasureRow {
            worker: erasure.worker.text.to_string(),
            until: erasure.until.0,
            deliver_pending: erasure.deliver_pending,
            has_left: erasure.has_left,
        }),
    };
    let row = JobRow {
        task,
        state: job.state.name().to_owned(),
        done: job.done,
        of: job.of,
        started_ms: job.started_at.map(Timestamp::as_ms),
        finished_ms: job.finished_at.map(Timestamp::as_ms),
        error: job.error.clone(),
        position: job.position.map(|id| (id.event.0, id.subscription.0)),
    };
    codec::encode(VERSION, &row)
}

/// Reads the stored form.
pub fn decode(account: AccountId, id: JobId, bytes: &[u8]) -> Result<Job, StorageError> {
    let row: JobRow = codec::decode(VERSION, bytes)?;
    let task = match row.task {
        TaskRow::Retry(selection) => JobTask::Retry(DeliverySelection {
            subscription: selection.subscription.map(SubscriptionId),
            status: known(&DeliveryState::NAMES, &selection.status)?,
            event_type: selection
                .event
                .map(|name| EventType::from_name(&name).ok_or_else(|| damaged("job")))
                .transpose()?,
            since: selection.since_ms.map(Timestamp::from_ms),
            until: selection.until_ms.map(Timestamp::from_ms),
        }),
        TaskRow::Replay(replay) => JobTask::Replay(Replay {
            subscription: SubscriptionId(replay.subscription),
            events: replay.events.as_deref().map(event_types).transpose()?,
            only: ReplayOnly::ALL.into_iter().find(|only| only.name() == replay.only).ok_or_else(|| damaged("job"))?,
            since: Timestamp::from_ms(replay.since_ms),
            until: Timestamp::from_ms(replay.until_ms),
        }),
        TaskRow::Erase(erasure) => JobTask::Erase(Erasure {
            worker: FindKey { kind: FindKind::Worker, text: erasure.worker.into() },
            until: EventId(erasure.until),
            deliver_pending: erasure.deliver_pending,
            has_left: erasure.has_left,
        }),
    };
    let state = JobState::ALL.into_iter().find(|state| state.name() == row.state).ok_or_else(|| damaged("job"))?;
    Ok(Job {
        id,
        account,
        task,
        state,
        done: row.done,
        of: row.of,
        started_at: row.started_ms.map(Timestamp::from_ms),
        finished_at: row.finished_ms.map(Timestamp::from_ms),
        error: row.error,
        position: row.position.map(|(event, subscription)| DeliveryId {
            event: EventId(event),
            subscription: SubscriptionId(subscription),
        }),
    })
}

fn event_types(names: &[String]) -> Result<EventTypes, StorageError> {
    EventTypes::from_stored(names.iter().map(String::as_str)).ok_or_else(|| damaged("job"))
}

fn known(names: &[&'static str], name: &str) -> Result<&'static str, StorageError> {
    names.iter().copied().find(|known| *known == name).ok_or_else(|| damaged("job"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_was_stored() {
        let (account, id) = (AccountId(3), JobId(9));
        let position = DeliveryId { event: EventId(7), subscription: SubscriptionId(5) };
        for (place, state) in JobState::ALL.into_iter().enumerate() {
            let has = place % 2 == 0;
            let replay = JobTask::Replay(Replay {
                subscription: SubscriptionId(5),
                events: has.then(|| EventTypes::from_stored(["clock_in", "clock_out"]).unwrap()),
                only: ReplayOnly::ALL[place % 3],
                since: Timestamp::from_ms(1),
                until: Timestamp::from_ms(2),
            });
            let retry = JobTask::Retry(DeliverySelection {
                subscription: has.then_some(SubscriptionId(5)),
                status: "exhausted",
                event_type: has.then_some(EventType::ClockOut),
                since: has.then_some(Timestamp::from_ms(1)),
                until: Some(Timestamp::from_ms(2)),
            });
            let job = |task| Job {
                id,
                account,
                task,
                state,
                done: 4,
                of: has.then_some(8),
                started_at: has.then_some(Timestamp::from_ms(3)),
                finished_at: None,
                error: has.then(|| "gone".to_owned()),
                position: has.then_some(position),
            };
            let erase = JobTask::Erase(Erasure {
                worker: FindKey { kind: FindKind::Worker, text: "52".into() },
                until: EventId(8),
                deliver_pending: has,
                has_left: !has,
            });
            for job in [job(retry), job(replay), job(erase)] {
                assert_eq!(decode(account, id, &encode(&job).unwrap()).unwrap(), job);
            }
        }
    }
}
