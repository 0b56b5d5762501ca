//! The writer: the only thread that opens a write transaction (I2). It takes what is queued, applies it in one
//! transaction, pays for the disk once, and only then answers everybody. It waits for nobody above it (I8). After a
//! storage error it refuses all further work and reports, once, that the process has to end: what such a handle reads or
//! writes afterwards cannot be trusted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Map, json};

use crate::domain::DeliveryId;
use crate::domain::alert::AlertKind;
use crate::domain::audit::Change;
use crate::storage::command::server::ServerCommand;
use crate::storage::command::{Command, Committed, ReplySender, Report};
use crate::storage::engine::{Engine, Transaction as _, Tx};
use crate::storage::error::{Rejection, StorageError, WriterError};
use crate::storage::read::registry::Registry;
use crate::storage::read::snapshot::SharedSnapshot;
use crate::storage::rules::alerts::SERVER;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::budget::Budget;
use crate::storage::rules::find::FindIndexing;
use crate::storage::rules::jobs::{Jobs, StepSize};
use crate::storage::rules::retain::Housekeeping;
use crate::storage::store_engine::StoreEngine;
use crate::storage::write::batching::{Batching, Done, Next, Reason, Waiting};
use crate::storage::write::queue::{Inbox, Load, Work, WriterHandle, queues};
use crate::storage::write::space::SpaceGuard;

/// Rows that housekeeping visits in a transaction of its own, and at least in any other, if its time is not over.
const HOUSEKEEPING_ROWS: usize = 4000;
const HOUSEKEEPING_ROWS_SHARED: usize = 200;
/// How many it visits at least for each event and each outcome of the commit, so that it keeps up with a load that leaves it
/// no commit of its own: to remove an event it visits two rows, and two for each of its deliveries.
const HOUSEKEEPING_ROWS_FOR_EACH: usize = 4;
/// How long after a commit that a caller waited for the next caller is expected, who would wait for what is committed
/// meanwhile: no job and no housekeeping makes a commit of its own, and their steps are small.
const AFTER_CALLER: Duration = Duration::from_millis(50);
/// How often free space is looked for while jobs wait for it.
const JOB_WITHOUT_SPACE: Duration = Duration::from_secs(1);
/// How long a writer waits for commands that has nothing to do by itself.
const NOTHING_DUE: Duration = Duration::from_hours(24);

/// Called after every commit.
pub type CommitListener = Box<dyn Fn(Committed, &Registry) + Send>;

/// A reply to send after the commit.
type DeferredReply = Box<dyn FnOnce()>;

/// Callbacks of the writer, on its thread. Neither may block.
pub struct Listeners {
    /// After every commit.
    pub committed: CommitListener,
    /// Once, when the writer cannot go on and the process has to end.
    pub failed: Box<dyn Fn(&WriterError) + Send>,
}

/// What the writer does by itself.
#[derive(Default)]
pub(in crate::storage) struct OwnWork {
    /// None: nothing is removed by itself.
    pub housekeeping: Option<Housekeeping>,
    /// The jobs that are at work.
    pub jobs: Jobs,
    /// None: the find index is left to the server.
    pub find: Option<FindIndexing>,
}

/// Creates the writer and its first handle.
pub(in crate::storage) fn new(
    engine: Arc<StoreEngine>,
    state: State,
    shared: Arc<SharedSnapshot>,
    reserve_bytes: u64,
    (work, listeners): (OwnWork, Listeners),
) -> (WriterHandle, Writer) {
    let (handle, inbox) = queues();
    let writer = Writer {
        engine,
        state,
        shared,
        space: SpaceGuard::new(reserve_bytes),
        listeners,
        inbox,
        batching: Batching::default(),
        load: handle.load(),
        work,
        last_caller: None,
        is_timed: false,
    };
    (handle, writer)
}

/// Executes the queued commands.
pub struct Writer {
    engine: Arc<StoreEngine>,
    state: State,
    shared: Arc<SharedSnapshot>,
    space: SpaceGuard,
    listeners: Listeners,
    inbox: Inbox,
    batching: Batching,
    load: Arc<Load>,
    work: OwnWork,
    /// When the last commit that a caller waited for was made.
    last_caller: Option<Instant>,
    /// Its steps end early when they take long; not where the same work is to come out the same again.
    is_timed: bool,
}

