//! Makes one attempt: signs, sends, reads the part of the response that is kept, and classifies the outcome. Runs on
//! delivery threads. It follows no redirect, and reads at most 64 KiB of a response.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::Uri;

use crate::clock::Clock;
use crate::delivery::send::address::guard::Guard;
use crate::delivery::send::budget::Budget;
use crate::delivery::send::classify;
use crate::delivery::send::connect::{Connections, Peer, Use};
use crate::delivery::send::connection::Open;
use crate::delivery::send::exchange::{ReceivedResponse, Request};
use crate::delivery::send::kept::KeptConnections;
use crate::delivery::send::limit::Limit;
use crate::delivery::send::proxy::Proxy;
use crate::delivery::send::tls::TlsSettings;
use crate::delivery::send::tls::clients::{NamedClient, TlsClients};
use crate::delivery::send::token::{Need, Token, Tokens, Wanted, fetch};
use crate::domain::delivery::attempt::{Attempt, KEPT_BODY_BYTES, VERSION};
use crate::domain::delivery::headers::{RequestHeaders, Signed};
use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::request::{Content, RequestOf};
use crate::domain::delivery::retry::parse_retry_after;
use crate::domain::delivery::token_fault::TokenFault;
use crate::domain::event::content::EventContent;
use crate::domain::options::auth::Auth;
use crate::domain::secret_text::SecretText;
use crate::domain::signing::Signatures;
use crate::domain::subscription::Subscription;
use crate::domain::{BatchId, DeliveryId, EventId, SubscriptionId};

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
    tls: Arc<TlsClients>,
    kept: Arc<KeptConnections<Open>>,
    connections: Connections,
    tokens: Tokens,
}

/// What is sent in one request.
#[derive(Clone, Copy, Debug)]
pub enum Sent<'a> {
    /// One event.
    One(EventId, &'a EventContent),
    /// Several events.
    Batch(BatchId, &'a [EventContent]),
}

impl Sent<'_> {
    fn is_intact(&self) -> bool {
        match self {
            Self::One(_, event) => event.is_intact(),
            Self::Batch(_, events) => events.iter().all(EventContent::is_intact),
        }
    }

    fn envelopes(&self) -> Vec<&[u8]> {
        match self {
            Self::One(_, event) => vec![event.body()],
            Self::Batch(_, events) => events.iter().map(EventContent::body).collect(),
        }
    }

    /// The same as a request has it. `envelopes`: all of them.
    fn in_request<'b>(&'b self, subscription: SubscriptionId, envelopes: &'b [&'b [u8]]) -> Content<'b> {
        match self {
            Self::One(id, event) => {
                let delivery = DeliveryId { event: *id, subscription };
                Content::One { delivery, event_type: event.event_type, envelope: event.body() }
            }
            Self::Batch(id, _) => Content::Batch { id: *id, envelopes },
        }
    }
}

/// A finished attempt and when the receiver wants the next one.
#[derive(Debug)]
pub struct AttemptReport {
    /// The attempts that this one followed at once, because the receiver closed a kept connection or refused an access
    /// token.
    pub before: Vec<Attempt>,
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

/// While a token is valid, its renewal may take this part of an attempt's time.
const RENEWAL_SHARE: u32 = 4;
const NO_PLAIN_HTTP: &str = "plain http is not allowed; use https, or ask the operator to set delivery.allow_http";

/// With what an attempt is made.
#[derive(Clone, Copy)]
struct How {
    used: Use,
    token: Wanted,
    /// Whether another attempt may follow at once if an access token is refused.
    may_follow_refusal: bool,
}

impl Transport {
    /// A transport without connections.
    #[must_use]
    pub fn new(
        settings: TransportSettings,
        tls: TlsSettings,
        guard: Guard,
        proxy: Option<Arc<Proxy>>,
        clock: Clock,
    ) -> Arc<Self> {
        let tls = Arc::new(TlsClients::new(tls));
        let kept = Arc::new(KeptConnections::new(settings.per_endpoint));
        let budget = Budget::new(settings.connections);
        let failed = Arc::default();
        let connections = Connections { guard, tls: Arc::clone(&tls), proxy, failed, budget, kept: Arc::clone(&kept) };
        Arc::new(Self { settings, clock, tls, kept, connections, tokens: Tokens::default() })
    }

    /// Makes every connection from now on with these, and uses no earlier one again.
    pub fn set_tls(&self, tls: TlsSettings) {
        self.tls.replace(tls);
        self.kept.close_all();
    }

    /// Signs in at the proxy with this from now on.
    pub fn set_proxy_login(&self, login: Option<&SecretText>) {
        if let Some(proxy) = &self.connections.proxy {
            proxy.set_login(login);
        }
    }

