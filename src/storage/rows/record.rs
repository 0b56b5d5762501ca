//! The stored form of events and idempotency keys, and the way between it and the domain's types. Pure; any
//! thread. A stored struct never changes: another shape is another version.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::storage::error::StorageError;
use crate::storage::rows::codec;

use crate::domain::event::IdempotencyKey;
use crate::domain::event::content::{BodyDigest, Erased, EventContent};
use crate::domain::event::event_type::EventType;
use crate::domain::{SubscriptionId, Timestamp};

const VERSION: u8 = 1;
const EVENT_VERSION: u8 = 2;
/// Of an event that was erased.
const ERASED_VERSION: u8 = 3;

pub(in crate::storage) fn damaged(what: &str) -> StorageError {
    StorageError::Codec(format!("a stored {what} is not valid"))
}

/// The row of an event.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// Its type and its body.
    pub content: EventContent,
    /// The subscriptions that matched when it was published, by number; none where it was read to be sent.
    pub subscriptions: Arc<[SubscriptionId]>,
    /// The keys that identify duplicates of it.
    pub idempotency: Vec<IdempotencyKey>,
}

/// The row of an event that was erased.
#[derive(Serialize, Deserialize)]
struct ErasedRow<'a> {
    event_type: Cow<'a, str>,
    receivers: u32,
    idempotency: Vec<u128>,
    sha256: [u8; 32],
    erased_ms: u64,
}

/// The front of an event's row, before the body. The type is there by its name: the configuration may know others.
#[derive(Serialize, Deserialize)]
struct EventHeadV2<'a> {
    event_type: Cow<'a, str>,
    receivers: u32,
    idempotency: Vec<u128>,
    digest: BodyDigest,
}

impl EventRow {
    /// The stored form: head, then the body as it is. `receivers` is the number of its set of receivers.
    pub fn encode(&self, receivers: u32) -> Result<Vec<u8>, StorageError> {
        let Self { content, .. } = self;
        let event_type = Cow::Borrowed(content.event_type.name());
        let idempotency = self.idempotency.iter().map(|key| key.0).collect();
        if let Some(Erased { sha256, at }) = content.erased() {
            let row = ErasedRow { event_type, receivers, idempotency, sha256, erased_ms: at.as_ms() };
            return codec::encode(ERASED_VERSION, &row);
        }
        let head = EventHeadV2 { event_type, receivers, idempotency, digest: content.digest() };
        let mut bytes = Vec::with_capacity(content.body().len() + 96);
        codec::encode_into(EVENT_VERSION, &head, &mut bytes)?;
        bytes.extend_from_slice(content.body());
        Ok(bytes)
    }

    /// Reads the stored form; `receivers` reads the set of receivers with that number.
    pub fn decode(
        bytes: &[u8],
        receivers: impl FnOnce(u32) -> Result<Arc<[SubscriptionId]>, StorageError>,
    ) -> Result<Self, StorageError> {
        if let Some(row) = erased_row(bytes) {
            let ErasedRow { event_type: name, receivers: set, idempotency, sha256, erased_ms } = row?;
            let idempotency = idempotency.into_iter().map(IdempotencyKey).collect();
            let erased = Erased { sha256, at: Timestamp::from_ms(erased_ms) };
            let content = EventContent::of_erased(event_type(&name)?, erased);
            return Ok(Self { content, subscriptions: receivers(set)?, idempotency });
        }
        let (head, body): (EventHeadV2<'_>, &[u8]) = codec::decode_front(EVENT_VERSION, bytes)?;
        let content = EventContent::read(event_type(&head.event_type)?, body, head.digest);
        let idempotency = head.idempotency.into_iter().map(IdempotencyKey).collect();
        Ok(Self { content, subscriptions: receivers(head.receivers)?, idempotency })
    }
}

/// What is sent of an event, in its stored form.
pub fn content_of(bytes: &[u8]) -> Result<EventContent, StorageError> {
    EventRow::decode(bytes, |_| Ok(Arc::default())).map(|row| row.content)
}

/// The type of that name, as stored.
fn event_type(name: &str) -> Result<EventType, StorageError> {
    EventType::from_name(name).ok_or_else(|| StorageError::Codec(format!("the event type {name:?} is not known")))
}

/// The row, if it is that of an event that was erased.
fn erased_row(bytes: &[u8]) -> Option<Result<ErasedRow<'_>, StorageError>> {
    (bytes.first() == Some(&ERASED_VERSION)).then(|| codec::decode(ERASED_VERSION, bytes))
}

