//! The rows of formats 1 and 2 that later ones store otherwise: events, which name their type by its number and each of
//! their receivers. They are read in an upgrade and in the check of a backup, and never written. Pure; any thread.

use serde::Deserialize;

use crate::domain::event::IdempotencyKey;
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::{EventId, SubscriptionId};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;
use crate::storage::rows::record::{self, EventRow};

const VERSION: u8 = 1;

#[derive(Deserialize)]
struct EventHeadV1 {
    event_type: u8,
    subscriptions: Vec<u32>,
    idempotency: Vec<u128>,
    digest: [u8; 16],
}

/// Reads an event. Its body is as it was stored, whether or not it still matches its digest.
pub fn event(id: EventId, bytes: &[u8]) -> Result<EventRow, StorageError> {
    let named = |error: StorageError| StorageError::Codec(format!("event {id}: {error}"));
    let (head, body): (EventHeadV1, &[u8]) = codec::decode_front(VERSION, bytes).map_err(named)?;
    let event_type = EventType::from_number(head.event_type).ok_or_else(|| named(record::damaged("event type")))?;
    let mut receivers: Vec<_> = head.subscriptions.into_iter().map(SubscriptionId).collect();
    receivers.sort_unstable();
    let content = EventContent::read(event_type, body, head.digest);
    let idempotency = head.idempotency.into_iter().map(IdempotencyKey).collect();
    Ok(EventRow { content, subscriptions: receivers.into(), idempotency })
}