    /// Closes idle connections that the other side has closed, or that were idle for long.
    pub fn close_useless_connections(&self) {
        self.kept.close_useless(Instant::now());
    }

    /// Forgets what is kept for a subscription that is deleted.
    pub fn forget(&self, subscription: SubscriptionId) {
        self.tokens.forget(subscription);
    }

    /// Makes an attempt for a subscription of that account. If the receiver closes a kept connection before it answers,
    /// most likely because it was idle, the next attempt follows at once on a new one; if it refuses an access token, with
    /// a new one. Each happens once at most. Always returns within three times the time limit.
    #[must_use]
    pub fn send(&self, subscription: &Subscription, account: &str, content: &Sent<'_>, number: u32) -> AttemptReport {
        // An attempt that follows at once would exceed a rate.
        let may_follow = subscription.options.rate_limit.is_none();
        let used = if may_follow { Use::Kept } else { Use::New };
        let mut how = How { used, token: Wanted::Valid, may_follow_refusal: may_follow };
        let (mut before, mut waited, mut number) = (Vec::new(), Duration::ZERO, number);
        loop {
            let report = self.attempt(subscription, account, content, number, how);
            waited += report.waited;
            match report.attempt.outcome {
                Outcome::KeptConnectionClosed(_) if how.used == Use::Kept => how.used = Use::New,
                Outcome::TokenDropped => how.may_follow_refusal = false,
                _ => return AttemptReport { before, waited, ..report },
            }
            before.push(report.attempt);
            number = number.saturating_add(1);
        }
    }

    /// Makes an attempt that none follows, as its connection and its access token are new.
    #[must_use]
    pub fn send_on_new_connection(
        &self,
        subscription: &Subscription,
        account: &str,
        id: EventId,
        event: &EventContent,
        number: u32,
    ) -> AttemptReport {
        let how = How { used: Use::New, token: Wanted::New, may_follow_refusal: false };
        self.attempt(subscription, account, &Sent::One(id, event), number, how)
    }

    fn attempt(
        &self,
        subscription: &Subscription,
        account: &str,
        content: &Sent<'_>,
        number: u32,
        how: How,
    ) -> AttemptReport {
        let started_at = self.clock.wall();
        let started = Instant::now();
        let timestamp_s = started_at.as_seconds();
        let mut signed = Signed { timestamp_s, signatures: Signatures::NONE };
        let mut sent = None;
        let mut limit = Limit::within(self.timeout(subscription));
        let answer = match (self.permitted(subscription, account, content), content) {
            (Err(outcome), _) => ReceivedResponse::of(outcome),
            (Ok(certificate), Sent::One(id, event)) if !subscription.shapes_requests() => {
                let delivery = DeliveryId { event: *id, subscription: subscription.id };
                signed.signatures = subscription.keys.secret.sign(*id, timestamp_s, event.body());
                let headers = RequestHeaders::of(delivery, event.event_type, number, VERSION, &signed);
                let headers = headers.iter();
                self.exchange(subscription, certificate.as_deref(), headers, event.body(), how.used, &mut limit)
            }
            (Ok(certificate), _) => {
                let shown = certificate.as_deref();
                let token = self.access_token(subscription, account, shown, how, &mut limit);
                let access_token = token.as_ref().ok().and_then(Option::as_ref);
                let envelopes = content.envelopes();
                let content = content.in_request(subscription.id, &envelopes);
                let of = RequestOf { content, number, version: VERSION, account, now: started_at, access_token };
                match (subscription.request(&of), &token) {
                    (None, _) => ReceivedResponse::of(Outcome::BodyDamaged),
                    (Some(shaped), Err(outcome)) => {
                        sent = Some(Box::new(shaped.into_kept()));
                        ReceivedResponse::of(outcome.clone())
                    }
                    (Some(shaped), Ok(_)) => {
                        let (headers, body) = (shaped.headers(), shaped.body());
                        let answer = self.exchange(subscription, shown, headers, body, how.used, &mut limit);
                        sent = Some(Box::new(shaped.into_kept()));
                        self.after_token(subscription, access_token, how, answer)
                    }
                }
            }
        };
        let duration_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let now_s = self.clock.wall().as_seconds();
        let date = answer.response.as_ref().and_then(|response| response.header("date"));
        let asked = answer.retry_after.and_then(|value| parse_retry_after(&value, date, now_s));
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
        AttemptReport { before: Vec::new(), attempt, retry_after, waited: limit.waited() }
    }

