//! Middleware of every request: request id, rate-limit headers, and the error format. Runs on the HTTP workers.

use std::cell::RefCell;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue, UPGRADE, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest};

use crate::domain::access::without_keys;
use crate::domain::escape::shortened;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{RequestId, is_unauthenticated};
use crate::http::request::lease::may_answer;
use crate::http::request::rate_limit::Allowance;
use crate::http::transport::{keep, shrink_headers};
use crate::storage::Randomness;

/// The request id's header.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const ID_CHARS: usize = 128;
/// Maximum length of a path in the log.
const PATH_CHARS: usize = 200;

thread_local! {
    static RANDOM: RefCell<Randomness> = RefCell::new(Randomness::new());
}

/// Handles every request.
pub async fn finish_response<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let body = keep(&mut request);
    if request.query_string().contains("wait=") {
        shrink_headers(&mut request);
    }
    let response = if wants_websocket(&request) {
        request.error_response(ApiError::bad_request(
            "this server only supports HTTP/1.1; send the request without Upgrade",
        ))
    } else if !may_answer(&request).await {
        request.extensions_mut().insert(Allowance::UNCOUNTED);
        request.error_response(ApiError::no_lease())
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    let mut response = if let Some(error) = response.response().error().map(ApiError::of_any) {
        log_request(response.request(), error.status(), &id, Some(&error));
        if let Some(delay) = error.delay() {
            tokio::time::sleep(delay).await;
        }
        response.into_response(error.response(&id))
    } else {
        log_request(response.request(), response.status().as_u16(), &id, None);
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

/// actix-http treats whatever follows such a request as the other protocol, so its body would never end.
fn wants_websocket(request: &ServiceRequest) -> bool {
    let mut protocols = request.headers().get_all(UPGRADE).filter_map(|value| value.to_str().ok());
    protocols.any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// Logs changes and server errors. Publishing and reading are too frequent, and unauthenticated callers could fill the
/// log.
fn log_request(request: &HttpRequest, status: u16, id: &str, error: Option<&ApiError>) {
    let (method, path) = (request.method(), request.path());
    let level = match *method {
        // A 503 of the readiness check has been logged by its cause already.
        _ if status >= 500 && (error.is_some() || !is_unauthenticated(request)) => log::Level::Error,
        _ if is_unauthenticated(request) => log::Level::Debug,
        Method::GET | Method::HEAD => log::Level::Debug,
        _ if path.starts_with("/api/v1/events") => log::Level::Debug,
        _ => log::Level::Info,
    };
    if !log::log_enabled!(level) {
        return;
    }
    let shown = shortened(path, PATH_CHARS);
    match error {
        None => log::log!(level, request_id = id; "{method} {shown} answered {status}"),
        Some(error) => log::log!(level, request_id = id; "{method} {shown} answered {status}: {error}"),
    }
}

/// The caller's id if it is not a key and is safe in headers and logs, otherwise a new one.
fn request_id(request: &ServiceRequest) -> String {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_safe = |id: &&str| {
        (1..=ID_CHARS).contains(&id.len())
            && without_keys(id) == *id
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
    };
    given.filter(is_safe).map_or_else(new_id, str::to_owned)
}

/// Generates a request id.
pub fn new_id() -> String {
    // Without random numbers the id is all zeros, which is harmless.
    let bits = RANDOM.with_borrow_mut(Randomness::next_u128).unwrap_or_default();
    let [_, _, _, _, bytes @ ..] = bits.to_be_bytes();
    let mut digits = [0; 24];
    // Twice as many digits as bytes, so that it cannot fail.
    let _ = hex::encode_to_slice(bytes, &mut digits);
    ["req_", str::from_utf8(&digits).unwrap_or_default()].concat()
}
