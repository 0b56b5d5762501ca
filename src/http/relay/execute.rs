//! Executes requests that servers on standby have passed on, as if they had come over a connection here, and gives the answers
//! in parts. All of it runs on the thread of one app; it knows nothing of what a request means.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::{Payload, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, map_config};
use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::AppConfig;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use actix_web::http::{Method, Uri};
use actix_web::rt;
use actix_web::web::{Bytes, BytesMut};
use crossbeam_channel::{Sender, TrySendError};
use futures_core::Stream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::storage::relay::{
    After, AnswerHead, AnswerPart, Asked, FIRST_PART_BYTES, Message, PART_BYTES, Question, WINDOW,
};

/// How often a part is offered again while too many wait.
const RETRY: Duration = Duration::from_millis(2);
/// For how long there may be no room for the next part of an answer.
const ROOM: Duration = Duration::from_mins(1);
/// For how long what is under way may take when the server stops.
const LAST: Duration = Duration::from_secs(5);

/// A part with its place in its answer.
pub type Placed = (Asked, i64, AnswerPart);
/// What has come, once, with its share of the memory for bodies.
pub type Taken = (Asked, Option<Message>, Share);
/// What executes a request.
pub type Execute = Rc<dyn Fn(Request) -> Executed>;
/// Its answer, some time.
pub type Executed = Pin<Box<dyn Future<Output = Response<BoxBody>>>>;

/// How many bytes of bodies are under way.
#[derive(Clone, Default)]
pub struct Load(Arc<AtomicUsize>);

/// The bytes of one of them.
pub struct Share(Load, usize);

