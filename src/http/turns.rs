//! How often the HTTP library looks at a connection. Runs on the HTTP workers.
//!
//! While a caller takes no answers, the library asks for its next turn at once, again and again. So a turn that moved no
//! byte is followed by a rest.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection::{Patient, Turn};

/// The rest after a turn that moved nothing; each further one makes it twice as long, up to the longest.
const REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_millis(160);

/// Serves a stream to its end: `serve` makes the future that does.
pub async fn attend<T, F: Future>(stream: T, limit: Duration, serve: impl FnOnce(Patient<T>) -> F) -> F::Output {
    let turn = Rc::new(Turn::first());
    // Apart, so that what waits for connections is small.
    let mut served = Box::pin(serve(Patient::new(stream, Rc::clone(&turn), limit)));
    let mut rest = pin!(sleep(REST));
    let mut pause = REST;
    let mut bell = None;
    poll_fn(move |context| {
        let bell = bell.get_or_insert_with(|| Bell::of(context.waker()));
        bell.begin_turn(context.waker());
        turn.begin();
        let result = served.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))));
        let wants_next = bell.end_turn() || turn.has_more();
        if turn.has_moved() {
            pause = REST;
        }
        if wants_next && result.is_pending() {
            if turn.has_moved() {
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
