//! The writer: the only thread that opens a write transaction (I2). Commands queue up; it takes what is there,
//! applies all of them in one transaction, pays for the disk once, and only then answers everybody. It waits for
//! nobody above it (I8). After a storage error it refuses all further work and reports, once, that the process has
//! to end: what such a handle reads or writes afterwards cannot be trusted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use redb::{Database, Durability};

use super::apply::{Batch, State};
use super::command::{Command, Committed, Reply};
use super::company::{self, Company};
use super::error::{Refusal, StorageError};
use super::housekeeping::Housekeeping;
use super::moment::SharedMoment;
use super::queue::{QUEUE_COMMANDS, WriterHandle};
use super::registry::Registry;
use super::space::{SpaceGuard, SpaceRule};

/// At most this many commands share a commit: beyond it the gain is small and the wait of the first grows.
const BATCH_COMMANDS: usize = 1024;
/// At most about so many deliveries are made in one commit, unless one command alone makes more: an event for a
/// thousand subscriptions is a thousand rows, and memory and the wait of the others grow with them.
const BATCH_DELIVERIES: usize = 8192;
/// A commit for so many others takes what waits along: it is no longer a quick one, and publishing must not outrun
/// delivering.
const CROWD: usize = 8;
/// While more deliveries than this were never attempted, the writer rests after such a commit for as long as it took, at
/// most [`company::WAIT`], so that the next one is larger and delivery threads find the processors and the disk free.
const BEHIND: u64 = 8192;
/// How many rows housekeeping looks at in a transaction of its own, and how many in one that others wait for.
const HOUSEKEEPING_ROWS: usize = 2000;
const HOUSEKEEPING_ROWS_BESIDE: usize = 100;
/// How long a writer waits for commands that has nothing to do by itself.
const NOTHING_DUE: Duration = Duration::from_hours(24);

/// Hears of every commit.
pub type CommitListener = Box<dyn Fn(Committed, &Registry) + Send>;

/// An answer that waits for the commit.
type Answer = Box<dyn FnOnce()>;

/// Whom the writer tells. Called on the writer thread; neither may block.
pub struct Listeners {
    /// After every commit.
    pub committed: CommitListener,
    /// Once, when the store has failed for good.
    pub failed: Box<dyn Fn(&StorageError) + Send>,
}

/// Makes the writer and the first way to it.
pub(super) fn new(
    db: Arc<Database>,
    state: State,
    shared: Arc<SharedMoment>,
    space: SpaceRule,
    (housekeeping, listeners): (Option<Housekeeping>, Listeners),
) -> (WriterHandle, Writer) {
    let (sender, commands) = bounded(QUEUE_COMMANDS);
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let commits = Arc::new(AtomicU64::new(0));
    let writer = Writer {
        db,
        state,
        shared,
        space: SpaceGuard::new(space),
        listeners,
        commands,
        company: Company::default(),
        rests_until: None,
        queued_bytes: Arc::clone(&queued_bytes),
        commits: Arc::clone(&commits),
        housekeeping,
    };
    (WriterHandle { commands: sender, queued_bytes, commits }, writer)
}

/// Carries out what is queued.
pub struct Writer {
    db: Arc<Database>,
    state: State,
    shared: Arc<SharedMoment>,
    space: SpaceGuard,
    listeners: Listeners,
    commands: Receiver<Command>,
    /// Commands that nobody waits for.
    company: Company,
    /// Until when the next commit waits for more commands.
    rests_until: Option<Instant>,
    queued_bytes: Arc<AtomicUsize>,
    commits: Arc<AtomicU64>,
    /// None: nothing is removed by itself.
    housekeeping: Option<Housekeeping>,
}

