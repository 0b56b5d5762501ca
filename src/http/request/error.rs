//! API errors: the message for the caller and the cause for the log. Runs on the HTTP workers.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::access::{Excess, Scope};
use crate::domain::escape::{REPEATED_CHARS, shortened};
use crate::domain::event::{KeySource, field};
use crate::domain::json_fault::{JsonFault, explain};
use crate::domain::{FieldError, FieldErrors};
use crate::storage::error::{Rejection, StorageError};

/// An error response. The middleware adds the request id and writes the body.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {}", cause.as_deref().unwrap_or(message))]
pub struct ApiError {
    status: u16,
    code: &'static str,
    message: Box<str>,
    fields: FieldErrors,
    retry_after_s: Option<u64>,
    allow: Option<Box<str>>,
    /// The cause, for the log only.
    cause: Option<Box<str>>,
    /// Whether the response is delayed.
    is_delayed: bool,
}

/// An error.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorBody<'a> {
    /// Always true.
    #[schemars(example = true)]
    error: bool,
    /// A message for people.
    message: &'a str,
    /// The HTTP status.
    status: u16,
    /// The error code, for programs; stable.
    code: &'a str,
    /// The value of `X-Request-Id`; the server's log has it too.
    request_id: &'a str,
    /// The invalid fields, if any; at most 100 of one object, and at least one of each event of a batch.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

/// Delay of responses after too many invalid keys.
const GUESS_DELAY: Duration = Duration::from_secs(1);
/// The header with an idempotency key.
pub const KEY_HEADER: &str = "Idempotency-Key";
const IDEMPOTENCY_CONFLICT: &str = "idempotency_conflict";
/// The message for an event that differs from the one stored under its key.
pub const DIFFERS: &str = "differs from the event that was published before";

