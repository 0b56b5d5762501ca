//! The stored form of events and idempotency keys, and the way between it and the domain's types. Pure; any
//! thread. A stored struct never changes: another shape is another version.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::storage::error::StorageError;
use crate::storage::rows::codec;

use crate::domain::event::IdempotencyKey;
use crate::domain::event::event_type::EventType;
use crate::domain::{SubscriptionId, Timestamp};

const VERSION: u8 = 1;
const EVENT_VERSION: u8 = 2;
/// Of an event that was erased.
const ERASED_VERSION: u8 = 3;

pub(in crate::storage) fn damaged(what: &str) -> StorageError {
    StorageError::Codec(format!("a stored {what} is not valid"))
}

/// A stored event. Writer, scheduler and delivery threads share one copy.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// Its type.
    pub event_type: EventType,
    /// The subscriptions that matched when it was published, by number; none where it was read to be sent.
    pub subscriptions: Arc<[SubscriptionId]>,
    /// The keys that identify duplicates of it.
    pub idempotency: Vec<IdempotencyKey>,
    body: Box<[u8]>,
    digest: [u8; 16],
    /// Whether it was read from disk, and so may be damaged.
    is_read: bool,
    erased: Option<Erased>,
}

/// What is left of the body of an event that was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
    /// When it was erased, by the wall clock.
    pub at: Timestamp,
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
    digest: [u8; 16],
}

/// The first half of SHA-256: enough to detect damage, small enough to store with every body.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 16] {
    let full: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; 16];
    half.copy_from_slice(full.split_at(16).0);
    half
}

impl EventRow {
    /// An event with the body to deliver.
    #[must_use]
    pub fn new(
        event_type: EventType,
        subscriptions: Vec<SubscriptionId>,
        idempotency: Vec<IdempotencyKey>,
        body: Vec<u8>,
    ) -> Self {
        let digest = digest(&body);
        Self {
            event_type,
            subscriptions: subscriptions.into(),
            idempotency,
            body: body.into(),
            digest,
            is_read: false,
            erased: None,
        }
    }

    /// One that was stored with that digest.
    pub(super) fn read(
        event_type: EventType,
        subscriptions: Arc<[SubscriptionId]>,
        idempotency: Vec<IdempotencyKey>,
        body: &[u8],
        digest: [u8; 16],
    ) -> Self {
        Self { event_type, subscriptions, idempotency, body: body.into(), digest, is_read: true, erased: None }
    }

    /// The body to deliver.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The same event without its body.
    #[must_use]
    pub fn erase(self, at: Timestamp) -> Self {
        let erased = self.erased.unwrap_or(Erased { sha256: Sha256::digest(&self.body).into(), at });
        Self { erased: Some(erased), ..Self::new(self.event_type, Vec::new(), self.idempotency, Vec::new()) }
            .with_receivers(self.subscriptions)
    }

    fn with_receivers(self, subscriptions: Arc<[SubscriptionId]>) -> Self {
        Self { subscriptions, ..self }
    }

    /// What is left of the body, if the event was erased.
    #[must_use]
    pub fn erased(&self) -> Option<Erased> {
        self.erased
    }

    /// Whether the body still matches its digest.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        !self.is_read || digest(&self.body) == self.digest
    }

    /// The stored form: head, then the body as it is. `receivers` is the number of its set of receivers.
    pub fn encode(&self, receivers: u32) -> Result<Vec<u8>, StorageError> {
        let event_type = Cow::Borrowed(self.event_type.name());
        let idempotency = self.idempotency.iter().map(|key| key.0).collect();
        if let Some(Erased { sha256, at }) = self.erased {
            let row = ErasedRow { event_type, receivers, idempotency, sha256, erased_ms: at.as_ms() };
            return codec::encode(ERASED_VERSION, &row);
        }
        let head = EventHeadV2 { event_type, receivers, idempotency, digest: self.digest };
        let mut bytes = Vec::with_capacity(self.body.len() + 96);
        codec::encode_into(EVENT_VERSION, &head, &mut bytes)?;
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }

    /// Reads the stored form; `receivers` reads the set of receivers with that number.
    pub fn decode(
        bytes: &[u8],
        receivers: impl FnOnce(u32) -> Result<Arc<[SubscriptionId]>, StorageError>,
    ) -> Result<Self, StorageError> {
        if let Some(row) = erased_row(bytes) {
            let ErasedRow { event_type: name, receivers: set, idempotency, sha256, erased_ms } = row?;
            let keys = idempotency.into_iter().map(IdempotencyKey).collect();
            let erased = Some(Erased { sha256, at: Timestamp::from_ms(erased_ms) });
            let row = Self::new(event_type(&name)?, Vec::new(), keys, Vec::new());
            return Ok(Self { erased, ..row }.with_receivers(receivers(set)?));
        }
        let (head, body): (EventHeadV2<'_>, &[u8]) = codec::decode_front(EVENT_VERSION, bytes)?;
        let event_type = event_type(&head.event_type)?;
        let keys = head.idempotency.into_iter().map(IdempotencyKey).collect();
        Ok(Self::read(event_type, receivers(head.receivers)?, keys, body, head.digest))
    }
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
    use super::*;

    #[test]
    fn of_an_event_that_was_erased_all_but_the_body_is_read_as_it_was_stored() {
        let of = vec![SubscriptionId(3), SubscriptionId(5)];
        let row = EventRow::new(EventType::ClockOut, of.clone(), vec![IdempotencyKey(9)], b"{\"name\":1}".to_vec());
        let sha256: [u8; 32] = Sha256::digest(row.body()).into();
        let erased = row.erase(Timestamp::from_ms(7));
        let again = erased.clone().erase(Timestamp::from_ms(8));
        assert_eq!(again.erased(), erased.erased(), "it was erased once");
        let bytes = erased.encode(4).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"name"));
        let read =
            EventRow::decode(&bytes, |number| Ok(if number == 4 { of.clone().into() } else { [].into() })).unwrap();
        assert_eq!(read.erased(), Some(Erased { sha256, at: Timestamp::from_ms(7) }));
        assert_eq!((read.event_type, &*read.subscriptions, read.body()), (EventType::ClockOut, &of[..], &b""[..]));
        assert!(read.is_intact() && body_of(&bytes).unwrap().is_empty());
        let head = EventHead::decode(&bytes).unwrap();
        assert_eq!((head.receivers, head.is_erased, head.idempotency[0].0), (4, true, 9));
    }
}
