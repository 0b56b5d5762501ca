//! Makes one attempt: signs, sends, reads the part of the response that is kept, and classifies the outcome. Runs on
//! delivery threads. It follows no redirect, uses no proxy, and reads at most 64 KiB of a response.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use ureq::http::Uri;

use crate::clock::Clock;
use crate::delivery::send::address::guard::Guard;
use crate::delivery::send::budget::Budget;
use crate::delivery::send::connect::Connections;
use crate::delivery::send::connection::{ConnectionError, Open};
use crate::delivery::send::exchange::{ReceivedResponse, Request, exchange};
use crate::delivery::send::kept::KeptConnections;
use crate::delivery::send::tcp::Limit;
use crate::delivery::send::tls::TlsClient;
use crate::delivery::send::{classify, phase};
use crate::domain::delivery::attempt::{Attempt, RequestHeaders, Signed, VERSION};
use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::request::RequestOf;
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
    connections: Connections,
}

/// A finished attempt and when the receiver wants the next one.
#[derive(Debug)]
pub struct AttemptReport {
    /// An attempt that this one followed at once, because the receiver closed its kept connection.
    pub before: Option<Box<Attempt>>,
    /// What happened.
    pub attempt: Attempt,
    /// The receiver's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Time the attempt spent waiting for a look-up slot.
    pub waited: Duration,
}

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
        Arc::new(Self { settings, clock, tls, kept, connections })
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

    /// Makes an attempt for a subscription of that account. If the receiver closes a kept connection before it answers,
    /// most likely because it was idle, the next attempt follows at once on a new one. Always returns within twice the
    /// time limit.
    #[must_use]
    pub fn send(
        &self,
        subscription: &Subscription,
        account: &str,
        event: EventId,
        row: &EventRow,
        number: u32,
    ) -> AttemptReport {
        // An attempt that follows at once would exceed a rate.
        let use_kept = subscription.options.rate_limit.is_none();
        let first = self.attempt(subscription, account, event, row, number, use_kept);
        if !matches!(first.attempt.outcome, Outcome::KeptConnectionClosed(_)) {
            return first;
        }
        let next = self.attempt(subscription, account, event, row, number.saturating_add(1), false);
        AttemptReport { before: Some(Box::new(first.attempt)), waited: first.waited + next.waited, ..next }
    }

    /// Makes an attempt that none follows, as its connection is a new one.
    #[must_use]
    pub fn send_on_new_connection(
        &self,
        subscription: &Subscription,
        account: &str,
        event: EventId,
        row: &EventRow,
        number: u32,
    ) -> AttemptReport {
        self.attempt(subscription, account, event, row, number, false)
    }

    fn attempt(
        &self,
        subscription: &Subscription,
        account: &str,
        event: EventId,
        row: &EventRow,
        number: u32,
        use_kept: bool,
    ) -> AttemptReport {
        let delivery = DeliveryId { event, subscription: subscription.id };
        phase::begin();
        let started_at = self.clock.wall();
        let started = Instant::now();
        let timestamp_s = started_at.as_seconds();
        let is_shaped = subscription.shapes_requests();
        let signatures =
            if is_shaped { Signatures::NONE } else { subscription.keys.secret.sign(event, timestamp_s, row.body()) };
        let signed = Signed { timestamp_s, signatures };
        let mut sent = None;
        let answer = if !row.is_intact() {
            ReceivedResponse::of(Outcome::BodyDamaged)
        } else if !subscription.endpoint.is_https() && !self.settings.allow_http {
            ReceivedResponse::of(Outcome::AddressNotAllowed(
                "plain http is not allowed; use https, or let the operator set delivery.allow_http".to_owned(),
            ))
        } else if is_shaped {
            let (event_type, envelope) = (row.event_type, row.body());
            let of = RequestOf { delivery, event_type, number, version: VERSION, account, now: started_at, envelope };
            match subscription.request(&of) {
                Some(shaped) => {
                    let answer = self.exchange(subscription, shaped.headers(), shaped.body(), use_kept);
                    sent = Some(Box::new(shaped.into_kept()));
                    answer
                }
                None => ReceivedResponse::of(Outcome::BodyDamaged),
            }
        } else {
            let headers = RequestHeaders::of(delivery, row.event_type, number, VERSION, &signed);
            self.exchange(subscription, headers.iter(), row.body(), use_kept)
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
            request: sent,
        };
        AttemptReport { before: None, attempt, retry_after, waited: phase::waited() }
    }

    /// An attempt that failed before anything was sent.
    #[must_use]
    pub fn failed_before_sending(&self, subscription: &Subscription, number: u32, outcome: Outcome) -> AttemptReport {
        let started_at = self.clock.wall();
        let signed = Signed { timestamp_s: started_at.as_seconds(), signatures: Signatures::NONE };
        let url = subscription.endpoint.to_text();
        let version = VERSION.into();
        let attempt = Attempt {
            number,
            started_at,
            duration_ms: 0,
            url,
            version,
            signed,
            outcome,
            response: None,
            request: None,
        };
        AttemptReport { before: None, attempt, retry_after: None, waited: Duration::ZERO }
    }

    fn exchange<'a>(
        &self,
        subscription: &Subscription,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        body: &[u8],
        use_kept: bool,
    ) -> ReceivedResponse {
        let uri: Uri = match subscription.endpoint.as_str().parse() {
            Ok(uri) => uri,
            Err(error) => return ReceivedResponse::of(Outcome::Internal(format!("the URL cannot be used: {error}"))),
        };
        let request = Request::new(&uri, headers, body);
        let own = subscription.options.timeout.as_ref().map(|own| own.length);
        let timeout = own.map_or(self.settings.timeout, |own| own.min(self.settings.timeout));
        let mut limit = Limit::within(timeout);
        let started = Instant::now();
        let mut try_once =
            |use_kept| exchange(self.connections.connect(&uri, use_kept, &mut limit)?, &request, &mut limit);
        let mut result = try_once(use_kept);
        // Each of the kept connections may turn out to be of no use before a byte of the request is sent.
        for left in (0..self.settings.per_endpoint).rev() {
            if !matches!(result.as_ref().err().and_then(ConnectionError::of), Some(ConnectionError::Unused)) {
                break;
            }
            result = try_once(left > 0);
        }
        result.unwrap_or_else(|error| match classify::outcome(&error, phase::current()) {
            // The receiver was at work for longer than a connection takes to close that was idle.
            Outcome::KeptConnectionClosed(text) if started.elapsed() >= STALE_CONNECTION => {
                ReceivedResponse::of(Outcome::ConnectionLost(text))
            }
            // With that much of its time spent waiting for others, it says nothing about the endpoint.
            Outcome::TimedOut(_) if phase::waited() >= timeout / 4 => ReceivedResponse::of(Outcome::LookupsBusy),
            outcome => ReceivedResponse::of(outcome),
        })
    }
}
