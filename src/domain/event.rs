//! An event and the body that every receiver gets. Pure; any thread.

use std::io::Write as _;

use super::event_type::EventType;
use super::{EventId, Timestamp};

/// An event that passed every check and waits to be stored.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What kind of thing happened.
    pub event_type: EventType,
    /// The `data` as published, untouched.
    pub data: Box<str>,
    /// When it happened, if the publisher said so.
    pub occurred_at: Option<Timestamp>,
    /// Under which names a repetition is recognised; none, one, or header and `id` both.
    pub idempotency: Vec<KnownAs>,
}

/// A name under which an event is recognised when it comes again.
#[derive(Clone, Copy, Debug)]
pub struct KnownAs {
    /// The name.
    pub key: IdempotencyKey,
    /// Where it was given.
    pub given_in: KeyPlace,
    /// A digest of what was asked for, to tell a repetition from something else under the same key.
    pub fingerprint: [u8; 16],
}

/// Where a publisher gave an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the header of the request.
    Header,
    /// In the event.
    Id,
}

/// The digest of a publisher's idempotency key, with its kind mixed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(pub u128);

/// How much of a body is neither the type's name nor the data.
const BODY_FRAME_BYTES: usize =
    r#"{"id":"evt_00000000000000000000000000000000","event":"","timestamp":"1970-01-01T00:00:00.000Z","data":}"#.len();

/// The body of every delivery of one event: the same bytes on each attempt.
#[must_use]
pub fn body(id: EventId, event_type: EventType, timestamp: Timestamp, data: &str) -> Vec<u8> {
    let name = event_type.name();
    // As long as it gets, so that nothing of it is moved or left over.
    let mut body = Vec::with_capacity(BODY_FRAME_BYTES + name.len() + data.len());
    // Writing to memory cannot fail.
    let _ = write!(body, r#"{{"id":"{id}","event":"{name}","timestamp":"{timestamp}","data":{data}}}"#);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_stands_in_the_body_as_it_was_published() {
        let data = r#"{ "b":1.50,"a" : 1e2, "ü":"\u00fc" }"#;
        let body = body(EventId(5), EventType::ClockIn, Timestamp::from_ms(0), data);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!(
                r#"{{"id":"evt_00000000000000000000000000000005","event":"clock_in","timestamp":"1970-01-01T00:00:00.000Z","data":{data}}}"#
            )
        );
    }
}
