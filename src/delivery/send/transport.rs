//! Makes one attempt: signs, sends, reads the part of the response that is kept, and classifies the outcome. Runs on
//! delivery threads. It follows no redirect, uses no proxy, and reads at most 64 KiB of a response.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ClientConfig;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use ureq::{Agent, Body};

use crate::clock::Clock;
use crate::delivery::send::budget::Budget;
use crate::delivery::send::connection::{ConnectionError, Connections, Open};
use crate::delivery::send::guard::{Guard, NoResolver};
use crate::delivery::send::kept::{KeptConnections, ServerName};
use crate::delivery::send::tls::TlsClient;
use crate::delivery::send::{classify, phase};
use crate::domain::delivery::attempt::{
    Attempt, HEADER_NAMES, KEPT_BODY_BYTES, KEPT_HEADER_BYTES, RequestHeaders, Response, Signed, VERSION,
};
use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::retry::parse_retry_after;
use crate::domain::signing::Signatures;
use crate::domain::subscription::Subscription;
use crate::domain::{DeliveryId, EventId};
use crate::storage::rows::record::EventRow;

/// Settings of requests.
#[derive(Clone, Debug)]
pub struct TransportSettings {
    /// From connecting to the last byte read.
    pub timeout: Duration,
    /// Maximum concurrent attempts of one endpoint, and so of idle connections.
    pub per_endpoint: usize,
    /// Maximum number of connections to endpoints, in use and idle.
    pub connections: usize,
    /// Whether plain HTTP is allowed.
    pub allow_http: bool,
    /// The longest that a receiver can ask to be left alone.
    pub retry_after_max: Duration,
}

/// Sends attempts; shared by all delivery threads.
pub struct Transport {
    settings: TransportSettings,
    clock: Clock,
    tls: Arc<TlsClient>,
    kept: Arc<KeptConnections<Open>>,
    agent: Agent,
}

/// A finished attempt and when the receiver wants the next one.
#[derive(Debug)]
pub struct AttemptReport {
    /// What happened.
    pub attempt: Attempt,
    /// The receiver's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Time the attempt spent waiting for a look-up slot.
    pub waited: Duration,
}

/// Maximum length of a response's head, as in Node.js.
const HEADER_BYTES: usize = 16 * 1024;
/// Larger than the limit, because a head that does not fit looks like a closed connection.
const INPUT_BUFFER_BYTES: usize = HEADER_BYTES + 1024;
const OUTPUT_BUFFER_BYTES: usize = 8 * 1024;
/// Maximum bytes read of a response's body.
const READ_BODY_BYTES: usize = 64 * 1024;
/// A kept connection that breaks sooner than this without an answer was closed by the receiver while idle, and the request
/// never reached it.
const STALE_CONNECTION: Duration = Duration::from_secs(1);

impl Transport {
    /// A transport without connections.
    #[must_use]
    pub fn new(settings: TransportSettings, tls: ClientConfig, guard: Guard, clock: Clock) -> Arc<Self> {
        let tls = Arc::new(TlsClient::new(tls));
        let kept = Arc::new(KeptConnections::new(settings.per_endpoint));
        let budget = Budget::new(settings.connections);
        let failed = Arc::default();
        let connections = Connections { guard, tls: Arc::clone(&tls), failed, budget, kept: Arc::clone(&kept) };
        let agent = make_agent(settings.timeout, connections);
        Arc::new(Self { settings, clock, tls, kept, agent })
    }

    /// Makes every connection from now on with this, and uses no earlier one again.
    pub fn set_roots(&self, tls: ClientConfig) {
        self.tls.replace(tls);
        self.kept.close_all();
    }

    /// Closes idle connections that the other side has closed, or that were idle for long.
    pub fn close_useless_connections(&self) {
        self.kept.close_useless(Instant::now());
    }

    /// Makes an attempt. Always returns within the time limit.
    #[must_use]
    pub fn send(&self, subscription: &Subscription, event: EventId, row: &EventRow, number: u32) -> AttemptReport {
        let delivery = DeliveryId { event, subscription: subscription.id };
        phase::begin();
        let started_at = self.clock.wall();
        let started = Instant::now();
        let timestamp_s = started_at.as_seconds();
        let signed = Signed { timestamp_s, signatures: subscription.secret.sign(event, timestamp_s, row.body()) };
        let url = subscription.endpoint.as_str();
        let answer = if !row.is_intact() {
            ReceivedResponse::of(Outcome::BodyDamaged)
        } else if !subscription.endpoint.is_https() && !self.settings.allow_http {
            ReceivedResponse::of(Outcome::AddressNotAllowed(
                "plain http is not allowed; use https, or let the operator set delivery.allow_http".to_owned(),
            ))
        } else {
            let headers = || header_map(RequestHeaders::of(delivery, row.event_type, number, VERSION, &signed));
            self.exchange(url, headers, row.body(), started)
                .unwrap_or_else(|error| ReceivedResponse::of(Outcome::Internal(error.to_string())))
        };
        let duration_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let now_s = self.clock.wall().as_seconds();
        let asked = answer.retry_after.and_then(|value| parse_retry_after(&value, now_s));
        let retry_after = asked.map(|wait| wait.min(self.settings.retry_after_max));
        let attempt = Attempt {
            number,
            started_at,
            duration_ms,
            url: subscription.endpoint.to_text(),
            version: VERSION.into(),
            signed,
            outcome: answer.outcome,
            response: answer.response,
        };
        AttemptReport { attempt, retry_after, waited: phase::waited() }
    }

