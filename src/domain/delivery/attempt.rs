//! An attempt: the request and the response. Pure; any thread.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::Timestamp;
pub use crate::domain::delivery::headers::Signed;
use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::request::SentRequest;

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

/// The part of a response that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its headers in order, up to [`KEPT_HEADER_BYTES`].
    pub headers: Vec<(String, String)>,
    /// The first [`KEPT_BODY_BYTES`] of its body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first of its headers with that name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Bytes of a response's body that are kept.
pub const KEPT_BODY_BYTES: usize = 1024;
/// Bytes of a response's headers that are kept.
pub const KEPT_HEADER_BYTES: usize = 2048;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