/// The body in the stored form of an event; of one that was erased it is empty.
pub fn body_of(bytes: &[u8]) -> Result<&[u8], StorageError> {
    if bytes.first() == Some(&ERASED_VERSION) {
        return Ok(&[]);
    }
    let (_, body): (EventHeadV2<'_>, &[u8]) = codec::decode_front(EVENT_VERSION, bytes)?;
    Ok(body)
}

/// An event's row without the body.
#[derive(Debug)]
pub struct EventHead {
    /// Its type.
    pub event_type: EventType,
    /// The number of its set of receivers.
    pub receivers: u32,
    /// The keys that identify duplicates of it.
    pub idempotency: Vec<IdempotencyKey>,
    /// Whether it was erased.
    pub is_erased: bool,
}

impl EventHead {
    /// Reads the front of an event's stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        if let Some(row) = erased_row(bytes) {
            let row = row?;
            return Ok(Self {
                event_type: event_type(&row.event_type)?,
                receivers: row.receivers,
                idempotency: row.idempotency.into_iter().map(IdempotencyKey).collect(),
                is_erased: true,
            });
        }
        let (head, _): (EventHeadV2<'_>, &[u8]) = codec::decode_front(EVENT_VERSION, bytes)?;
        Ok(Self {
            event_type: event_type(&head.event_type)?,
            receivers: head.receivers,
            idempotency: head.idempotency.into_iter().map(IdempotencyKey).collect(),
            is_erased: false,
        })
    }
}

/// The response to a publish, to repeat for duplicates.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct IdempotencyRow {
    /// The event's id.
    pub event: u128,
    /// Fingerprint of the request.
    pub fingerprint: [u8; 16],
    /// Number of deliveries.
    pub deliveries: u32,
}

impl IdempotencyRow {
    /// The stored form.
    pub fn encode(&self) -> Result<Vec<u8>, StorageError> {
        codec::encode(VERSION, self)
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        codec::decode(VERSION, bytes)
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn of_an_event_that_was_erased_all_but_the_body_is_read_as_it_was_stored() {
        let of = vec![SubscriptionId(3), SubscriptionId(5)];
        let content = EventContent::new(EventType::ClockOut, b"{\"name\":1}".to_vec());
        let sha256: [u8; 32] = Sha256::digest(content.body()).into();
        let erased = content.erase(Timestamp::from_ms(7));
        let again = erased.clone().erase(Timestamp::from_ms(8));
        assert_eq!(again.erased(), erased.erased(), "it was erased once");
        let row = EventRow { content: erased, subscriptions: of.clone().into(), idempotency: vec![IdempotencyKey(9)] };
        let bytes = row.encode(4).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"name"));
        let read =
            EventRow::decode(&bytes, |number| Ok(if number == 4 { of.clone().into() } else { [].into() })).unwrap();
        assert_eq!(read.content.erased(), Some(Erased { sha256, at: Timestamp::from_ms(7) }));
        let EventRow { content, subscriptions, .. } = read;
        assert_eq!((content.event_type, &*subscriptions, content.body()), (EventType::ClockOut, &of[..], &b""[..]));
        assert!(content.is_intact() && body_of(&bytes).unwrap().is_empty());
        let head = EventHead::decode(&bytes).unwrap();
        assert_eq!((head.receivers, head.is_erased, head.idempotency[0].0), (4, true, 9));
    }
}
