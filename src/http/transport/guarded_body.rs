//! A response body that owns something until it is sent. Runs on the HTTP workers.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;

/// Drops `guard` when the body is sent, or never will be.
pub fn with_guard<T: 'static>(body: BoxBody, guard: T) -> BoxBody {
    BoxBody::new(GuardedBody { body, _guard: Box::new(guard) })
}

struct GuardedBody<T> {
    body: BoxBody,
    /// Boxed, so that the body can be moved whatever this is.
    _guard: Box<T>,
}

impl<T> MessageBody for GuardedBody<T> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