impl Writer {
    /// Gives the writer its thread, which ends with the last [`WriterHandle`].
    pub(super) fn start(mut self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            // A writer that is gone while the process lives would refuse everything for ever, so a panic counts as a
            // failure of the store. What it was doing is in no committed transaction.
            if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
                self.fail(&StorageError::Codec("the writer panicked".to_owned()));
            }
        })
    }

    /// Commits up to that many of the commands that wait; with none, a step of housekeeping. For a writer without a
    /// thread; after an error it must not be used again.
    pub fn commit_waiting(&mut self, limit: usize) -> Result<(), StorageError> {
        let commands = self.commands.try_iter().take(limit).collect();
        self.commit(commands)
    }

    fn run(&mut self) {
        while let Some(batch) = self.next_batch() {
            if let Err(error) = self.commit(batch) {
                return self.fail(&error);
            }
        }
    }

    fn fail(&self, error: &StorageError) {
        log::error!(
            "the store failed, and the process ends so that nothing is read from it again: {error}. The next start \
             checks the whole file, and says so if it is damaged"
        );
        (self.listeners.failed)(error);
        self.refuse_everything();
    }

    /// What to commit next; nothing but housekeeping when no command came for a while, `None` at the end.
    fn next_batch(&mut self) -> Option<Vec<Command>> {
        let now = self.state.clock.steady();
        let due_in = self.housekeeping.as_ref().map_or(NOTHING_DUE, |housekeeping| housekeeping.due_in(now));
        let idle_at = Instant::now() + due_in;
        let mut batch = Vec::new();
        let mut deliveries: usize = 0;
        while batch.len() + self.company.len() < BATCH_COMMANDS && deliveries < BATCH_DELIVERIES {
            let next = if batch.is_empty() && !self.company.is_enough() {
                self.commands.recv_deadline(self.company.until().unwrap_or(idle_at))
            } else if let Some(until) = self.rests_until {
                self.commands.recv_deadline(until).map_err(|_| RecvTimeoutError::Timeout)
            } else {
                self.commands.try_recv().map_err(|_| RecvTimeoutError::Timeout)
            };
            match next {
                Ok(command) if !command.is_waited_for() => self.company.push(command, Instant::now()),
                Ok(command) => {
                    deliveries = deliveries.saturating_add(self.most_deliveries(&command));
                    // Whatever else a caller asks for shall find the outcomes that came before it.
                    if !matches!(command, Command::Publish { .. }) {
                        batch.append(&mut self.company.take_all());
                    }
                    batch.push(command);
                }
                Err(RecvTimeoutError::Disconnected) if self.company.len() == 0 => return None,
                Err(_) => break,
            }
        }
        let is_open = batch.is_empty() || batch.len() >= CROWD;
        batch.append(&mut self.company.take(is_open, Instant::now()));
        Some(batch)
    }

    /// How many deliveries a command makes at most.
    fn most_deliveries(&self, command: &Command) -> usize {
        match command {
            Command::Publish { account, events, .. } => {
                events.len().saturating_mul(self.state.registry.subscriptions_of(*account).len())
            }
            _ => 0,
        }
    }

    fn commit(&mut self, commands: Vec<Command>) -> Result<(), StorageError> {
        let bytes = commands.iter().map(Command::body_bytes).sum();
        self.space.check(bytes);
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(true);
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let mut answers: Vec<Answer> = Vec::with_capacity(commands.len());
        let begun = Instant::now();
        self.state.time.observe(self.state.clock.read());
        let mut committed = {
            let mut batch = Batch::open(&transaction, self.state.pending)?;
            let rows = if commands.is_empty() { HOUSEKEEPING_ROWS } else { HOUSEKEEPING_ROWS_BESIDE };
            for command in commands {
                answers.extend(self.apply(&mut batch, command)?);
            }
            // Beside whatever else is committed, so that it goes on under load and costs no sync of its own.
            if let Some(housekeeping) = &mut self.housekeeping {
                housekeeping.step(&mut batch, &mut self.state, rows)?;
            }
            batch.finish(&mut self.state)?
        };
        transaction.commit()?;
        committed.took = begun.elapsed();
        let outruns =
            committed.events >= CROWD as u64 && committed.recorded.len() >= CROWD && self.state.pending.fresh >= BEHIND;
        self.rests_until = outruns.then(|| Instant::now() + committed.took.min(company::WAIT));
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.shared.advance(Arc::clone(&self.state.registry), self.state.pending, self.state.time.calendar())?;
        (self.listeners.committed)(committed, &self.state.registry);
        for answer in answers {
            answer();
        }
        Ok(())
    }

    fn apply(&mut self, batch: &mut Batch<'_>, command: Command) -> Result<Option<Answer>, StorageError> {
        let state = &mut self.state;
        Ok(Some(match command {
            Command::Complete(completion) => {
                batch.complete(state, *completion)?;
                return Ok(None);
            }
            Command::NoteUse { id } => {
                batch.note_use(state, id)?;
                return Ok(None);
            }
            Command::Publish { account, events, reply } => {
                let result = if self.space.is_enough() {
                    batch.publish(state, account, &events)?
                } else {
                    Err(Refusal::OutOfSpace)
                };
                answer(reply, result)
            }
            Command::RecordPing { event, row, subscription, attempt, reply } => {
                let id = crate::domain::DeliveryId { event, subscription };
                answer(reply, batch.record_ping(state, id, &row, *attempt)?)
            }
            Command::CreateSubscription { account, new, secret, reply } => {
                answer(reply, batch.create_subscription(state, account, new, secret)?)
            }
            Command::ChangeSubscription { account, id, change, reply } => {
                answer(reply, batch.change_subscription(state, account, id, change)?)
            }
            Command::DeleteSubscription { account, id, reply } => {
                let result = batch.delete_subscription(state, account, id)?;
                if let Some(housekeeping) = &mut self.housekeeping {
                    housekeeping.subscription_deleted();
                }
                answer(reply, result)
            }
            Command::ConfirmClock { reply } => {
                let counted = state.time.confirm(state.clock.read());
                if let Some(housekeeping) = &mut self.housekeeping {
                    housekeeping.sweep_now();
                }
                answer(reply, Ok(counted))
            }
            Command::Redeliver { account, id, reply } => answer(reply, batch.redeliver(state, account, id)?),
            Command::Flush { reply } => answer(reply, Ok(())),
            Command::CreateKey { new, reply } => answer(reply, batch.create_key(state, *new)?),
            Command::RevokeKey { id, reply } => answer(reply, batch.revoke_key(state, id)?),
        }))
    }

    fn refuse_everything(&self) {
        while let Ok(command) = self.commands.recv() {
            match command {
                Command::Complete(_) | Command::NoteUse { .. } => {}
                Command::Publish { reply, .. } => refuse(reply),
                Command::RecordPing { reply, .. }
                | Command::DeleteSubscription { reply, .. }
                | Command::Redeliver { reply, .. }
                | Command::Flush { reply }
                | Command::RevokeKey { reply, .. } => refuse(reply),
                Command::CreateSubscription { reply, .. } | Command::ChangeSubscription { reply, .. } => refuse(reply),
                Command::CreateKey { reply, .. } => refuse(reply),
                Command::ConfirmClock { reply } => refuse(reply),
            }
        }
    }
}

fn answer<T: 'static>(reply: Reply<T>, result: Result<T, Refusal>) -> Answer {
    // A caller that has gone away does not want the answer any more.
    Box::new(move || drop(reply.send(result)))
}

fn refuse<T>(reply: Reply<T>) {
    drop(reply.send(Err(Refusal::StoreFailed)));
}
