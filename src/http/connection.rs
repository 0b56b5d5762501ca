//! One caller's connection: how much is read ahead of the answers, how long answers may lie untaken and a head may take,
//! and how often the HTTP library looks at it. Runs on the HTTP workers.
//!
//! The library reads on while a caller takes no answers, and then asks for its next turn at once, again and again. So
//! nothing is read here while answers wait, who takes none for too long is cut off, and a turn that moved no byte is
//! followed by a rest. It limits the time of a connection's first head alone, so that of each is limited here.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// What is read in one turn. A turn makes all requests of what it reads, each many times as large as its text.
const READ_BYTES: usize = 8 * 1024;
/// The rest after a turn that moved nothing; each further one makes it twice as long, up to the longest.
const REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_millis(160);

/// What the turns of a connection, its stream and its requests tell each other.
#[derive(Default)]
struct Turn {
    read_bytes: Cell<usize>,
    has_moved: Cell<bool>,
    /// A request is under way: it has been read, and its answer is not made.
    is_busy: Cell<bool>,
}

/// A connection as its requests see it.
#[derive(Clone)]
pub struct Connection(Rc<Turn>);

impl Connection {
    /// Tells, until this is dropped, that a request is under way. There is never more than one.
    #[must_use]
    pub fn begin(&self) -> UnderWay {
        self.0.is_busy.set(true);
        UnderWay(Rc::clone(&self.0))
    }
}

/// A request under way.
pub struct UnderWay(Rc<Turn>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.is_busy.set(false);
    }
}

/// A caller's stream, which gives up when nothing of what is to be sent is taken within the time limit, or no request
/// comes of what was read.
pub struct Patient<T> {
    stream: T,
    turn: Rc<Turn>,
    limit: Duration,
    /// Runs while an answer waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs while what was read is not a request yet.
    unfinished: Option<Pin<Box<Sleep>>>,
}

/// Serves a stream to its end: `serve` makes the future that does.
pub async fn attend<T, F: Future>(stream: T, limit: Duration, serve: impl FnOnce(Patient<T>) -> F) -> F::Output {
    let turn = Rc::new(Turn::default());
    // Apart, so that what waits for connections is small.
    let patient = Patient { stream, turn: Rc::clone(&turn), limit, stalled: None, unfinished: None };
    let mut served = Box::pin(serve(patient));
    let mut rest = pin!(sleep(REST));
    let mut pause = REST;
    let mut bell = None;
    poll_fn(move |context| {
        let bell = bell.get_or_insert_with(|| Bell::of(context.waker()));
        bell.begin_turn(context.waker());
        turn.read_bytes.set(0);
        turn.has_moved.set(false);
        let result = served.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))));
        let wants_next = bell.end_turn();
        if turn.has_moved.get() {
            pause = REST;
        }
        if wants_next && result.is_pending() {
            if turn.has_moved.get() {
                context.waker().wake_by_ref();
            } else {
                rest.as_mut().reset(Instant::now() + pause);
                pause = LONGEST_REST.min(pause * 2);
                if rest.as_mut().poll(context).is_ready() {
                    context.waker().wake_by_ref();
                }
            }
        }
        result
    })
    .await
}

/// Tells a call for the next turn that comes out of a turn from one that comes from outside.
struct Bell {
    thread: ThreadId,
    is_in_turn: AtomicBool,
    has_rung_in_turn: AtomicBool,
    outer: Mutex<Waker>,
}

impl Bell {
    fn of(outer: &Waker) -> Arc<Self> {
        Arc::new(Self {
            thread: std::thread::current().id(),
            is_in_turn: AtomicBool::new(false),
            has_rung_in_turn: AtomicBool::new(false),
            outer: Mutex::new(outer.clone()),
        })
    }

    fn begin_turn(&self, outer: &Waker) {
        self.outer.lock().unwrap_or_else(PoisonError::into_inner).clone_from(outer);
        self.is_in_turn.store(true, Ordering::Relaxed);
    }

    /// Did the turn ask for the next one?
    fn end_turn(&self) -> bool {
        self.is_in_turn.store(false, Ordering::Relaxed);
        self.has_rung_in_turn.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Turns are all on one thread, so whatever rings there during a turn is the turn itself.
        if std::thread::current().id() == self.thread && self.is_in_turn.load(Ordering::Relaxed) {
            self.has_rung_in_turn.store(true, Ordering::Relaxed);
        } else {
            self.outer.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
        }
    }
}

impl<T> Patient<T> {
    /// The connection, for its requests.
    pub fn connection(&self) -> Connection {
        Connection(Rc::clone(&self.turn))
    }

    /// Did what was read stay without becoming a request for too long?
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
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
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
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.turn.read_bytes.get() >= READ_BYTES {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.turn.has_moved.set(true);
            self.turn.read_bytes.update(|bytes| bytes + buffer.filled().len() - before);
            if !self.turn.is_busy.get() {
                let limit = self.limit;
                self.unfinished.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        if sent.is_ready() {
            self.turn.has_moved.set(true);
            // An answer ends a request, so the next one has its whole time.
            self.unfinished = None;
        }
        self.judge(sent, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(sent, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