    /// An attempt that failed before anything was sent.
    #[must_use]
    pub fn failed_before_sending(&self, subscription: &Subscription, number: u32, outcome: Outcome) -> AttemptReport {
        let started_at = self.clock.wall();
        let signed = Signed { timestamp_s: started_at.as_seconds(), signatures: Signatures::NONE };
        let url = subscription.endpoint.to_text();
        let version = VERSION.into();
        let attempt = Attempt { number, started_at, duration_ms: 0, url, version, signed, outcome, response: None };
        AttemptReport { attempt, retry_after: None, waited: Duration::ZERO }
    }

    fn exchange(
        &self,
        url: &str,
        headers: impl Fn() -> Result<HeaderMap, ureq::http::Error>,
        body: &[u8],
        started: Instant,
    ) -> Result<ReceivedResponse, ureq::http::Error> {
        let uri: Uri = url.parse()?;
        let mut result = self.post(&uri, headers()?, body);
        let mut is_repeated = false;
        // Each of the kept connections may turn out to be of no use, and one may break on top of that.
        for _ in 0..=self.settings.per_endpoint {
            match result.as_ref().err().and_then(ConnectionError::of) {
                Some(ConnectionError::Unused) => {}
                Some(ConnectionError::Unanswered(_)) if !is_repeated && started.elapsed() < STALE_CONNECTION => {
                    is_repeated = true;
                    // Those that are kept beside it have ended as well, most likely.
                    if let Some(server) = ServerName::of(&uri) {
                        self.kept.close_all_of(&server);
                    }
                }
                _ => break,
            }
            result = self.post(&uri, headers()?, body);
        }
        Ok(match result {
            Ok(response) => read(response),
            Err(error) => match classify::outcome(&error, phase::current()) {
                // With that much of its time spent waiting for others, it says nothing about the endpoint.
                Outcome::TimedOut(_) if phase::waited() >= self.settings.timeout / 4 => {
                    ReceivedResponse::of(Outcome::LookupsBusy)
                }
                outcome => ReceivedResponse::of(outcome),
            },
        })
    }

    fn post(&self, uri: &Uri, headers: HeaderMap, body: &[u8]) -> Result<ureq::http::Response<Body>, ureq::Error> {
        let mut request = Request::post(uri.clone()).body(body)?;
        *request.headers_mut() = headers;
        self.agent.run(request)
    }
}

fn make_agent(timeout: Duration, connections: Connections) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent("")
        .accept("")
        .accept_encoding("")
        .timeout_global(Some(timeout))
        .max_response_header_size(HEADER_BYTES)
        .input_buffer_size(INPUT_BUFFER_BYTES)
        .output_buffer_size(OUTPUT_BUFFER_BYTES)
        // `connections` keeps them.
        .max_idle_connections(0)
        .build();
    Agent::with_parts(config, connections, NoResolver)
}

/// [`HEADER_NAMES`] as the HTTP client has them.
static NAMES: [HeaderName; HEADER_NAMES.len()] = [
    header::CONTENT_TYPE,
    header::USER_AGENT,
    HeaderName::from_static("x-tempclock-event"),
    HeaderName::from_static("x-tempclock-delivery"),
    HeaderName::from_static("x-tempclock-attempt"),
    HeaderName::from_static("x-tempclock-signature"),
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("webhook-timestamp"),
    HeaderName::from_static("webhook-signature"),
];

/// Headers for the HTTP client, with all values in one buffer.
fn header_map(headers: RequestHeaders) -> Result<HeaderMap, ureq::http::Error> {
    let mut map = HeaderMap::with_capacity(NAMES.len());
    let places = headers.places();
    let values = Bytes::from(headers.into_text());
    for (name, place) in NAMES.iter().zip(places) {
        map.append(name, HeaderValue::from_maybe_shared(values.slice(place))?);
    }
    Ok(map)
}

struct ReceivedResponse {
    outcome: Outcome,
    response: Option<Response>,
    retry_after: Option<String>,
}

impl ReceivedResponse {
    fn of(outcome: Outcome) -> Self {
        Self { outcome, response: None, retry_after: None }
    }
}

fn read(response: ureq::http::Response<Body>) -> ReceivedResponse {
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    let retry_after = head.headers.get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut left = KEPT_HEADER_BYTES;
    let mut headers = Vec::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        // A value that is too long must not push out the others.
        let Some(rest) = left.checked_sub(name.as_str().len() + value.len()) else { continue };
        left = rest;
        headers.push((name.as_str().to_owned(), value));
    }
    let mut kept = Vec::new();
    let mut reader = body.into_reader().take(READ_BODY_BYTES as u64);
    let mut buffer = [0; KEPT_BODY_BYTES];
    let outcome = loop {
        match reader.read(&mut buffer) {
            Ok(0) => break Outcome::of_status(status),
            Ok(count) => {
                let wanted = count.min(KEPT_BODY_BYTES.saturating_sub(kept.len()));
                kept.extend_from_slice(buffer.get(..wanted).unwrap_or_default());
            }
            // An error status counts as it is, however its body ends.
            Err(_) if !(200..300).contains(&status) => break Outcome::of_status(status),
            Err(error) => break Outcome::Incomplete(status, classify::cut(&ureq::Error::from(error))),
        }
    };
    ReceivedResponse { outcome, response: Some(Response { headers, body: kept }), retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_has_the_names_of_the_headers_in_their_order() {
        assert_eq!(NAMES.each_ref().map(HeaderName::as_str), HEADER_NAMES.map(str::to_ascii_lowercase));
    }
}
