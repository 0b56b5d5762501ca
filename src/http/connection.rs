//! One caller's connection: what of it the HTTP library gets to see, how long answers may lie untaken, and how long a head
//! may take. Runs on the HTTP workers.
//!
//! The library reads on while a caller takes no answers. So nothing is read here while answers wait, and who takes none
//! for too long is cut off. It limits the time of a connection's first head alone, so that of each is limited here. It
//! shapes an answer by the request that it has read last, and carries out what comes behind the last request of a
//! connection. So it sees a request when the answer to the one before is made, and none when that one was the last.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::{ConnectionType, HttpMessage as _, Request};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::framing::Part;
use super::refusal;

/// How long a caller may take to see that a connection is closed.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// What is read in one turn.
const READ_BYTES: usize = 8 * 1024;

/// What the turns of a connection, its stream and its requests tell each other.
struct Turn {
    read_bytes: Cell<usize>,
    /// Something was kept from the library.
    holds_back: Cell<bool>,
    /// What the library sees next.
    part: Cell<Part>,
    /// A request is under way: it has been read, and its answer is not made.
    is_busy: Cell<bool>,
    /// What was passed last has not become a request.
    is_no_request: Cell<bool>,
    /// Its caller wants no further one.
    is_last: Cell<bool>,
    /// The caller has used up its time.
    is_cut_off: Cell<bool>,
}

impl Turn {
    /// A connection that has just been taken in.
    fn first() -> Self {
        Self {
            read_bytes: Cell::new(0),
            holds_back: Cell::new(false),
            part: Cell::new(Part::FIRST),
            is_busy: Cell::new(false),
            is_no_request: Cell::new(true),
            is_last: Cell::new(false),
            is_cut_off: Cell::new(false),
        }
    }

    /// Begins the next turn.
    fn begin(&self) {
        self.read_bytes.set(0);
        self.holds_back.set(false);
    }

    /// Is there something now that this turn kept from the library, and the next one would not?
    fn has_more(&self) -> bool {
        self.holds_back.get() && self.may_pass()
    }

    /// How many of these bytes the library may see now.
    fn pass(&self, bytes: &[u8]) -> usize {
        let mut part = self.part.get();
        if matches!(part, Part::Head { .. }) {
            self.is_no_request.set(true);
        }
        let passed = part.pass(bytes);
        self.part.set(part);
        self.begin_next();
        passed
    }

    /// Is what has come whole heads, of which the library makes requests in this very turn?
    fn is_whole(&self) -> bool {
        self.is_busy.get() || self.part.get() == Part::Unknown
    }

    /// Can there be no answer under way, and nothing that was sent behind it?
    fn is_idle(&self) -> bool {
        self.part.get() == Part::FIRST && !self.is_last.get() && !self.holds_back.get()
    }

    /// The caller has used up its time, and is owed nothing more.
    fn cut_off(&self) -> io::Error {
        self.is_cut_off.set(true);
        io::ErrorKind::TimedOut.into()
    }

    fn may_pass(&self) -> bool {
        !matches!(self.part.get(), Part::Unknown | Part::Over)
    }

    /// Behind a request that is over and answered comes the next one.
    fn begin_next(&self) {
        if self.part.get() == Part::Over && !self.is_busy.get() {
            self.part.set(Part::FIRST);
        }
    }
}

/// A connection as its requests see it.
#[derive(Clone)]
pub struct Connection(Rc<Turn>);

impl Connection {
    /// Tells, until this is dropped, that a request is under way. There is never more than one.
    #[must_use]
    pub fn begin(&self, request: &Request) -> UnderWay {
        let length = || request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok();
        let is_chunked = request.chunked().unwrap_or(false);
        self.0.part.set(if is_chunked { Part::CHUNKS } else { Part::sized(length().unwrap_or(0)) });
        self.0.is_busy.set(true);
        self.0.is_no_request.set(false);
        self.0.is_last.set(request.head().connection_type() != ConnectionType::KeepAlive);
        UnderWay(Rc::clone(&self.0))
    }
}

/// A request under way.
pub struct UnderWay(Rc<Turn>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.is_busy.set(false);
        self.0.begin_next();
    }
}

/// A caller's stream, which gives up when nothing of what is to be sent is taken within the time limit, or no request
/// comes of what was read.
pub struct Patient<T> {
    /// Outlives this, so that the end of the connection can be seen to.
    stream: Rc<RefCell<T>>,
    turn: Rc<Turn>,
    limit: Duration,
    /// What was read and the library may not see yet.
    held: BytesMut,
    /// What is left to send of a refusal, in place of the library's own.
    refusal: Option<VecDeque<u8>>,
    /// Runs while an answer waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs while what was read is only the beginning of a request.
    unfinished: Option<Pin<Box<Sleep>>>,
}