    /// The client certificate to show, if there is one, unless nothing may be sent.
    fn permitted(
        &self,
        subscription: &Subscription,
        account: &str,
        content: &Sent<'_>,
    ) -> Result<Option<Arc<NamedClient>>, Outcome> {
        if !content.is_intact() {
            return Err(Outcome::BodyDamaged);
        }
        if !subscription.endpoint.is_https() && !self.settings.allow_http {
            return Err(Outcome::AddressNotAllowed(NO_PLAIN_HTTP.to_owned()));
        }
        let Some(name) = &subscription.options.client_certificate else { return Ok(None) };
        let found = self.tls.named(name).filter(|found| found.used.is_for(account, &subscription.endpoint));
        found.map(Some).ok_or_else(|| {
            Outcome::TlsFailed(format!(
                "the client certificate {name} is no longer declared for this account and host; ask the operator to declare it in [[delivery.client_certificate]], or change the subscription's client_certificate"
            ))
        })
    }

    /// The access token of a subscription, if it needs one.
    fn access_token(
        &self,
        subscription: &Subscription,
        account: &str,
        certificate: Option<&NamedClient>,
        how: How,
        limit: &mut Limit,
    ) -> Result<Option<SecretText>, Outcome> {
        let Some(Auth::OAuth2(credentials)) = &subscription.options.auth else { return Ok(None) };
        if !credentials.token_url.is_https() && !self.settings.allow_http {
            return Err(Outcome::TokenFailed(TokenFault::Unusable(NO_PLAIN_HTTP.to_owned())));
        }
        // The time that it takes is the attempt's, and what is left of it is for the receiver.
        let timeout = self.timeout(subscription);
        let started = Instant::now();
        limit.deadline();
        let certificate = certificate.filter(|shown| shown.used.is_for(account, &credentials.token_url));
        let ask = |need| {
            let mut of_renewal = Limit::within(timeout / RENEWAL_SHARE);
            let used = if need == Need::Renewal { &mut of_renewal } else { &mut *limit };
            let fetched = fetch(&self.connections, credentials, certificate, used).map(Token::of);
            let fetched = fetched.map_err(|outcome| own_fault(outcome, timeout, started, used.waited()));
            limit.add_wait(of_renewal.waited());
            fetched
        };
        self.tokens.get(subscription.id, credentials, how.token, ask).map(Some)
    }

    /// Drops an access token that the receiver has answered with 401.
    fn after_token(
        &self,
        subscription: &Subscription,
        token: Option<&SecretText>,
        how: How,
        answer: ReceivedResponse,
    ) -> ReceivedResponse {
        match (token, &answer.outcome) {
            (Some(token), Outcome::HttpError(401)) => {
                self.tokens.drop_token(subscription.id, token);
                let outcome = if how.may_follow_refusal { Outcome::TokenDropped } else { Outcome::TokenRefused };
                ReceivedResponse { outcome, ..answer }
            }
            _ => answer,
        }
    }

    fn timeout(&self, subscription: &Subscription) -> Duration {
        let own = subscription.options.timeout.as_ref().map(|own| own.length);
        own.map_or(self.settings.timeout, |own| own.min(self.settings.timeout))
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
        AttemptReport { before: Vec::new(), attempt, retry_after: None, waited: Duration::ZERO }
    }

    fn exchange<'a>(
        &self,
        subscription: &Subscription,
        certificate: Option<&NamedClient>,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        body: &[u8],
        used: Use,
        limit: &mut Limit,
    ) -> ReceivedResponse {
        let uri: Uri = match subscription.endpoint.as_str().parse() {
            Ok(uri) => uri,
            Err(error) => return ReceivedResponse::of(Outcome::Internal(format!("the URL cannot be used: {error}"))),
        };
        let request = Request::new(&uri, headers, body);
        let started = Instant::now();
        let to = Peer { uri: &uri, certificate };
        match self.connections.ask(to, &request, used, KEPT_BODY_BYTES, limit) {
            Ok(received) => received.into(),
            Err(error) => {
                let outcome = classify::outcome(&error, limit.phase());
                ReceivedResponse::of(own_fault(outcome, self.timeout(subscription), started, limit.waited()))
            }
        }
    }
}

/// What an attempt without an answer says, after its own causes are told from the other side's.
fn own_fault(outcome: Outcome, timeout: Duration, started: Instant, waited: Duration) -> Outcome {
    match outcome {
        // The receiver was at work for longer than a connection takes to close that was idle.
        Outcome::KeptConnectionClosed(text) if started.elapsed() >= STALE_CONNECTION => Outcome::ConnectionLost(text),
        // With that much of its time spent waiting for others, it says nothing about the endpoint.
        Outcome::TimedOut(_) | Outcome::TokenFailed(TokenFault::Unreachable(_)) if waited >= timeout / 4 => {
            Outcome::LookupsBusy
        }
        outcome => outcome,
    }
}
