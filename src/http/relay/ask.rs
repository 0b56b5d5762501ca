//! The side of a server on standby: takes requests of callers, passes them on to the active server, and gives its answers.
//! Handlers run on the HTTP workers; one thread has the connection to the database (`awaited.rs`). It never reads or writes
//! the store.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::body::{BodyStream, SizedStream};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use crossbeam_channel::{Sender, bounded};
use futures_core::Stream;
use tokio::sync::mpsc::{self, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::relay::awaited::{Came, Work, run};
use crate::http::request::error::ApiError;
use crate::http::request::extract::request_id;
use crate::http::request::middleware::REQUEST_ID;
use crate::http::request::rate_limit::Allowance;
use crate::storage::Asking;
use crate::storage::error::Rejection;
use crate::storage::relay::{After, AnswerHead, Question, WINDOW};

/// How many requests may be under way at a time, those that wait for an event of a feed included.
const AT_ONCE: usize = 2048;
/// Maximum bytes of their bodies in memory, and of one: the longest batch, with room for its head.
const BODIES_BYTES: usize = 64 * 1024 * 1024;
const BODY_BYTES: usize = 9 * 1024 * 1024;

/// Passes requests on; shared by all handlers.
#[derive(Clone)]
pub struct Relay {
    work: Sender<Work>,
    under_way: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    request_timeout: Duration,
}

/// Its thread.
pub struct RelayThread {
    work: Sender<Work>,
    thread: JoinHandle<()>,
}

impl Relay {
    /// Starts its thread.
    pub fn start(asking: Asking, request_timeout: Duration) -> std::io::Result<(Self, RelayThread)> {
        let (work, waiting) = bounded(AT_ONCE);
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(move || run(asking, &waiting))?;
        let relay = Self {
            work: work.clone(),
            under_way: Arc::new(Semaphore::new(AT_ONCE)),
            bodies: Arc::new(Semaphore::new(BODIES_BYTES)),
            request_timeout,
        };
        Ok((relay, RelayThread { work, thread }))
    }
}

impl RelayThread {
    /// Lets no request wait any more for a server that was active before that epoch.
    pub fn taken_over(&self, epoch: i64) {
        drop(self.work.send(Work::TakenOver(epoch)));
    }

    /// Stops it. What still waits gets no answer of the other server.
    pub fn stop(self) {
        drop(self.work.send(Work::Stop));
        if self.thread.join().is_err() {
            log::error!("the relay had panicked");
        }
    }
}

/// Marks an app whose callers are the operator.
pub struct OfOperator;

/// Answers any request with what the active server answers.
pub async fn relay(request: HttpRequest, body: web::Payload, relay: web::Data<Relay>) -> HttpResponse {
    let is_operator = request.app_data::<OfOperator>().is_some();
    let answered = relay.pass_on(&request, body, is_operator).await;
    // Not as an error, which would be logged each time.
    answered.unwrap_or_else(|error| {
        // Nothing has counted it.
        request.extensions_mut().insert(Allowance::UNCOUNTED);
        error.response(&request_id(&request))
    })
}

impl Relay {
    async fn pass_on(
        &self,
        request: &HttpRequest,
        body: web::Payload,
        is_operator: bool,
    ) -> Result<HttpResponse, ApiError> {
        let permit = Arc::clone(&self.under_way).try_acquire_owned().map_err(|_| ApiError::too_many_passed_on())?;
        let (body, room) =
            timeout(self.request_timeout, self.whole(body)).await.map_err(|_| ApiError::request_timeout())??;
        let headers = request.headers().iter().filter(|(name, _)| *name != REQUEST_ID);
        // Both call the request the same.
        let id = (REQUEST_ID.as_str().to_owned(), request_id(request).into_bytes());
        let question = Question {
            method: request.method().as_str().to_owned(),
            target: request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            headers: headers
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .chain([id])
                .collect(),
            source: request.peer_addr(),
            is_operator,
            body: body.to_vec(),
        };
        let (sender, mut parts) = channel(WINDOW as usize);
        let asked = self.work.try_send(Work::Ask(Box::new(question), sender));
        asked.map_err(|_| ApiError::too_many_passed_on())?;
        // What became of a request that was sent and has no answer is not known.
        let unknown = || ApiError::from(Rejection::StoreFailed);
        let first = match parts.recv().await {
            Some(Came::Part(part)) => part,
            Some(Came::NotSent) => return Err(ApiError::on_standby()),
            None => return Err(unknown()),
        };
        drop(room);
        let AnswerHead { status, headers, length } = first.head.ok_or_else(unknown)?;
        let mut response = HttpResponseBuilder::new(StatusCode::from_u16(status).map_err(|_| unknown())?);
        for (name, value) in &headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value)) {
                response.append_header((name, value));
            }
        }
        let body = Bytes::from(first.body);
        if first.after == After::End {
            return Ok(response.body(body));
        }
        let rest = Rest { first: Some(body), after: first.after, parts, _permit: permit };
        Ok(match length {
            Some(length) => response.body(SizedStream::new(length, rest)),
            None => response.body(BodyStream::new(rest)),
        })
    }

    /// The whole body of a request, with the memory that was taken for it.
    async fn whole(&self, mut body: web::Payload) -> Result<(Bytes, Vec<OwnedSemaphorePermit>), ApiError> {
        let (mut whole, mut room) = (BytesMut::new(), Vec::new());
        while let Some(chunk) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
            let chunk = chunk.map_err(|_| ApiError::bad_request("the body ended early"))?;
            if whole.len() + chunk.len() > BODY_BYTES {
                return Err(ApiError::too_large(BODY_BYTES as u64));
            }
            let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let taken = Arc::clone(&self.bodies).try_acquire_many_owned(size);
            room.push(taken.map_err(|_| ApiError::too_many_passed_on())?);
            whole.extend_from_slice(&chunk);
        }
        Ok((whole.freeze(), room))
    }
}

/// A body that comes in parts.
struct Rest {
    first: Option<Bytes>,
    after: After,
    parts: mpsc::Receiver<Came>,
    _permit: OwnedSemaphorePermit,
}

impl Stream for Rest {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(bytes) = self.first.take().filter(|bytes| !bytes.is_empty()) {
                return Poll::Ready(Some(Ok(bytes)));
            }
            match self.after {
                After::End => return Poll::Ready(None),
                After::CutOff => {
                    self.after = After::End;
                    let cause = "the active server did not end its answer";
                    return Poll::Ready(Some(Err(std::io::Error::other(cause))));
                }
                After::More => match ready!(self.parts.poll_recv(context)) {
                    Some(Came::Part(part)) => {
                        self.after = part.after;
                        self.first = Some(part.body.into());
                    }
                    Some(Came::NotSent) | None => self.after = After::CutOff,
                },
            }
        }
    }
}
