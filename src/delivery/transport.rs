//! Makes one attempt: signs, sends, reads as much of the answer as is kept, and says how it ended. Runs on delivery
//! threads. It follows no redirect, uses no proxy, and reads at most 64 KiB of any answer.
//!
//! Each subscription has a small HTTP agent of its own, made on demand and dropped when idle, because an agent's
//! pool is searched from end to end at every request.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ureq::http::uri::InvalidUri;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::transport::{Connector as _, RustlsConnector};
use ureq::{Agent, Body};

use super::guard::Guard;
use super::phases::Noting;
use super::tcp::Tcp;
use super::{failure, phases};
use crate::clock::Clock;
use crate::domain::attempt::{
    Attempt, HEADER_NAMES, KEPT_BODY_BYTES, KEPT_HEADER_BYTES, RequestHeaders, Response, Signed, VERSION,
};
use crate::domain::outcome::Outcome;
use crate::domain::retry::parse_retry_after;
use crate::domain::signing::Signatures;
use crate::domain::subscription::Subscription;
use crate::domain::{DeliveryId, EventId, SubscriptionId};
use crate::storage::record::EventRow;

/// How requests are made.
#[derive(Clone, Debug)]
pub struct TransportSettings {
    /// From connecting to the last byte read.
    pub timeout: Duration,
    /// Concurrent attempts of one endpoint, and so the connections worth keeping.
    pub per_endpoint: usize,
    /// Plain HTTP is allowed.
    pub allow_http: bool,
}

/// Whom deliveries trust: the public roots and the operator's own, as DER.
pub type TrustedRoots = Arc<Vec<Certificate<'static>>>;

/// Sends attempts; shared by all delivery threads.
pub struct Transport {
    settings: TransportSettings,
    guard: Guard,
    clock: Clock,
    agents: Mutex<Agents>,
}

struct Agents {
    roots: TrustedRoots,
    by_subscription: HashMap<SubscriptionId, Arc<EndpointAgent>>,
    swept: Instant,
}

struct EndpointAgent {
    url: String,
    /// The same, parsed.
    uri: Uri,
    agent: Agent,
    used: Mutex<Instant>,
    has_answered: AtomicBool,
}

/// An attempt and what the receiver asked for about the next one.
#[derive(Debug)]
pub struct Sent {
    /// What happened.
    pub attempt: Attempt,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
    /// How much of the attempt's time went by because of others.
    pub waited: Duration,
}

/// How long the head of an answer may be: as Node.js takes it.
const HEADER_BYTES: usize = 16 * 1024;
/// A head that is too long has to fit, or it looks like an end of the connection.
const INPUT_BUFFER_BYTES: usize = HEADER_BYTES + 1024;
const OUTPUT_BUFFER_BYTES: usize = 8 * 1024;
/// At most this much of an answer's body is read.
const READ_BODY_BYTES: usize = 64 * 1024;
const AGENT_IDLE: Duration = Duration::from_mins(1);
/// A connection that breaks sooner than this on an agent that was answered before was closed by the receiver while
/// idle, and the request never reached it.
const STALE_CONNECTION: Duration = Duration::from_secs(1);

impl Transport {
    /// A transport without connections.
    #[must_use]
    pub fn new(settings: TransportSettings, roots: TrustedRoots, guard: Guard, clock: Clock) -> Arc<Self> {
        let agents = Agents { roots, by_subscription: HashMap::new(), swept: Instant::now() };
        Arc::new(Self { settings, guard, clock, agents: Mutex::new(agents) })
    }

