//! Events and the body that is delivered. Pure; any thread.

mod built_in;
pub mod catalogue;
pub mod content;
pub mod data;
pub mod event_type;
pub mod event_types;
pub mod field;
pub mod find;
pub mod meaning;
mod number;
pub mod parsed_data;

use std::io::Write as _;

use bytestring::ByteString;

use super::{EventId, SubscriptionId, Timestamp};
use crate::domain::event::event_type::EventType;
use crate::domain::options::order::OrderKey;

/// A validated event that is not stored yet.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its type.
    pub event_type: EventType,
    /// Whether `*` leaves its type out.
    pub is_opt_in: bool,
    /// The `data` as published, untouched: a part of the request's body, which is in memory until the last event of it is
    /// stored.
    pub data: ByteString,
    /// When it happened, if the publisher gave a time.
    pub occurred_at: Option<Timestamp>,
    /// What the publisher marked it with, for finding it.
    pub tags: Vec<Box<str>>,
    /// By what it goes in order with others of its worker, if its data names one.
    pub worker: Option<OrderKey>,
    /// Subscriptions whose filter it does not fit, by number.
    pub unfit: Vec<SubscriptionId>,
    /// The keys that identify duplicates: none, one, or both header and `id`.
    pub idempotency: Vec<IdempotencyEntry>,
}

/// An idempotency key of an event.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyEntry {
    /// The key.
    pub key: IdempotencyKey,
    /// Where it was given.
    pub source: KeySource,
    /// A digest of the request, which distinguishes a duplicate from another event with the same key.
    pub fingerprint: [u8; 16],
}

/// Where a publisher gave an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In the header of the request.
    Header,
    /// In the event.
    Id,
}

/// The digest of a publisher's idempotency key and its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(pub u128);

/// Length of a body without the type's name and the data.
const BODY_FRAME_BYTES: usize =
    r#"{"id":"evt_00000000000000000000000000000000","event":"","timestamp":"1970-01-01T00:00:00.000Z","data":}"#.len();

/// The body of every delivery of an event: the same bytes on each attempt.
#[must_use]
pub fn body(id: EventId, event_type: EventType, timestamp: Timestamp, data: &str) -> Vec<u8> {
    let name = event_type.name();
    // The exact capacity, so that the buffer is never reallocated.
    let mut body = Vec::with_capacity(BODY_FRAME_BYTES + name.len() + data.len());
    // Writing to memory cannot fail.
    let _ = write!(body, r#"{{"id":"{id}","event":"{name}","timestamp":"{timestamp}","data":{data}}}"#);
    body
}

/// The text of the data in such a body; none in a damaged one. What stands before it is the server's own: none of its
/// values holds a quotation mark.
#[must_use]
pub fn data_of(body: &[u8]) -> Option<&str> {
    let (_, data) = str::from_utf8(body).ok()?.split_once(r#""data":"#)?;
    data.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_stands_in_the_body_as_it_was_published() {
        let data = r#"{ "b":1.50,"a" : 1e2, "ü":"\u00fc" }"#;
        let body = body(EventId(5), EventType::ClockIn, Timestamp::from_ms(0), data);
        assert_eq!(data_of(&body), Some(data));
        assert_eq!(data_of(b"damaged"), None);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!(
                r#"{{"id":"evt_00000000000000000000000000000005","event":"clock_in","timestamp":"1970-01-01T00:00:00.000Z","data":{data}}}"#
            )
        );
    }
}
