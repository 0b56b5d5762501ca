//! The body of an answer that keeps something until it is sent. Runs on the HTTP workers.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;

/// Lets go of `kept` when the body is sent, or never will be.
pub fn hold<T: 'static>(body: BoxBody, kept: T) -> BoxBody {
    BoxBody::new(Holding { body, _kept: Box::new(kept) })
}

struct Holding<T> {
    body: BoxBody,
    /// Apart, so that the body can be moved whatever this is.
    _kept: Box<T>,
}

impl<T> MessageBody for Holding<T> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
