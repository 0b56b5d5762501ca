//! Extractors: caller, body, path ids and list parameters. Everything is validated here, so that handlers work with
//! types. Runs on the HTTP workers.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use futures_core::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::access::{ApiKey, KeyHash, Scope, Scopes, is_key_shaped};
use crate::domain::audit::{Actor, Origin};
use crate::domain::{AccountId, FieldError, KeyId, SubscriptionId};
use crate::http::request::body_text;
use crate::http::request::error::ApiError;
use crate::http::request::rate_limit::{Allowance, RateLimit};
use crate::http::request::respond::{DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET};
use crate::http::request::state::HttpState;
use crate::http::transport::source_of;
use crate::storage::error::Rejection;
use crate::storage::read::reader::PageRequest;

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
    origin: Origin,
}

/// Where a request of the operator comes from, for the audit. Only for routes of the control socket.
pub struct OperatorOrigin(pub Origin);

impl FromRequest for OperatorOrigin {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Ok(Self(origin(request, None))))
    }
}

fn origin(request: &HttpRequest, key: Option<&ApiKey>) -> Origin {
    let user = || {
        let named = request.headers().get(USER_HEADER).and_then(|name| name.to_str().ok());
        Actor::Operator { user: named.unwrap_or("operator").chars().take(USER_CHARS).collect() }
    };
    let actor = key.map_or_else(user, |key| Actor::Key { id: key.id, prefix: key.prefix.clone() });
    let request_id = request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone()).unwrap_or_default();
    Origin { actor, request_id, source: request.peer_addr().map(|peer| peer.ip().to_canonical()) }
}

/// A caller with a valid key, counted against the management limit; or the operator.
pub struct Caller(Grant);

/// A caller whose key may publish, counted against the publishing limit; or the operator. Checked before the body is
/// read, which can be large.
pub struct Publisher {
    /// The account.
    pub account: AccountId,
}

impl Caller {
    /// The account whose share of threads and memory this takes; none for the operator.
    #[must_use]
    pub fn counted_account(&self) -> Option<AccountId> {
        self.0.key.is_some().then_some(self.0.account)
    }

    /// The key; none for the operator.
    #[must_use]
    pub fn key(&self) -> Option<&ApiKey> {
        self.0.key.as_deref()
    }

    /// Who asks, for the audit.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin.clone()
    }

    /// Whether the caller sees every subscription of the account.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.key().is_none_or(|key| key.subscriptions.is_empty())
    }

    /// Whether the caller sees a subscription of the account.
    pub fn sight(&self) -> impl Fn(SubscriptionId) -> bool + Send + 'static {
        let key = self.0.key.clone();
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
        self.0.require(scope)
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
        std::future::ready(grant(request, |state| &state.management).map(Self))
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

fn state(request: &HttpRequest) -> Result<&web::Data<HttpState>, ApiError> {
    request.app_data().ok_or_else(|| ApiError::internal(&"the HTTP state is missing"))
}

fn grant(request: &HttpRequest, limit: impl Fn(&HttpState) -> &RateLimit<KeyId>) -> Result<Grant, ApiError> {
    let state = state(request)?;
    if request.app_data::<Operator>().is_some() {
        let account = named_account(request, state)?;
        return Ok(Grant { account, key: None, origin: origin(request, None) });
    }
    let key = authenticate(request, state, limit)?;
    let origin = origin(request, Some(&key));
    Ok(Grant { account: key.account, key: Some(key), origin })
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
    let source = request.peer_addr().map(|peer| peer.ip().to_canonical());
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
    request.extensions_mut().insert(Authenticated);
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

/// A request's JSON body within the size and time limits. It holds its share of the memory for all bodies.
pub struct JsonText {
    /// The body.
    pub text: String,
    _room: OwnedSemaphorePermit,
}

impl FromRequest for JsonText {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        let is_json = is_json(request);
        let encoding = body_text::encoding(request);
        let state = state(request).cloned();
        let is_batch = request.path().ends_with("/batch");
        let declared_bytes = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Box::pin(async move {
            let state = state?;
            if !is_json {
                return Err(ApiError::unsupported_media_type());
            }
            if let Some(encoding) = encoding {
                return Err(ApiError::compressed(&encoding));
            }
            let settings = &state.settings;
            // A batch holds up to a thousand events and has a limit of its own.
            let limit_bytes = if is_batch { settings.event_bytes.max(BATCH_BYTES) } else { settings.event_bytes };
            if declared_bytes.is_some_and(|bytes: u64| bytes > limit_bytes) {
                return Err(ApiError::too_large(limit_bytes));
            }
            let mut room = take_room(&state.body_room, 0)?;
            let collected = collect(&mut payload, limit_bytes, &state.body_room, &mut room);
            let body = tokio::time::timeout(settings.request_timeout, collected);
            let bytes = body.await.map_err(|_| ApiError::request_timeout())??;
            Ok(Self { text: body_text::decode(bytes)?, _room: room })
        })
    }
}