impl Writer {
    /// Starts the writer's thread, which ends with the last [`WriterHandle`].
    pub(in crate::storage) fn start(mut self) -> std::io::Result<JoinHandle<()>> {
        self.is_timed = true;
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            // A writer that is gone while the process lives would refuse everything for ever, so a panic ends the
            // process, too. What it was doing is in no committed transaction.
            let ended = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or(Err(WriterError::Panicked));
            if let Err(error) = ended {
                log::error!("{error}");
                (self.listeners.failed)(&error);
                self.engine.abandon();
                self.inbox.drop_everything();
            }
        })
    }

    /// Commits up to so many of the commands and outcomes of each kind that wait; with none, a step of housekeeping. For
    /// a writer without a thread; after an error it must not be used again.
    pub fn commit_some(&mut self, commands: usize, delivered: usize, failed: usize) -> Result<(), WriterError> {
        let work = self.inbox.take_some(commands, delivered, failed);
        let is_empty = work.commands.is_empty() && work.reports.is_empty();
        self.commit(work, if is_empty { Reason::Idle } else { Reason::Caller })
    }

    fn run(&mut self) -> Result<(), WriterError> {
        loop {
            let (registry, jobs) = (&self.state.registry, &self.work.jobs);
            let is_replayed = |report: &Report| jobs.is_active() && jobs.is_of_replay(report.place(), registry);
            self.inbox.take_in(|command| most_deliveries(command, registry), is_replayed);
            let now = Instant::now();
            let (idle_at, callers_until) = (self.idle_at(now), self.callers_until());
            let waiting = Waiting { job_at: self.job_at(now), callers_until, ..self.inbox.waiting() };
            match self.batching.next(&waiting, idle_at, now) {
                Next::Commit(share) => {
                    let work = self.inbox.take(share);
                    self.commit(work, share.reason)?;
                }
                Next::WaitUntil(until) => self.inbox.wait(until),
                // The database is closed after this, which writes to the file.
                Next::End => return Ok(self.engine.check_owner()?),
            }
        }
    }

    /// When a batch is closed, or housekeeping makes its next step, in a commit of its own. While callers keep coming,
    /// housekeeping has a part of theirs.
    fn idle_at(&self, now: Instant) -> Instant {
        let monotonic = self.state.clock.monotonic();
        let due_in = self.work.housekeeping.as_ref().map_or(NOTHING_DUE, |housekeeping| housekeeping.due_in(monotonic));
        let batch = self.state.gatherings.next_close().map_or(NOTHING_DUE, |at| at.since(monotonic));
        (now + due_in).max(self.callers_until().unwrap_or(now)).min(now + batch)
    }

    /// When a job, or the find index, makes its next step in a commit of its own. While callers keep coming, it has a part
    /// of theirs.
    fn job_at(&self, now: Instant) -> Option<Instant> {
        let is_indexing = self.work.find.as_ref().is_some_and(FindIndexing::is_due);
        if !self.work.jobs.is_active() && !is_indexing && !self.state.backlogs.is_active() {
            return None;
        }
        if !self.space.is_enough() {
            return Some(now + JOB_WITHOUT_SPACE);
        }
        let after_callers = self.callers_until().unwrap_or(now);
        Some(if is_indexing { after_callers } else { after_callers.max(self.work.jobs.own_commit_at(now)) })
    }

    /// Until when callers are expected to come.
    fn callers_until(&self) -> Option<Instant> {
        self.last_caller.map(|at| at + AFTER_CALLER)
    }

    fn commit(&mut self, work: Work, reason: Reason) -> Result<(), WriterError> {
        let engine = Arc::clone(&self.engine);
        match &*engine {
            StoreEngine::Redb(engine) => self.commit_to(engine, work, reason),
            StoreEngine::Postgres(engine) => self.commit_to(&**engine, work, reason),
        }
    }

    fn commit_to(&mut self, engine: &impl Engine, work: Work, reason: Reason) -> Result<(), WriterError> {
        engine.check_owner()?;
        let Work { reports, failed, commands } = work;
        self.load.at_work(true);
        self.space.check(commands.iter().map(Command::body_bytes).sum(), || engine.vitals().free_bytes);
        let transaction = engine.begin()?;
        self.load.release(commands.iter().map(Command::memory_bytes).sum());
        let mut replies: Vec<DeferredReply> = Vec::with_capacity(commands.len());
        let rows = housekeeping_rows(reason, reports.len() + commands.iter().map(events_of).sum::<usize>());
        let begun = Instant::now();
        let has_callers = reason.has_caller() || (self.is_timed && self.callers_until().is_some_and(|at| begun < at));
        self.state.time.observe(self.state.clock.read());
        let mut committed = {
            let mut batch = Batch::new(transaction.rows()?, self.state.pending);
            for report in reports {
                self.record(&mut batch, report)?;
                self.load.step();
            }
            for command in commands {
                replies.push(self.apply(&mut batch, command)?);
                batch.forget_changes();
                self.load.step();
            }
            batch.close_due(&mut self.state)?;
            batch.alert_of_space(&mut self.state, self.space.is_enough())?;
            // In the same transaction, so that it makes progress under load and needs no sync of its own.
            if let Some(housekeeping) = &mut self.work.housekeeping {
                housekeeping.step(&mut batch, &mut self.state, Budget::new(rows, self.is_timed))?;
            }
            let size = StepSize::new(has_callers, self.is_timed);
            batch.step_backlogs(&mut self.state, size)?;
            if self.space.is_enough() {
                self.work.jobs.step(&mut batch, &mut self.state, size)?;
                if let Some(find) = &mut self.work.find {
                    find.step(&mut batch.tx, has_callers)?;
                }
            }
            batch.finish(&mut self.state)?
        };
        self.load.on_disk(|| transaction.commit())?;
        // A commit to a file that is no longer the one in the folder is not acknowledged.
        engine.check_owner()?;
        committed.took = begun.elapsed();
        let done = Done {
            reason,
            events: committed.events,
            outcomes: committed.recorded.len(),
            failed,
            never_attempted: self.state.pending.unattempted,
            took: committed.took,
        };
        let now = Instant::now();
        self.batching.committed(&done, now);
        if reason.has_caller() {
            self.last_caller = Some(now);
        }
        self.shared.publish(Arc::clone(&self.state.registry), self.state.pending, self.state.time.calendar())?;
        let told = catch_unwind(AssertUnwindSafe(|| (self.listeners.committed)(committed, &self.state.registry)));
        // What is committed is answered, whatever became of telling others.
        for reply in replies {
            reply();
        }
        self.load.at_work(false);
        told.map_err(|_| WriterError::NotTold)
    }

    fn record(&mut self, batch: &mut Batch<impl Tx>, report: Report) -> Result<(), StorageError> {
        match report {
            Report::Attempt(completion) if completion.is_batch => batch.complete_batch(&mut self.state, *completion),
            Report::Attempt(completion) => batch.complete(&mut self.state, *completion),
            Report::KeyUsed(id) => batch.record_key_use(&mut self.state, id),
            Report::SessionUsed(id) => batch.record_session_use(&mut self.state, id),
        }
    }

    fn apply(&mut self, batch: &mut Batch<impl Tx>, command: Command) -> Result<DeferredReply, StorageError> {
        let state = &mut self.state;
        Ok(match command {
            Command::Publish { account, events, reply } => {
                let result = if self.space.is_enough() {
                    if let Some(find) = &mut self.work.find {
                        find.published(account, events.len(), events.iter().map(|event| event.data.len()).sum());
                    }
                    batch.publish(state, account, &events)?
                } else {
                    Err(Rejection::OutOfSpace)
                };
                defer_reply(reply, result)
            }
            Command::RecordPing { event, content, subscription, attempt, reply } => {
                let id = DeliveryId { event, subscription };
                defer_reply(reply, batch.record_ping(state, id, content, *attempt)?)
            }
            Command::CreateSubscription { account, new, keys, reply } => {
                defer_reply(reply, batch.create_subscription(state, account, new, keys)?)
            }
            Command::ChangeSubscription { account, id, change, reply } => {
                defer_reply(reply, batch.change_subscription(state, account, id, change)?)
            }
            Command::RotateSecret { account, id, secret, previous_valid_until, reply } => {
                defer_reply(reply, batch.rotate_secret(state, account, id, secret, previous_valid_until)?)
            }
            Command::DeleteSubscription { account, id, reply } => {
                let result = batch.delete_subscription(state, account, id)?;
                if let Some(housekeeping) = &mut self.work.housekeeping {
                    housekeeping.subscription_deleted();
                }
                defer_reply(reply, result)
            }
            Command::ConfirmClock { reply } => {
                let counted = state.time.confirm(state.clock.read());
                let after = json!({"counted_s": counted.as_secs()});
                batch.note_server_change(state, "clock.confirmed", after.as_object().unwrap_or(&Map::new()));
                if let Some(housekeeping) = &mut self.work.housekeeping {
                    housekeeping.pass_now();
                }
                defer_reply(reply, Ok(counted))
            }
            Command::Redeliver { account, id, reply } => {
                let result = batch.redeliver(state, account, id)?;
                if result.is_ok() {
                    batch.changes.to_try.push(id.subscription);
                    batch.note(Change::of(account, "delivery.retried", id.to_string()));
                }
                defer_reply(reply, result)
            }
            Command::AcknowledgeFeed { account, id, up_to, reply } => {
                defer_reply(reply, batch.acknowledge(state, account, id, up_to)?)
            }
            Command::CreateJob { account, task, of, reply } => {
                defer_reply(reply, self.work.jobs.create(batch, state, (account, task), of)?)
            }
            Command::StopJob { account, id, reply } => {
                defer_reply(reply, self.work.jobs.stop(batch, state, account, id)?)
            }
            Command::Audited { origin, command } => {
                let reply = self.apply(batch, *command)?;
                batch.record_changes(&mut self.state, &origin)?;
                return Ok(reply);
            }
            Command::Server(command) => return self.apply_to_server(batch, command),
            Command::Flush { reply } => defer_reply(reply, Ok(())),
            Command::CreateKey { new, reply } => defer_reply(reply, batch.create_key(state, *new)?),
            Command::RotateKey { account, id, prefix, hash, overlap, reply } => {
                defer_reply(reply, batch.rotate_key(state, (account, id), (prefix, hash), overlap)?)
            }
            Command::OpenSession { session, reply } => defer_reply(reply, batch.open_session(state, *session)?),
            Command::CloseSession { id, reply } => defer_reply(reply, batch.close_session(state, id)?),
            Command::RevokeKey { id, reply } => defer_reply(reply, batch.revoke_key(state, id)?),
        })
    }

    fn apply_to_server(
        &mut self,
        batch: &mut Batch<impl Tx>,
        command: ServerCommand,
    ) -> Result<DeferredReply, StorageError> {
        let state = &mut self.state;
        Ok(match command {
            ServerCommand::RaiseAlert { kind, of, message, reply } => {
                batch.alert(state, (kind, &of), None, message)?;
                defer_reply(reply, Ok(()))
            }
            ServerCommand::LookAtFeeds { feeds, reply } => {
                feeds.into_iter().try_for_each(|id| batch.look_at_feed(state, id))?;
                defer_reply(reply, Ok(()))
            }
            ServerCommand::HandedOver { alerts, way, ways, reply } => {
                batch.handed_over(state, &alerts, &way, &ways)?;
                defer_reply(reply, Ok(()))
            }
            ServerCommand::EndProbe { id, since, is_gone, reply } => {
                defer_reply(reply, batch.end_probe(state, id, since, is_gone)?)
            }
            ServerCommand::NoteChange { action, after, reply } => {
                batch.note_server_change(state, action, &after);
                defer_reply(reply, Ok(()))
            }
            ServerCommand::NoteBackup { at, reply } => {
                batch.tx.put_last_backup(at)?;
                batch.end_alert(state, AlertKind::BackupMissed, SERVER)?;
                defer_reply(reply, Ok(()))
            }
        })
    }
}

