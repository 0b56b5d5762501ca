//! An attempt: the request and the response. Pure; any thread.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::request::SentRequest;
use crate::domain::event::event_type::EventType;
use crate::domain::signing::Signatures;
use crate::domain::{DeliveryId, Timestamp};

/// A finished attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1 without gaps.
    pub number: u32,
    /// Start time, by the wall clock.
    pub started_at: Timestamp,
    /// Duration in milliseconds.
    pub duration_ms: u32,
    /// The URL.
    pub url: Arc<str>,
    /// The version of this program that made it.
    pub version: Cow<'static, str>,
    /// Its signatures.
    pub signed: Signed,
    /// Its outcome.
    pub outcome: Outcome,
    /// The response, if there was one.
    pub response: Option<Response>,
    /// The request, if options of the subscription shaped it; otherwise it follows from the rest.
    pub request: Option<Box<SentRequest>>,
}

impl Attempt {
    /// When it ended, by the wall clock.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        self.started_at.plus(Duration::from_millis(self.duration_ms.into()))
    }
}

/// The signature headers of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The value of `webhook-timestamp`, in seconds.
    pub timestamp_s: u64,
    /// Both signatures.
    pub signatures: Signatures,
}

/// The part of a response that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its headers in order, up to [`KEPT_HEADER_BYTES`].
    pub headers: Vec<(String, String)>,
    /// The first [`KEPT_BODY_BYTES`] of its body.
    pub body: Vec<u8>,
}

/// Bytes of a response's body that are kept.
pub const KEPT_BODY_BYTES: usize = 1024;
/// Bytes of a response's headers that are kept.
pub const KEPT_HEADER_BYTES: usize = 2048;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The names of an attempt's headers, in sending order.
pub const HEADER_NAMES: [&str; 9] = [
    "Content-Type",
    "User-Agent",
    "X-TempClock-Event",
    "X-TempClock-Delivery",
    "X-TempClock-Attempt",
    "X-TempClock-Signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// The values of an attempt's headers, concatenated.
#[derive(Debug)]
pub struct RequestHeaders {
    values: String,
    ends: [usize; HEADER_NAMES.len()],
}

impl RequestHeaders {
    /// Those of an attempt by that version of this program.
    #[must_use]
    pub fn of(delivery: DeliveryId, event_type: EventType, number: u32, version: &str, signed: &Signed) -> Self {
        let Signed { timestamp_s, signatures } = signed;
        let (tempclock, standard) = (signatures.tempclock_header(), signatures.standard_header());
        let all: [&dyn Display; HEADER_NAMES.len()] = [
            &"application/json",
            &format_args!("TempClock-Webhooks/{version}"),
            &event_type.name(),
            &delivery,
            &number,
            &tempclock,
            &delivery.event,
            timestamp_s,
            &standard,
        ];
        let mut values = String::with_capacity(512);
        let ends = all.map(|value| {
            // Writing to a string cannot fail.
            let _ = write!(values, "{value}");
            values.len()
        });
        Self { values, ends }
    }

    /// The ranges of the values in [`RequestHeaders::into_text`], in the order of [`HEADER_NAMES`].
    #[must_use]
    pub fn places(&self) -> [Range<usize>; HEADER_NAMES.len()] {
        let mut begin = 0;
        self.ends.map(|end| std::mem::replace(&mut begin, end)..end)
    }

    /// The concatenated values.
    #[must_use]
    pub fn into_text(self) -> String {
        self.values
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = HEADER_NAMES.iter().copied();
        names.zip(self.places().map(|place| self.values.get(place).unwrap_or_default()))
    }
}
