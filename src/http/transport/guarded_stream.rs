//! The stream that actix-http reads a connection from. It reads nothing while responses wait to be sent, ends a
//! connection whose peer takes no response within the time limit or sends an incomplete head for that long, and lingers
//! before it closes, as a close with unread input would reset the connection. Runs on the HTTP workers.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::web::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::connection::{Connection, ConnectionState};

/// Time limit of a lingering close.
pub const LINGER: Duration = Duration::from_secs(1);
/// Bytes read in one poll.
const READ_BYTES: usize = 8 * 1024;

/// A connection's stream with time limits on stalled responses and on incomplete heads.
pub struct GuardedStream<T> {
    /// Shared, so that the connection can linger after actix-http has dropped this.
    stream: Rc<RefCell<T>>,
    state: Rc<ConnectionState>,
    limit: Duration,
    /// Input that actix-http may not see yet.
    withheld: BytesMut,
    /// Runs while a response waits to be sent.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs while the input is an incomplete head.
    incomplete: Option<Pin<Box<Sleep>>>,
}

/// Serves a connection to its end; `serve` makes the future that does.
pub async fn serve_connection<T, F>(stream: T, limit: Duration, serve: impl FnOnce(GuardedStream<T>) -> F) -> F::Output
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future,
{
    let state = Rc::new(ConnectionState::new());
    let stream = Rc::new(RefCell::new(stream));
    // Boxed, so that the future of an idle connection is small.
    let mut served = Box::pin(serve(GuardedStream::new(Rc::clone(&stream), Rc::clone(&state), limit)));
    let result = poll_fn(|context| {
        state.begin_poll();
        let result = served.as_mut().poll(context);
        if result.is_pending() && state.can_continue() {
            context.waker().wake_by_ref();
        }
        result
    })
    .await;
    drop(served);
    if !state.is_timed_out() && !state.is_idle() {
        drop(Box::pin(timeout(LINGER, linger(&stream))).await);
    }
    result
}

/// Shuts down sending, then drops unread input until the peer closes too. Closing over unread input would reset the
/// connection and lose responses that are still in flight.
async fn linger<T: AsyncRead + AsyncWrite + Unpin>(stream: &RefCell<T>) -> io::Result<()> {
    poll_fn(|context| Pin::new(&mut *stream.borrow_mut()).poll_shutdown(context)).await?;
    // Let the executor poll the socket for data that arrived meanwhile.
    yield_now().await;
    let mut unwanted = [0; 1024];
    let mut has_come = false;
    loop {
        let mut buffer = ReadBuf::new(&mut unwanted);
        poll_fn(|context| match Pin::new(&mut *stream.borrow_mut()).poll_read(context, &mut buffer) {
            Poll::Pending if !has_come => Poll::Ready(Ok(())),
            read => read,
        })
        .await?;
        if buffer.filled().is_empty() {
            return Ok(());
        }
        has_come = true;
    }
}

impl<T> GuardedStream<T> {
    fn new(stream: Rc<RefCell<T>>, state: Rc<ConnectionState>, limit: Duration) -> Self {
        Self { stream, state, limit, withheld: BytesMut::new(), stalled: None, incomplete: None }
    }

    /// The connection as its requests see it.
    pub fn connection(&self) -> Connection {
        Connection::new(Rc::clone(&self.state))
    }

    /// Whether the input has been an incomplete head for too long.
    fn is_head_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.state.is_request_in_flight() {
            self.incomplete = None;
        }
        self.incomplete.as_mut().is_some_and(|limit| limit.as_mut().poll(context).is_ready())
    }

    /// Applies the time limit on a stalled response to the result of sending.
    fn limit_stall<R>(&mut self, sent: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if sent.is_ready() {
            if self.stalled.take().is_some() {
                // Reading continues.
                context.waker().wake_by_ref();
            }
            return sent;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        stalled.as_mut().poll(context).map(|()| Err(self.state.time_out()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stalled.is_some() {
            return Poll::Pending;
        }
        if self.is_head_late(context) {
            return Poll::Ready(Err(self.state.time_out()));
        }
        if self.state.read_bytes() >= READ_BYTES {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let this = self.get_mut();
        if this.withheld.is_empty() {
            this.read(context, buffer)
        } else if this.state.may_pass() {
            this.pass_withheld(buffer);
            Poll::Ready(Ok(()))
        } else {
            this.state.withhold();
            Poll::Pending
        }
    }
}

impl<T: AsyncRead + Unpin> GuardedStream<T> {
    /// Reads, and withholds what actix-http may not see yet.
    fn read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, buffer);
        if read.is_pending() {
            return read;
        }
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        let passed = self.state.pass(fresh);
        self.note_read(fresh.len());
        if fresh.is_empty() || passed == fresh.len() {
            return read;
        }
        self.withheld.extend_from_slice(&fresh[passed..]);
        buffer.set_filled(before + passed);
        if passed == 0 {
            self.state.withhold();
            return Poll::Pending;
        }
        read
    }

    fn pass_withheld(&mut self, buffer: &mut ReadBuf<'_>) {
        let room = buffer.remaining().min(self.withheld.len());
        let passed = self.state.pass(&self.withheld[..room]);
        buffer.put_slice(&self.withheld.split_to(passed));
        if self.withheld.is_empty() {
            self.withheld = BytesMut::new();
        }
        self.note_read(passed);
    }

    /// Counts input, and starts the time limit of an incomplete head.
    fn note_read(&mut self, bytes: usize) {
        self.state.add_read(bytes);
        if !self.state.is_complete() {
            let limit = self.limit;
            self.incomplete.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for GuardedStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, bytes);
        if sent.is_ready() {
            // The response ends a request: the next head has the whole time limit.
            self.incomplete = None;
        }
        self.limit_stall(sent, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(context);
        self.limit_stall(sent, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(context)
    }
}