/// Maximum number of deliveries that a command creates.
fn most_deliveries(command: &Command, registry: &Registry) -> usize {
    match command {
        Command::Publish { account, events, .. } => {
            events.len().saturating_mul(registry.subscriptions_of(*account).len())
        }
        _ => 0,
    }
}

/// How many events a command makes.
fn events_of(command: &Command) -> usize {
    match command {
        Command::Publish { events, .. } => events.len(),
        _ => 0,
    }
}

/// How many rows housekeeping visits in a commit with so many events and outcomes.
fn housekeeping_rows(reason: Reason, stored: usize) -> usize {
    match reason {
        Reason::Idle => HOUSEKEEPING_ROWS,
        _ => (stored * HOUSEKEEPING_ROWS_FOR_EACH).clamp(HOUSEKEEPING_ROWS_SHARED, HOUSEKEEPING_ROWS),
    }
}

fn defer_reply<T: 'static>(reply: ReplySender<T>, result: Result<T, Rejection>) -> DeferredReply {
    // The caller may have gone away.
    Box::new(move || drop(reply.send(result)))
}

#[cfg(test)]
mod backlog_tests;
#[cfg(test)]
mod job_tests;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::storage::test_store::{open_with, publish};

    #[test]
    fn who_asked_gets_the_answer_when_telling_others_of_the_commit_goes_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, failed) = channel();
        let listeners = Listeners {
            committed: Box::new(|committed, _| assert!(committed.events == 0, "broken on purpose")),
            failed: Box::new(move |error| drop(sender.send(error.to_string()))),
        };
        let store = open_with(folder.path(), Duration::MAX, listeners);
        publish(&store);
        let said = failed.recv().unwrap();
        assert!(said.contains("an internal error") && !said.contains("the store failed"), "{said}");
    }
}