impl ApiError {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into().into(),
            fields: FieldErrors::default(),
            retry_after_s: None,
            allow: None,
            cause: None,
            is_delayed: false,
        }
    }

    /// Invalid input, with the invalid fields.
    #[must_use]
    pub fn invalid(fields: impl Into<FieldErrors>) -> Self {
        let fields = fields.into();
        let message = match (fields.kept(), fields.count()) {
            ([one], _) => format!("{}: {}", one.field, one.message),
            (kept, count) if kept.len() < count => {
                format!("{count} fields are invalid; {} of them are listed", kept.len())
            }
            (_, count) => format!("{count} fields are invalid"),
        };
        Self { fields, ..Self::new(400, "invalid_input", message) }
    }

    /// One invalid field or parameter.
    pub fn invalid_field(field: &str, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(field, message)])
    }

    /// The same error for a single event, without an index.
    #[must_use]
    pub fn of_one_event(self) -> Self {
        match self.fields.kept() {
            [one] if self.code == IDEMPOTENCY_CONFLICT && one.field != KEY_HEADER => {
                Self { fields: vec![FieldError::new("id", DIFFERS)].into(), ..self }
            }
            _ => self,
        }
    }

    /// The body is not JSON.
    pub fn invalid_json(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_json", message)
    }

    /// The parser found this error in the body.
    #[must_use]
    pub fn not_json(text: &str, error: &serde_json::Error) -> Self {
        if error.is_data() {
            return Self::invalid_json(format!("the body must be a JSON object; {}", field::words(text.trim_start())));
        }
        let JsonFault { place, message } = explain(text, error);
        if place.is_empty() {
            return Self::invalid_json(message);
        }
        let fault = FieldError::new(place, message);
        let message = format!("{}: {}", fault.field, fault.message);
        Self { fields: vec![fault].into(), ..Self::invalid_json(message) }
    }

    /// Malformed HTTP.
    #[must_use]
    pub fn bad_request(message: &str) -> Self {
        Self::new(400, "bad_request", message)
    }

    /// No valid key: one message, whatever is wrong with it.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            401,
            "unauthorized",
            "a valid API key is required: Authorization: Bearer tc_live_… (none was sent, or it is unknown, revoked, expired or not allowed from this address)",
        )
    }

    /// The key lacks this scope.
    #[must_use]
    pub fn forbidden(scope: Scope) -> Self {
        Self::new(403, "forbidden", format!("the API key lacks the scope {}", scope.name()))
    }

    /// A form that no page of ours has sent for this visitor.
    #[must_use]
    pub fn forged_form() -> Self {
        let message =
            "this form does not belong to your session, and nothing was changed; open the page again and resubmit it";
        Self::new(403, "forged_form", message)
    }

    /// A request that a page of another site has sent.
    #[must_use]
    pub fn foreign_origin() -> Self {
        let message = "this request comes from a page of another address, and nothing was changed; behind a proxy, set server.public_url to the address in people's browsers";
        Self::new(403, "foreign_origin", message)
    }

    /// The key would give more than it has.
    #[must_use]
    pub fn beyond_rights(excess: Excess) -> Self {
        Self::new(
            403,
            "beyond_rights",
            format!("a key cannot have more rights than the key that creates or rotates it: {excess}"),
        )
    }

    /// The key is limited to some subscriptions.
    #[must_use]
    pub fn limited_to_subscriptions() -> Self {
        let message = "the API key is limited to certain subscriptions, and this request concerns others too";
        Self::new(403, "limited_to_subscriptions", message)
    }

    /// Not found, or of another account.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(404, "not_found", format!("{what} not found"))
    }

    /// The operator named an unknown account.
    #[must_use]
    pub fn no_account(name: &str) -> Self {
        let message = format!(
            "there is no account named {name}; an account is created with its first key: tempclock-webhooks keys create \
             --account NAME --name NAME --scopes SCOPES"
        );
        Self::new(404, "not_found", message)
    }

    /// The route exists, the method does not.
    #[must_use]
    pub fn method_not_allowed(allow: &str) -> Self {
        let message = format!("this method is not allowed here; allowed: {allow}");
        Self { allow: Some(allow.into()), ..Self::new(405, "method_not_allowed", message) }
    }

    /// The request did not arrive in time.
    #[must_use]
    pub fn request_timeout() -> Self {
        Self::new(408, "request_timeout", "the request did not arrive in time")
    }

    /// The body is longer than allowed.
    #[must_use]
    pub fn too_large(limit_bytes: u64) -> Self {
        Self::new(413, "too_large", format!("the body may have at most {limit_bytes} bytes"))
    }

    /// The body is not declared as JSON.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        Self::new(415, "unsupported_media_type", "send JSON with Content-Type: application/json")
    }

    /// The body is compressed.
    #[must_use]
    pub fn compressed(encoding: &str) -> Self {
        let shown = shortened(encoding, REPEATED_CHARS);
        let message = format!("the body is compressed ({shown}): send it uncompressed, without Content-Encoding");
        Self::new(415, "unsupported_media_type", message)
    }

    /// Too many invalid keys from one source. The response is delayed.
    #[must_use]
    pub fn too_many_guesses(limit: u32, retry_after_s: u64) -> Self {
        let message = format!("more than {limit} invalid API keys within a minute; retry in {retry_after_s} s");
        let error = Self { retry_after_s: Some(retry_after_s), ..Self::new(429, "rate_limited", message) };
        Self { is_delayed: true, ..error }
    }

    /// Too many requests.
    #[must_use]
    pub fn rate_limited(limit: u32, retry_after_s: u64) -> Self {
        let message = format!("more than {limit} requests within a minute; retry in {retry_after_s} s");
        Self { retry_after_s: Some(retry_after_s), ..Self::new(429, "rate_limited", message) }
    }

    pub(in crate::http) fn unavailable(code: &'static str, message: &str, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(503, code, message) }
    }

    /// What is being read has taken all threads or all memory that there is for it.
    #[must_use]
    pub fn too_many_reads() -> Self {
        Self::unavailable("busy", "too many reads are in progress; retry in a moment, with fewer requests at a time", 1)
    }

    /// The maximum number of backups is in progress.
    #[must_use]
    pub fn too_many_backups() -> Self {
        Self::unavailable("busy", "another backup is in progress; retry when it is done", 60)
    }

    /// The account's maximum number of test pings is in progress.
    #[must_use]
    pub fn too_many_pings_of_account(limit: usize) -> Self {
        let message = format!("{limit} test pings of this account are in progress; retry when one has ended");
        Self { retry_after_s: Some(5), ..Self::new(429, "too_many_pings", message) }
    }

    /// The maximum number of test pings is in progress.
    #[must_use]
    pub fn too_many_pings() -> Self {
        Self::unavailable("busy", "too many test pings are in progress; retry in a moment", 5)
    }

    /// An internal error; the cause goes to the log only.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        let message = "internal error; the server's log has the cause under this request_id";
        Self { cause: Some(cause.to_string().into()), ..Self::new(500, "internal", message) }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The complete response.
    #[must_use]
    pub fn response(&self, request_id: &str) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        for header in self.headers() {
            response.insert_header(header);
        }
        crate::http::request::respond::json(&mut response, &self.body(request_id))
    }

    /// The response's body.
    #[must_use]
    pub fn body<'a>(&'a self, request_id: &'a str) -> ErrorBody<'a> {
        ErrorBody {
            error: true,
            message: &self.message,
            status: self.status,
            code: self.code,
            request_id,
            errors: self.fields.kept(),
        }
    }

    /// The message for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The invalid fields that are named.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        self.fields.kept()
    }

    /// The error that a handler or actix has returned.
    #[must_use]
    pub fn of_any(error: &actix_web::Error) -> Self {
        match error.as_error::<Self>() {
            Some(error) => error.clone(),
            None if error.as_response_error().status_code().is_server_error() => Self::internal(error),
            None => Self::invalid_json(error.to_string()),
        }
    }

    /// The error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// How long to delay the response.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.is_delayed.then_some(GUESS_DELAY)
    }

    /// Additional headers of this error.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let retry_after = self.retry_after_s.map(|seconds| ("Retry-After", seconds.to_string()));
        let allow = self.allow.as_deref().map(|allow| ("Allow", allow.to_owned()));
        let challenge = (self.status == 401).then(|| ("WWW-Authenticate", "Bearer".to_owned()));
        [retry_after, allow, challenge].into_iter().flatten().collect()
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        Self::internal(&error)
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotFound => Self::new(404, "not_found", "not found"),
            Rejection::IdempotencyConflicts(conflicts) => {
                let by_header = conflicts.iter().any(|(_, source)| *source == KeySource::Header);
                let by_id = conflicts.iter().filter(|(_, source)| *source == KeySource::Id);
                let by_id = by_id.map(|(index, _)| format!("events[{index}]"));
                let mut fields = FieldErrors::default();
                for place in by_header.then(|| KEY_HEADER.to_owned()).into_iter().chain(by_id) {
                    fields.add_part(&place, vec![FieldError::new("", DIFFERS)].into());
                }
                Self {
                    fields,
                    ..Self::new(
                        409,
                        IDEMPOTENCY_CONFLICT,
                        "another event was already published with this idempotency key or id; nothing was stored",
                    )
                }
            }
            Rejection::TooManySubscriptions(limit) => {
                let message = format!("the account has {limit} subscriptions, which is the limit; delete one first");
                Self::new(409, "too_many_subscriptions", message)
            }
            Rejection::TooManyJobs(limit) => {
                let message = format!(
                    "the account has {limit} waiting or running jobs, which is the limit; wait until one ends, or stop one"
                );
                Self::new(409, "too_many_jobs", message)
            }
            Rejection::TooManyKeys(limit) => {
                let message = format!(
                    "the account has {limit} API keys, which is the limit; revoked and expired keys count for as long as events are kept"
                );
                Self::new(409, "too_many_keys", message)
            }
            Rejection::KeyEnded => {
                Self::new(409, "key_ended", "the key was revoked or has expired; create another one instead")
            }
            Rejection::EventErased => {
                Self::new(409, "event_erased", "the event was erased, so there is nothing to send")
            }
            Rejection::ReplayUnderWay => {
                let message =
                    "a replay for this subscription is waiting or running; wait until it ends, or stop its job";
                Self::new(409, "replay_under_way", message)
            }
            Rejection::OutOfNumbers => {
                let message = format!("{} of these were created here, and no number is left for another one", u32::MAX);
                Self::new(409, "out_of_numbers", message)
            }
            Rejection::TooManyDeliveries { deliveries, limit, events } => {
                let message = format!(
                    "the events of this request would create {deliveries} deliveries, and the limit is {limit}: nothing was stored; send at most {events} events per request"
                );
                Self::new(413, "too_many_deliveries", message)
            }
            Rejection::OutOfSpace => Self::unavailable(
                "out_of_space",
                "the server's disk is nearly full: nothing was stored; retry later, once the operator has freed space",
                60,
            ),
            Rejection::Busy => Self::unavailable("busy", "the server is busy: nothing was stored; retry", 1),
            Rejection::StoreFailed => Self::unavailable(
                "store_failed",
                "the server's store failed and the server restarts; whether this took effect is unknown, so retry with the same idempotency key",
                5,
            ),
        }
    }
}