/// A JSON body that may be left out, together with its content type.
pub struct OptionalJson(Option<JsonText>);

impl OptionalJson {
    /// The body, if there is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|body| body.text.as_str()).filter(|text| !text.is_empty())
    }
}

impl FromRequest for OptionalJson {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if !request.headers().contains_key(CONTENT_TYPE) {
            return Box::pin(std::future::ready(Ok(Self(None))));
        }
        let body = JsonText::from_request(request, payload);
        Box::pin(async { body.await.map(|body| Self(Some(body))) })
    }
}

/// Maximum size of a batch, in bytes.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;

fn is_json(request: &HttpRequest) -> bool {
    let Some(value) = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

fn take_room(all: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let taken = u32::try_from(bytes).ok().and_then(|bytes| Arc::clone(all).try_acquire_many_owned(bytes).ok());
    taken.ok_or_else(|| Rejection::Busy.into())
}

async fn collect(
    payload: &mut Payload,
    limit_bytes: u64,
    all: &Arc<Semaphore>,
    room: &mut OwnedSemaphorePermit,
) -> Result<Vec<u8>, ApiError> {
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut *payload).poll_next(context)).await;
        let Some(chunk) = next else { return Ok(bytes) };
        let chunk = chunk.map_err(|error| ApiError::invalid_json(format!("the body could not be read: {error}")))?;
        if bytes.len() + chunk.len() > limit {
            return Err(ApiError::too_large(limit_bytes));
        }
        room.merge(take_room(all, chunk.len())?);
        bytes.extend_from_slice(&chunk);
    }
}

/// A request's query parameters; the first of several values counts. Errors are collected until [`Query::finish`], so
/// that the caller gets all at once.
pub struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl FromRequest for Query {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        let pairs = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        std::future::ready(Ok(Self { pairs, errors: Vec::new() }))
    }
}

impl Query {
    /// The value of a parameter, if present and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The value of a parameter, parsed; the error says what is `wanted`.
    pub fn parse<T>(&mut self, name: &str, wanted: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(name, |value| parse(value).ok_or_else(|| format!("must be {wanted}")))
    }

    /// The value of a parameter, parsed; the error of `parse` is the message.
    pub fn read<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match parse(self.get(name)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.errors.push(FieldError::new(name, message));
                None
            }
        }
    }

    /// Refuses a parameter.
    pub fn refuse(&mut self, name: &str, message: &str) {
        self.errors.push(FieldError::new(name, message));
    }

    /// An error that names every invalid parameter.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(self.errors)) }
    }

    /// The requested page of a list with a cursor, which is an item's id that `cursor` parses.
    pub fn page<C>(&mut self, cursor: impl Fn(&str) -> Option<C>) -> PageRequest<C> {
        let offset = self.read("offset", |text| match offset(text)? {
            offset if offset <= MAX_OFFSET => Ok(offset),
            _ => Err(format!("must be {MAX_OFFSET} at most; what lies deeper is reached by cursor")),
        });
        let after = self.parse("cursor", "the next_cursor of an earlier page", cursor);
        PageRequest { limit: self.limit(), offset: offset.unwrap_or(0), after }
    }

    /// Limit and offset of a list without a cursor.
    pub fn page_by_offset(&mut self) -> (usize, usize) {
        (self.limit(), self.read("offset", offset).unwrap_or(0))
    }

    fn limit(&mut self) -> usize {
        let limit = self.parse("limit", "an integer from 1 on (above 100 it counts as 100)", |text| {
            text.parse().ok().filter(|limit: &usize| *limit > 0)
        });
        limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)
    }
}

fn offset(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "must be a number from 0 on".to_owned())
}
