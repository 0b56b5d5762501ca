//! One attempt: what was sent and what came back. Pure; any thread.

use std::borrow::Cow;
use std::sync::Arc;

use super::event_type::EventType;
use super::outcome::Outcome;
use super::signing::Signatures;
use super::{DeliveryId, Timestamp};

/// A finished attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1 without gaps.
    pub number: u32,
    /// When it began, by the wall clock.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// Where it went.
    pub url: Arc<str>,
    /// What it was signed with and when.
    pub signed: Signed,
    /// How it ended.
    pub outcome: Outcome,
    /// What came back, if anything did.
    pub response: Option<Response>,
}

/// The signature headers of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The value of `webhook-timestamp`, in seconds.
    pub timestamp_s: u64,
    /// Both signatures.
    pub signatures: Signatures,
}

/// As much of an answer as is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its headers in the order in which they came, as many as [`KEPT_HEADER_BYTES`] have room for.
    pub headers: Vec<(String, String)>,
    /// The first [`KEPT_BODY_BYTES`] of its body.
    pub body: Vec<u8>,
}

/// How much of an answer's body is kept with the attempt.
pub const KEPT_BODY_BYTES: usize = 1024;
/// How much of an answer's headers is kept with the attempt.
pub const KEPT_HEADER_BYTES: usize = 2048;

/// What a receiver knows us as.
pub const USER_AGENT: &str = concat!("TempClock-Webhooks/", env!("CARGO_PKG_VERSION"));

/// The headers of an attempt, in the order in which they are sent.
#[must_use]
pub fn request_headers(
    delivery: DeliveryId,
    event_type: EventType,
    number: u32,
    signed: &Signed,
) -> [(&'static str, Cow<'static, str>); 9] {
    [
        ("Content-Type", "application/json".into()),
        ("User-Agent", USER_AGENT.into()),
        ("X-TempClock-Event", event_type.name().into()),
        ("X-TempClock-Delivery", delivery.to_string().into()),
        ("X-TempClock-Attempt", number.to_string().into()),
        ("X-TempClock-Signature", signed.signatures.tempclock_header().into()),
        ("webhook-id", delivery.event.to_string().into()),
        ("webhook-timestamp", signed.timestamp_s.to_string().into()),
        ("webhook-signature", signed.signatures.standard_header().into()),
    ]
}
