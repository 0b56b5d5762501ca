//! The side of the active server: takes the requests that servers on standby have passed on, has them executed (`execute.rs`),
//! and sends the answers. One thread has the connection to the database, another one the app. Neither knows what a request
//! means.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::rt::System;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::http::relay::execute::{Execute, Load, Placed, Taken, execute_all};
use crate::storage::Answering;
use crate::storage::error::StorageError;

/// How often requests are asked for: while they come, while there is somebody to pass them on, and how often it is looked
/// at whether there is.
const BUSY: Duration = Duration::from_millis(2);
const QUIET: Duration = Duration::from_millis(20);
const ALONE: Duration = Duration::from_millis(500);
/// For how long after a request or a part of an answer the next one is asked for often.
const BUSY_FOR: Duration = Duration::from_millis(200);
/// How often what nobody fetched is removed.
const TIDY: Duration = Duration::from_mins(1);
/// Parts of answers that wait to be sent, and how many are sent at once.
const PARTS: usize = 256;
const SENT_AT_ONCE: usize = 64;
/// While the bodies of requests that are under way have more bytes, no further request is taken.
const BODIES_BYTES: usize = 64 * 1024 * 1024;

/// The two threads.
pub struct Answers {
    stop: Sender<()>,
    threads: [JoinHandle<()>; 2],
}

impl Answers {
    /// Starts them. `make` makes what executes requests of callers, and those of the operator, on the thread of the app.
    pub fn start(
        answering: Answering,
        make: impl AsyncFnOnce() -> Option<[Execute; 2]> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let (incoming, messages) = unbounded_channel();
        let (parts, outgoing) = bounded(PARTS);
        let line = Line::new(answering, incoming);
        let app = std::thread::Builder::new().name("relay-app".to_owned()).spawn(move || {
            System::new().block_on(async move {
                match make().await {
                    Some(apps) => execute_all(apps, messages, parts).await,
                    None => log::error!("requests of servers on standby are not answered: no app could be made"),
                }
            });
        })?;
        let line = std::thread::Builder::new().name("relay".to_owned()).spawn(move || line.run(&outgoing, &stopped))?;
        Ok(Self { stop, threads: [app, line] })
    }

    /// Takes nothing more, and stops when what is under way is answered or a few seconds are over.
    pub fn stop(self) {
        drop(self.stop);
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a thread that answers servers on standby had panicked");
            }
        }
    }
}

/// What the thread of the connection has.
struct Line {
    answering: Answering,
    /// To the app; none when the server stops.
    incoming: Option<UnboundedSender<Taken>>,
    load: Load,
    /// Parts that are not sent yet, which after an error includes those that may have been.
    unsent: Vec<Placed>,
    is_asked: bool,
    is_failing: bool,
    busy_until: Instant,
    look_at: Instant,
    tidy_at: Instant,
}

impl Line {
    fn new(answering: Answering, incoming: UnboundedSender<Taken>) -> Self {
        let now = Instant::now();
        Self {
            answering,
            incoming: Some(incoming),
            load: Load::default(),
            unsent: Vec::new(),
            is_asked: false,
            is_failing: false,
            busy_until: now,
            look_at: now,
            tidy_at: now,
        }
    }

    /// Until the app has ended, which it does soon after it was told to stop.
    fn run(mut self, outgoing: &Receiver<Placed>, stopped: &Receiver<()>) {
        loop {
            if self.unsent.is_empty() {
                match outgoing.recv_timeout(self.pace()) {
                    Ok(part) => self.unsent.push(part),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            self.unsent.extend(outgoing.try_iter().take(SENT_AT_ONCE.saturating_sub(self.unsent.len())));
            if stopped.try_recv() == Err(TryRecvError::Disconnected) {
                self.incoming = None;
            }
            match self.exchange() {
                Ok(()) => self.is_failing = false,
                Err(error) if self.incoming.is_none() => {
                    log::warn!("servers on standby get no last answers: {error}");
                    return;
                }
                Err(error) => {
                    let level = if self.is_failing { log::Level::Debug } else { log::Level::Warn };
                    log::log!(level, "servers on standby cannot be answered: {error}");
                    self.is_failing = true;
                    std::thread::sleep(ALONE);
                }
            }
        }
    }

    fn pace(&self) -> Duration {
        match self.is_asked {
            _ if Instant::now() < self.busy_until => BUSY,
            true => QUIET,
            false => ALONE,
        }
    }

    fn exchange(&mut self) -> Result<(), StorageError> {
        let now = Instant::now();
        if !self.unsent.is_empty() {
            self.answering.send(&self.unsent)?;
            self.unsent.clear();
            self.busy_until = now + BUSY_FOR;
        }
        let Some(incoming) = &self.incoming else { return Ok(()) };
        if now >= self.look_at {
            self.is_asked = self.answering.is_asked()?;
            self.look_at = now + ALONE;
        }
        if now >= self.tidy_at {
            self.answering.forget()?;
            self.tidy_at = now + TIDY;
        }
        if !self.is_asked || self.load.bytes() > BODIES_BYTES {
            return Ok(());
        }
        let messages = self.answering.take()?;
        if messages.is_empty() {
            return Ok(());
        }
        self.busy_until = now + BUSY_FOR;
        for (asked, message) in messages {
            let share = self.load.take(message.as_ref());
            // The app has ended only if it could not be made.
            let _ = incoming.send((asked, message, share));
        }
        self.answering.remove_taken()
    }
}
