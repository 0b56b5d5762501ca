//! A response of any length that another thread or task makes: a stream of chunks with a mark at its end. Polled on the
//! HTTP workers.

use std::io::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::web::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc::Receiver;

/// A part of the response.
pub enum Chunk {
    /// The next bytes.
    Bytes(Bytes),
    /// The response is complete.
    End,
}

/// The stream. Without the mark it ends with an error, since a stream that just ends would look complete.
pub struct Chunks {
    parts: Receiver<Chunk>,
    cut_off: &'static str,
    has_ended: bool,
}

impl Chunks {
    /// What comes through the channel; `cut_off` is the error without the mark.
    #[must_use]
    pub fn new(parts: Receiver<Chunk>, cut_off: &'static str) -> Self {
        Self { parts, cut_off, has_ended: false }
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        self.parts.poll_recv(context).map(|chunk| match chunk {
            Some(Chunk::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Chunk::End) => {
                self.has_ended = true;
                None
            }
            None => {
                self.has_ended = true;
                Some(Err(Error::other(self.cut_off)))
            }
        })
    }
}
