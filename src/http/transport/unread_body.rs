//! Keeps a chunked request body until its response is sent. actix-http drains a body that is dropped before its end
//! without a time limit, so that anybody could hold a connection for ever; if the body still exists when the response is
//! sent, it closes the connection instead. Runs on the HTTP workers.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage};
use futures_core::Stream;

use super::guarded_body::with_guard;

/// The body of a request, shared with its reader; `None` if it has a length.
pub struct Kept(Option<Rc<RefCell<Payload>>>);

/// Keeps a request's body if its length is unknown.
pub fn keep(request: &mut ServiceRequest) -> Kept {
    if !request.chunked().unwrap_or(true) {
        return Kept(None);
    }
    let body = Rc::new(RefCell::new(request.take_payload()));
    request.set_payload(Payload::Stream { payload: Box::pin(Reading(Rc::clone(&body))) });
    Kept(Some(body))
}

/// The middleware of an app that reads no bodies.
pub async fn keep_unread<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let body = keep(&mut request);
    Ok(body.until_sent(next.call(request).await?.map_into_boxed_body()))
}

impl Kept {
    /// Keeps the body until the response is sent.
    pub fn until_sent(self, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        match self {
            Self(None) => response,
            Self(Some(request)) => response.map_body(|_, answer| with_guard(answer, request)),
        }
    }
}

struct Reading(Rc<RefCell<Payload>>);

impl Stream for Reading {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // There is one reader, so it is never borrowed twice.
        self.0.try_borrow_mut().map_or(Poll::Ready(None), |mut body| Pin::new(&mut *body).poll_next(context))
    }
}
