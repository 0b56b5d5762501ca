//! Extractors: everything is validated here, so that handlers work with types. This file has the caller; body and query
//! have files of their own. Runs on the HTTP workers.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::domain::access::{ApiKey, KeyHash, Scope, Scopes, is_key_shaped};
use crate::domain::audit::{Actor, Origin};
use crate::domain::{AccountId, KeyId, SubscriptionId};
use crate::http::request::error::ApiError;
pub use crate::http::request::json_body::{JsonText, OptionalJson};
pub use crate::http::request::query::Query;
use crate::http::request::rate_limit::{Allowance, RateLimit};
use crate::http::request::state::HttpState;
use crate::http::transport::source_of;

/// Marks an app whose callers are the operator. Only the app of the control socket has it, so nothing in a request can
/// make its sender the operator.
pub struct Operator;

/// The default account of commands.
const DEFAULT_ACCOUNT: &str = "default";

/// The name of the operator's user, which commands send along.
pub const USER_HEADER: &str = "X-TempClock-User";
/// Maximum length of that name in the audit, in characters.
const USER_CHARS: usize = 64;

/// The id of a request.
#[derive(Clone)]
pub struct RequestId(pub String);

/// Marks a request with a valid key.
struct Authenticated;

/// Whether the sender is neither the operator nor has a valid key.
#[must_use]
pub fn is_unauthenticated(request: &HttpRequest) -> bool {
    request.app_data::<Operator>().is_none() && !request.extensions().contains::<Authenticated>()
}

/// A caller's account and key.
struct Grant {
    account: AccountId,
    /// None: the operator.
    key: Option<Arc<ApiKey>>,
}

/// Where a request of the operator comes from, for the audit. Only for routes of the control socket.
pub struct OperatorOrigin(pub Origin);

impl FromRequest for OperatorOrigin {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Ok(Self(origin(request, operator(request)))))
    }
}

/// The operator's user, as a command names it.
fn operator(request: &HttpRequest) -> Actor {
    let named = request.headers().get(USER_HEADER).and_then(|name| name.to_str().ok());
    Actor::Operator { user: named.unwrap_or("operator").chars().take(USER_CHARS).collect() }
}

/// Where a request of that actor comes from.
pub(in crate::http) fn origin(request: &HttpRequest, actor: Actor) -> Origin {
    Origin { actor, request_id: request_id(request), source: source(request) }
}

/// The id of a request that the middleware has seen.
pub(in crate::http) fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone()).unwrap_or_default()
}

/// The address that a request comes from.
pub(in crate::http) fn source(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|peer| peer.ip().to_canonical())
}

/// Notes that the sender of a request is known, for the log.
pub(in crate::http) fn note_authenticated(request: &HttpRequest) {
    request.extensions_mut().insert(Authenticated);
}

/// A caller with a valid key, counted against the management limit; or the operator.
pub struct Caller {
    grant: Grant,
    origin: Origin,
}

/// A caller whose key may publish, counted against the publishing limit; or the operator. Checked before the body is
/// read, which can be large.
pub struct Publisher {
    /// The account.
    pub account: AccountId,
}

/// A caller that reads feeds, counted against their own limit; or the operator.
pub struct FeedReader(pub Caller);

impl FromRequest for FeedReader {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(grant(request, |state| &state.feeds).map(|grant| Self(Caller::of(request, grant))))
    }
}

impl Caller {
    /// The holder of a session, whose requests are counted by its pages.
    #[must_use]
    pub(in crate::http) fn of_session(account: AccountId, key: Option<Arc<ApiKey>>, origin: Origin) -> Self {
        Self { grant: Grant { account, key }, origin }
    }

    fn of(request: &HttpRequest, grant: Grant) -> Self {
        let actor = match &grant.key {
            None => operator(request),
            Some(key) => Actor::Key { id: key.id, prefix: key.prefix.clone() },
        };
        Self { grant, origin: origin(request, actor) }
    }

    /// The account whose share of threads and memory this takes; none for the operator.
    #[must_use]
    pub fn counted_account(&self) -> Option<AccountId> {
        self.grant.key.is_some().then_some(self.grant.account)
    }

    /// The key; none for the operator.
    #[must_use]
    pub fn key(&self) -> Option<&ApiKey> {
        self.grant.key.as_deref()
    }

