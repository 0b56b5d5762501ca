//! What every answer has: a request id, the rate-limit headers, and one shape of error. Runs on the HTTP workers.

use std::cell::RefCell;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue, UPGRADE, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest};

use super::error::ApiError;
use super::extract::is_stranger;
use super::rate_limit::Allowance;
use super::transport::keep;
use crate::domain::access::without_keys;
use crate::domain::visible::shortened;
use crate::storage::Randomness;

/// The header of a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const ID_CHARS: usize = 128;
/// What the log has of a path.
const PATH_CHARS: usize = 200;

thread_local! {
    static RANDOM: RefCell<Randomness> = RefCell::new(Randomness::new());
}

/// Wraps every request.
pub async fn finish_response<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request_id(&request);
    let body = keep(&mut request);
    let response = if wants_websocket(&request) {
        request.error_response(ApiError::bad_request("no other protocol is spoken here; send it without Upgrade"))
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    let mut response = if let Some(error) = response.response().error().map(as_api_error) {
        note(response.request(), error.status(), &id, Some(&error));
        if let Some(delay) = error.delay() {
            tokio::time::sleep(delay).await;
        }
        response.into_response(error.response(&id))
    } else {
        note(response.request(), response.status().as_u16(), &id, None);
        response
    };
    let allowance = response.request().extensions().get::<Allowance>().copied();
    let headers = response.response_mut().headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(Allowance { limit, remaining }) = allowance {
        headers.insert(RATE_LIMIT, HeaderValue::from(limit));
        headers.insert(RATE_REMAINING, HeaderValue::from(remaining));
    }
    Ok(body.until_sent(response))
}

/// The HTTP library takes whatever follows such a request for the other protocol, so its body would never end.
fn wants_websocket(request: &ServiceRequest) -> bool {
    let mut protocols = request.headers().get_all(UPGRADE).filter_map(|value| value.to_str().ok());
    protocols.any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// The log tells of what changed and of what went wrong here. Publishing and reading are too frequent for it, and
/// strangers could fill it.
fn note(request: &HttpRequest, status: u16, id: &str, error: Option<&ApiError>) {
    let (method, path) = (request.method(), request.path());
    let level = match *method {
        // Whoever asks whether the server is ready gets a 503 for what the log tells of already.
        _ if status >= 500 && (error.is_some() || !is_stranger(request)) => log::Level::Error,
        _ if is_stranger(request) => log::Level::Debug,
        Method::GET | Method::HEAD => log::Level::Debug,
        _ if path.starts_with("/api/v1/events") => log::Level::Debug,
        _ => log::Level::Info,
    };
    let shown = shortened(path, PATH_CHARS);
    match error {
        None => log::log!(level, request_id = id; "{method} {shown} answered {status}"),
        Some(error) => log::log!(level, request_id = id; "{method} {shown} answered {status}: {error}"),
    }
}

fn as_api_error(error: &Error) -> ApiError {
    match error.as_error::<ApiError>() {
        Some(error) => error.clone(),
        None if error.as_response_error().status_code().is_server_error() => ApiError::internal(error),
        None => ApiError::invalid_json(error.to_string()),
    }
}

/// The caller's id if it is no key and safe to repeat in headers and logs, else one of our own.
fn request_id(request: &ServiceRequest) -> String {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_safe = |id: &&str| {
        (1..=ID_CHARS).contains(&id.len())
            && without_keys(id) == *id
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
    };
    given.filter(is_safe).map_or_else(new_id, str::to_owned)
}

/// An id of our own.
pub fn new_id() -> String {
    // An id of zeros, if the system has no random numbers, is of no use and does no harm.
    let bits = RANDOM.with_borrow_mut(Randomness::next_u128).unwrap_or_default();
    let [_, _, _, _, bytes @ ..] = bits.to_be_bytes();
    "req_".to_owned() + &hex::encode(bytes)
}