    /// Trusts these roots from the next connection on.
    pub fn trust(&self, roots: TrustedRoots) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.roots = roots;
        agents.by_subscription.clear();
    }

    /// Makes an attempt. Always comes back within the time limit.
    pub fn send(&self, subscription: &Subscription, event: EventId, row: &EventRow, number: u32) -> Sent {
        let delivery = DeliveryId { event, subscription: subscription.id };
        phases::begin();
        let started_at = self.clock.wall();
        let started = Instant::now();
        let timestamp_s = started_at.as_seconds();
        let signed = Signed { timestamp_s, signatures: subscription.secret.sign(event, timestamp_s, row.body()) };
        let url = subscription.endpoint.as_str();
        let answer = if !row.is_intact() {
            Answer::of(Outcome::BodyDamaged)
        } else if !subscription.endpoint.is_https() && !self.settings.allow_http {
            Answer::of(Outcome::AddressNotAllowed(
                "plain http is not allowed; use https, or let the operator set delivery.allow_http".to_owned(),
            ))
        } else {
            let headers = || header_map(RequestHeaders::of(delivery, row.event_type, number, VERSION, &signed));
            self.exchange(subscription.id, url, headers, row.body(), started)
                .unwrap_or_else(|error| Answer::of(Outcome::Internal(error.to_string())))
        };
        let duration_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let now_s = self.clock.wall().as_seconds();
        let retry_after = answer.retry_after.and_then(|value| parse_retry_after(&value, now_s));
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
        Sent { attempt, retry_after, waited: phases::waited() }
    }

    /// An attempt that failed before anything was sent.
    pub fn not_sent(&self, subscription: &Subscription, number: u32, outcome: Outcome) -> Sent {
        let started_at = self.clock.wall();
        let signed = Signed { timestamp_s: started_at.as_seconds(), signatures: Signatures::NONE };
        let url = subscription.endpoint.to_text();
        let version = VERSION.into();
        let attempt = Attempt { number, started_at, duration_ms: 0, url, version, signed, outcome, response: None };
        Sent { attempt, retry_after: None, waited: Duration::ZERO }
    }

    fn exchange(
        &self,
        id: SubscriptionId,
        url: &str,
        headers: impl Fn() -> Result<HeaderMap, ureq::http::Error>,
        body: &[u8],
        started: Instant,
    ) -> Result<Answer, ureq::http::Error> {
        let mut agent = self.agent(id, url)?;
        let had_answered = agent.has_answered.load(Ordering::Relaxed);
        let mut result = agent.post(headers()?, body);
        if had_answered && started.elapsed() < STALE_CONNECTION && result.as_ref().is_err_and(failure::is_disconnect) {
            agent = self.fresh_agent(id, &agent);
            result = agent.post(headers()?, body);
        }
        Ok(match result {
            Ok(response) => {
                agent.has_answered.store(true, Ordering::Relaxed);
                read(response)
            }
            Err(error) => match failure::outcome(&error, phases::current()) {
                // With so much of its time gone before its turn came, it says nothing about the endpoint.
                Outcome::TimedOut(_) if phases::waited() >= self.settings.timeout / 4 => {
                    Answer::of(Outcome::LookUpsBusy)
                }
                outcome => Answer::of(outcome),
            },
        })
    }

    fn agent(&self, id: SubscriptionId, url: &str) -> Result<Arc<EndpointAgent>, InvalidUri> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.swept.elapsed() > AGENT_IDLE {
            agents.swept = Instant::now();
            agents
                .by_subscription
                .retain(|_, agent| agent.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < AGENT_IDLE);
        }
        match agents.by_subscription.get(&id) {
            Some(agent) if agent.url == url => {
                *agent.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                Ok(Arc::clone(agent))
            }
            _ => Ok(self.put_agent(&mut agents, id, url.to_owned(), url.parse()?)),
        }
    }

    /// One without connections in place of that one.
    fn fresh_agent(&self, id: SubscriptionId, stale: &EndpointAgent) -> Arc<EndpointAgent> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        self.put_agent(&mut agents, id, stale.url.clone(), stale.uri.clone())
    }

    fn put_agent(&self, agents: &mut Agents, id: SubscriptionId, url: String, uri: Uri) -> Arc<EndpointAgent> {
        let agent = Arc::new(EndpointAgent {
            url,
            uri,
            agent: self.make_agent(&agents.roots),
            used: Mutex::new(Instant::now()),
            has_answered: AtomicBool::new(false),
        });
        agents.by_subscription.insert(id, Arc::clone(&agent));
        agent
    }

    fn make_agent(&self, roots: &TrustedRoots) -> Agent {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::clone(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent("")
            .accept("")
            .accept_encoding("")
            .timeout_global(Some(self.settings.timeout))
            .max_response_header_size(HEADER_BYTES)
            .input_buffer_size(INPUT_BUFFER_BYTES)
            .output_buffer_size(OUTPUT_BUFFER_BYTES)
            .max_idle_connections(self.settings.per_endpoint)
            .max_idle_connections_per_host(self.settings.per_endpoint)
            .build();
        Agent::with_parts(config, Tcp.chain(RustlsConnector::default()).chain(Noting), self.guard.clone())
    }
}

impl EndpointAgent {
    fn post(&self, headers: HeaderMap, body: &[u8]) -> Result<ureq::http::Response<Body>, ureq::Error> {
        let mut request = Request::post(self.uri.clone()).body(body)?;
        *request.headers_mut() = headers;
        self.agent.run(request)
    }
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

/// As the HTTP client wants them, all values in one buffer.
fn header_map(headers: RequestHeaders) -> Result<HeaderMap, ureq::http::Error> {
    let mut map = HeaderMap::with_capacity(NAMES.len());
    let places = headers.places();
    let values = Bytes::from(headers.into_text());
    for (name, place) in NAMES.iter().zip(places) {
        map.append(name, HeaderValue::from_maybe_shared(values.slice(place))?);
    }
    Ok(map)
}

struct Answer {
    outcome: Outcome,
    response: Option<Response>,
    retry_after: Option<String>,
}

impl Answer {
    fn of(outcome: Outcome) -> Self {
        Self { outcome, response: None, retry_after: None }
    }
}

fn read(response: ureq::http::Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    let retry_after = head.headers.get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut left = KEPT_HEADER_BYTES;
    let mut headers = Vec::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        // One that is too long must not cost the others their place.
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
            // An answer that is no success stays what it is, however its body ends.
            Err(_) if !(200..300).contains(&status) => break Outcome::of_status(status),
            Err(error) => break Outcome::Incomplete(status, failure::cut(&ureq::Error::from(error))),
        }
    };
    Answer { outcome, response: Some(Response { headers, body: kept }), retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_has_the_names_of_the_headers_in_their_order() {
        assert_eq!(NAMES.each_ref().map(HeaderName::as_str), HEADER_NAMES.map(str::to_ascii_lowercase));
    }
}