impl Load {
    /// How many.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts the body of a message, if it has one, until the share is dropped.
    #[must_use]
    pub fn take(&self, message: Option<&Message>) -> Share {
        let bytes = if let Some(Message::Ask(question)) = message { question.body.len() } else { 0 };
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Share(self.clone(), bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What executes requests in an app.
pub async fn executing<A, S, B>(app: A) -> Option<Execute>
where
    A: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let service = map_config(app.into_factory(), |()| AppConfig::default()).new_service(()).await.ok()?;
    let execute = move |request: Request| -> Executed {
        let answered = service.call(request);
        Box::pin(async move {
            match answered.await {
                Ok(response) => {
                    let response: Response<B> = response.into();
                    response.map_into_boxed_body()
                }
                Err(error) => {
                    let error: Error = error.into();
                    error.error_response().into()
                }
            }
        })
    };
    Some(Rc::new(execute))
}

/// A request that is being executed.
struct UnderWay {
    task: rt::task::JoinHandle<()>,
    /// How many parts of its answer may be sent.
    window: Arc<Semaphore>,
}

/// Executes what comes until nothing more can come, and then what is under way: `apps` are for callers and for the operator.
pub async fn execute_all(apps: [Execute; 2], mut messages: UnboundedReceiver<Taken>, parts: Sender<Placed>) {
    let mut under_way: HashMap<Asked, UnderWay> = HashMap::new();
    while let Some((asked, message, share)) = messages.recv().await {
        under_way.retain(|_, request| !request.task.is_finished());
        match message {
            Some(Message::Ask(question)) => {
                let [callers, operator] = &apps;
                let execute = Rc::clone(if question.is_operator { operator } else { callers });
                // The first part needs no room.
                let window = Arc::new(Semaphore::new(1));
                let answer = Answer { asked, place: 0, window: Arc::clone(&window), parts: parts.clone() };
                let task = rt::spawn(async move {
                    answer.make(execute, *question).await;
                    drop(share);
                });
                under_way.insert(asked, UnderWay { task, window });
            }
            Some(Message::Room { number, parts }) => {
                if let Some(request) = under_way.get(&Asked { number, ..asked }) {
                    let is_free = WINDOW as usize - request.window.available_permits().min(WINDOW as usize);
                    request.window.add_permits(is_free.min(parts as usize));
                }
            }
            Some(Message::GiveUp(number)) => {
                if let Some(request) = under_way.remove(&Asked { number, ..asked }) {
                    request.task.abort();
                }
            }
            None => {
                let mut none = Answer { asked, place: 0, window: Arc::new(Semaphore::new(1)), parts: parts.clone() };
                rt::spawn(async move { drop(none.send(AnswerPart::NONE).await) });
            }
        }
    }
    let ended = timeout(LAST, async {
        for request in under_way.into_values() {
            drop(request.task.await);
        }
    });
    if ended.await.is_err() {
        log::warn!("requests of servers on standby got no answer, as this server stops");
    }
}

/// An answer that is being sent.
struct Answer {
    asked: Asked,
    place: i64,
    window: Arc<Semaphore>,
    parts: Sender<Placed>,
}

/// Nobody takes the answer any more.
struct NotTaken;

impl Answer {
    async fn make(mut self, execute: Execute, question: Question) {
        let response = match request_of(question) {
            Some(request) => execute(request).await,
            None => return drop(self.send(AnswerPart::NONE).await),
        };
        if self.send_all(response).await.is_err() {
            log::debug!("an answer for a server on standby was not taken");
        }
    }

    async fn send_all(&mut self, response: Response<BoxBody>) -> Result<(), NotTaken> {
        let (head, body) = response.into_parts();
        let length = match body.size() {
            BodySize::None => Some(0),
            BodySize::Sized(length) => Some(length),
            BodySize::Stream => None,
        };
        let headers =
            head.headers().iter().filter(|(name, _)| ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name));
        let headers = headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
        let mut head = Some(AnswerHead { status: head.status().as_u16(), headers, length });
        let mut whole = BytesMut::new();
        let mut body = pin!(body);
        loop {
            let after = match poll_fn(|context| body.as_mut().poll_next(context)).await {
                Some(Ok(bytes)) => {
                    whole.extend_from_slice(&bytes);
                    After::More
                }
                Some(Err(_)) => After::CutOff,
                None => After::End,
            };
            loop {
                let limit = if head.is_some() { FIRST_PART_BYTES } else { PART_BYTES };
                if whole.len() <= limit {
                    break;
                }
                let body = whole.split_to(limit).to_vec();
                self.send(AnswerPart { head: head.take(), body, after: After::More }).await?;
            }
            // A body of known length goes in few parts; of a stream each piece may be all for a while.
            if after != After::More || (length.is_none() && !whole.is_empty()) {
                self.send(AnswerPart { head: head.take(), body: whole.split().to_vec(), after }).await?;
            }
            if after != After::More {
                return Ok(());
            }
        }
    }

    /// Sends a part when there is room for it.
    async fn send(&mut self, part: AnswerPart) -> Result<(), NotTaken> {
        let room = timeout(ROOM, self.window.acquire()).await;
        room.map_err(|_| NotTaken)?.map_err(|_| NotTaken)?.forget();
        let mut part = (self.asked, self.place, part);
        self.place += 1;
        loop {
            match self.parts.try_send(part) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => part = back,
                Err(TrySendError::Disconnected(_)) => return Err(NotTaken),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// The same request, as if it had come over a connection.
fn request_of(question: Question) -> Option<Request> {
    let Question { method, target, headers, source, body, .. } = question;
    let length = body.len();
    let body = Some(Bytes::from(body)).filter(|body| !body.is_empty());
    let payload: Payload = Payload::Stream { payload: Box::pin(Whole(body)) };
    let mut request = Request::with_payload(payload);
    let head = request.head_mut();
    head.method = Method::from_str(&method).ok()?;
    head.uri = Uri::from_str(&target).ok()?;
    head.peer_addr = source;
    let mut copied = HeaderMap::new();
    for (name, value) in headers {
        copied.append(HeaderName::from_str(&name).ok()?, HeaderValue::from_bytes(&value).ok()?);
    }
    // It came whole, whatever it was announced as.
    if copied.remove(TRANSFER_ENCODING).next().is_some() || copied.contains_key(CONTENT_LENGTH) {
        copied.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    head.headers = copied;
    Some(request)
}

/// A body that is there.
struct Whole(Option<Bytes>);

impl Stream for Whole {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}