    /// Who asks, for the audit.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin.clone()
    }

    /// Whether the caller sees every subscription of the account.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.key().is_none_or(|key| key.subscriptions.is_empty())
    }

    /// Whether the caller sees a subscription of the account.
    pub fn sight(&self) -> impl Fn(SubscriptionId) -> bool + Send + 'static {
        let key = self.grant.key.clone();
        move |id| key.as_ref().is_none_or(|key| key.sees(id))
    }

    /// Whether the caller sees what concerns this subscription, or every one of the account.
    #[must_use]
    pub fn sees(&self, concerned: Option<SubscriptionId>) -> bool {
        concerned.map_or(self.sees_all(), self.sight())
    }

    /// The subscription, if the caller sees it; to others it does not exist.
    pub fn seen(&self, id: SubscriptionId) -> Result<SubscriptionId, ApiError> {
        if self.sight()(id) { Ok(id) } else { Err(ApiError::not_found("subscription")) }
    }

    /// The account, if the key has this scope.
    pub fn require(&self, scope: Scope) -> Result<AccountId, ApiError> {
        self.grant.require(scope)
    }
}

impl Grant {
    fn require(&self, scope: Scope) -> Result<AccountId, ApiError> {
        let scopes = self.key.as_ref().map_or(Scopes::OPERATOR, |key| key.scopes);
        if scopes.contains(scope) { Ok(self.account) } else { Err(ApiError::forbidden(scope)) }
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(grant(request, |state| &state.management).map(|grant| Self::of(request, grant)))
    }
}

impl FromRequest for Publisher {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let account = grant(request, |state| &state.publishing).and_then(|grant| grant.require(Scope::EventsWrite));
        std::future::ready(account.map(|account| Self { account }))
    }
}

/// Counts a request to an unknown route. A missing key is no error there, too many invalid keys are, so that keys
/// cannot be guessed faster than elsewhere.
pub fn note_caller(request: &HttpRequest) -> Result<(), ApiError> {
    match grant(request, |state| &state.management) {
        Err(error) if error.status() == 429 => Err(error),
        _ => Ok(()),
    }
}

fn grant(request: &HttpRequest, limit: impl Fn(&HttpState) -> &RateLimit<KeyId>) -> Result<Grant, ApiError> {
    let state = HttpState::of(request)?;
    if request.app_data::<Operator>().is_some() {
        let account = named_account(request, state)?;
        return Ok(Grant { account, key: None });
    }
    let key = authenticate(request, state, limit)?;
    Ok(Grant { account: key.account, key: Some(key) })
}

/// The account named in the operator's query.
fn named_account(request: &HttpRequest, state: &HttpState) -> Result<AccountId, ApiError> {
    let mut pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
    let named = pairs.find(|(name, _)| name == "account").map(|(_, value)| value);
    let name = named.as_deref().unwrap_or(DEFAULT_ACCOUNT);
    state.reader.registry().account_named(name).ok_or_else(|| ApiError::no_account(name))
}

fn authenticate(
    request: &HttpRequest,
    state: &HttpState,
    limit: impl Fn(&HttpState) -> &RateLimit<KeyId>,
) -> Result<Arc<ApiKey>, ApiError> {
    let source = source(request);
    let limit = limit(state);
    let Some(key) = find_key(request, state, source) else {
        request.extensions_mut().insert(Allowance { limit: limit.limit(), remaining: 0 });
        // Guesses are limited by source; a valid key always passes, whatever others at that address do.
        let is_guess = request.headers().contains_key(AUTHORIZATION);
        let is_allowed =
            source.filter(|_| is_guess).map_or(Ok(()), |source| state.guesses.count(source_of(source)).map(drop));
        return Err(match is_allowed {
            Ok(()) => ApiError::unauthorized(),
            Err(wait_s) => ApiError::too_many_guesses(state.guesses.limit(), wait_s),
        });
    };
    note_authenticated(request);
    if key.is_use_news(state.clock.wall()) {
        state.writer.record_key_use(key.id);
    }
    match limit.count(key.id) {
        Ok(allowance) => {
            request.extensions_mut().insert(allowance);
            Ok(key)
        }
        Err(wait_s) => {
            request.extensions_mut().insert(Allowance { limit: limit.limit(), remaining: 0 });
            Err(ApiError::rate_limited(limit.limit(), wait_s))
        }
    }
}

fn find_key(request: &HttpRequest, state: &HttpState, source: Option<IpAddr>) -> Option<Arc<ApiKey>> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next()?.to_str().ok()?;
    // With two keys, a proxy in front may have checked the other one.
    if headers.next().is_some() {
        return None;
    }
    let (scheme, text) = header.split_once(' ')?;
    let text = text.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || !is_key_shaped(text) {
        return None;
    }
    let registry = state.reader.registry();
    registry.usable_key(&KeyHash::of(text), state.clock.wall(), source).cloned()
}
