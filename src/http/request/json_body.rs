//! Extractors for a request's JSON body, within the limits of size, time and memory. Runs on the HTTP workers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{FromRequest, HttpRequest};
use bytestring::ByteString;
use futures_core::Stream;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::request::body_text;
use crate::http::request::error::ApiError;
use crate::http::request::state::HttpState;
use crate::storage::error::Rejection;

/// A request's JSON body within the size and time limits. It holds its share of the memory for all bodies.
pub struct JsonText {
    /// The body.
    pub text: ByteString,
    _room: Option<OwnedSemaphorePermit>,
}

impl JsonText {
    /// A body that the server wrote itself.
    #[must_use]
    pub fn of(body: &Value) -> Self {
        Self { text: body.to_string().into(), _room: None }
    }
}

impl FromRequest for JsonText {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        let is_json = is_json(request);
        let encoding = body_text::encoding(request);
        let state = HttpState::of(request).cloned();
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
            // A batch holds up to a thousand events and has a limit of its own.
            let event_bytes = state.settings.event_bytes;
            let limit_bytes = if is_batch { event_bytes.max(BATCH_BYTES) } else { event_bytes };
            if declared_bytes.is_some_and(|bytes: u64| bytes > limit_bytes) {
                return Err(ApiError::too_large(limit_bytes));
            }
            let (bytes, room) = read(&state, &mut payload, limit_bytes).await?;
            Ok(Self { text: body_text::decode(bytes)?.into(), _room: Some(room) })
        })
    }
}

/// Reads a body of at most so many bytes within the limits of time and memory, with the memory that it takes.
pub(in crate::http) async fn read(
    state: &HttpState,
    payload: &mut Payload,
    limit_bytes: u64,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), ApiError> {
    let mut room = take_room(&state.body_room, 0)?;
    let collected = collect(payload, limit_bytes, &state.body_room, &mut room);
    let body = tokio::time::timeout(state.settings.request_timeout, collected);
    let bytes = body.await.map_err(|_| ApiError::request_timeout())??;
    Ok((bytes, room))
}

/// A JSON body that may be left out, together with its content type.
pub struct OptionalJson(Option<JsonText>);

impl OptionalJson {
    /// A body that the server wrote itself.
    #[must_use]
    pub fn of(body: &Value) -> Self {
        Self(Some(JsonText::of(body)))
    }

    /// The body, if there is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|body| &*body.text).filter(|text| !text.is_empty())
    }
}

impl FromRequest for OptionalJson {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if is_json(request) {
            let body = JsonText::from_request(request, payload);
            return Box::pin(async { body.await.map(|body| Self(Some(body))) });
        }
        let (state, mut payload) = (HttpState::of(request).cloned(), payload.take());
        Box::pin(async move {
            let state = state?;
            // Libraries name a type for nothing, or send nothing in chunks; and some name none for a body, which must not be
            // taken for nothing.
            match read(&state, &mut payload, 0).await {
                Ok(_) => Ok(Self(None)),
                Err(error) if error.status() == 413 => Err(ApiError::unsupported_media_type()),
                Err(error) => Err(error),
            }
        })
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