/// Serves a stream to its end: `serve` makes the future that does.
pub async fn attend<T, F>(stream: T, limit: Duration, serve: impl FnOnce(Patient<T>) -> F) -> F::Output
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future,
{
    let turn = Rc::new(Turn::first());
    let stream = Rc::new(RefCell::new(stream));
    // Apart, so that what waits for connections is small.
    let mut served = Box::pin(serve(Patient::new(Rc::clone(&stream), Rc::clone(&turn), limit)));
    let result = poll_fn(|context| {
        turn.begin();
        let result = served.as_mut().poll(context);
        if result.is_pending() && turn.has_more() {
            context.waker().wake_by_ref();
        }
        result
    })
    .await;
    drop(served);
    if !turn.is_cut_off.get() && !turn.is_idle() {
        drop(Box::pin(timeout(FAREWELL, see_off(&stream))).await);
    }
    result
}

/// Ends sending. If more has come than was read, takes it, and what follows, until the caller closes too: to close over it
/// would reset the connection, and take away answers that are still under way.
async fn see_off<T: AsyncRead + AsyncWrite + Unpin>(stream: &RefCell<T>) -> io::Result<()> {
    poll_fn(|context| Pin::new(&mut *stream.borrow_mut()).poll_shutdown(context)).await?;
    // What has come meanwhile is known after the executor has asked the system.
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

impl<T> Patient<T> {
    /// Around a stream, for the turns of its connection.
    fn new(stream: Rc<RefCell<T>>, turn: Rc<Turn>, limit: Duration) -> Self {
        Self { stream, turn, limit, held: BytesMut::new(), refusal: None, stalled: None, unfinished: None }
    }

    /// The connection, for its requests.
    pub fn connection(&self) -> Connection {
        Connection(Rc::clone(&self.turn))
    }

    /// Did what was read stay the beginning of a request for too long?
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.turn.is_busy.get() {
            self.unfinished = None;
        }
        self.unfinished.as_mut().is_some_and(|limit| limit.as_mut().poll(context).is_ready())
    }

    /// What came of sending, with the time limit on nothing being taken.
    fn judge<R>(&mut self, sent: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if sent.is_ready() {
            if self.stalled.take().is_some() {
                // Reading goes on.
                context.waker().wake_by_ref();
            }
            return sent;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        stalled.as_mut().poll(context).map(|()| Err(self.turn.cut_off()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stalled.is_some() {
            return Poll::Pending;
        }
        if self.is_late(context) {
            return Poll::Ready(Err(self.turn.cut_off()));
        }
        if self.turn.read_bytes.get() >= READ_BYTES {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let this = self.get_mut();
        if this.held.is_empty() {
            this.read(context, buffer)
        } else if this.turn.may_pass() {
            this.pass_held(buffer);
            Poll::Ready(Ok(()))
        } else {
            this.turn.holds_back.set(true);
            Poll::Pending
        }
    }
}

impl<T: AsyncRead + Unpin> Patient<T> {
    /// Reads, and holds back what may not be passed on.
    fn read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, buffer);
        if read.is_pending() {
            return read;
        }
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        let passed = self.turn.pass(fresh);
        self.note(fresh.len());
        if fresh.is_empty() || passed == fresh.len() {
            return read;
        }
        self.held.extend_from_slice(&fresh[passed..]);
        buffer.set_filled(before + passed);
        if passed == 0 {
            self.turn.holds_back.set(true);
            return Poll::Pending;
        }
        read
    }

    fn pass_held(&mut self, buffer: &mut ReadBuf<'_>) {
        let room = buffer.remaining().min(self.held.len());
        let passed = self.turn.pass(&self.held[..room]);
        buffer.put_slice(&self.held.split_to(passed));
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        self.note(passed);
    }

    /// Something came in.
    fn note(&mut self, bytes: usize) {
        self.turn.read_bytes.update(|read| read + bytes);
        if !self.turn.is_whole() {
            let limit = self.limit;
            self.unfinished.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        }
    }
}

impl<T: AsyncWrite + Unpin> Patient<T> {
    /// Sends what the library answers to what is no request.
    fn refuse(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(refusal) = self.refusal.take().or_else(|| refusal::complete(bytes).map(VecDeque::from)) else {
            return Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, bytes);
        };
        let refusal = self.refusal.insert(refusal);
        while !refusal.is_empty() {
            let count = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, refusal.as_slices().0))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            refusal.drain(..count);
        }
        Poll::Ready(Ok(bytes.len()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = if self.turn.is_no_request.get() {
            self.refuse(context, bytes)
        } else {
            Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, bytes)
        };
        if sent.is_ready() {
            // An answer ends a request, so the next one has its whole time.
            self.unfinished = None;
        }
        self.judge(sent, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(context);
        self.judge(sent, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(context)
    }
}
