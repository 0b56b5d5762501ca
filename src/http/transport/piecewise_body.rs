//! A long response body that goes out piece by piece, and owns something until its last piece is taken. Runs on the HTTP
//! workers.
//!
//! actix-http 3.20 copies the whole of a body that comes in one piece before it sends any of it, so that a slow caller
//! holds it twice.

use std::any::Any;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;

/// How long a piece is.
pub const PIECE_BYTES: usize = 32 * 1024;

/// What is left of the body, and what it owns.
pub struct PiecewiseBody {
    left: Bytes,
    _guard: Box<dyn Any>,
}

impl PiecewiseBody {
    /// A body that drops `guard` when the last piece is taken, or never will be.
    pub fn new(bytes: Bytes, guard: impl Any) -> Self {
        Self { left: bytes, _guard: Box::new(guard) }
    }
}

impl MessageBody for PiecewiseBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.left.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.left.split_to(length))))
    }
}
