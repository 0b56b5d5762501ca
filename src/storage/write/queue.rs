//! The queues into the writer: commands of callers in one, outcomes that nobody awaits in others, so that neither takes
//! the other's room. A caller is refused when too much waits, a delivery thread waits for room. [`WriterHandle`] is for
//! any thread; the `Inbox` lives in the writer, on its thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, bounded, unbounded};
use tokio::sync::oneshot;

use crate::domain::KeyId;
use crate::domain::access::SessionId;
use crate::storage::command::{Command, Completion, Report};
use crate::storage::error::Rejection;
use crate::storage::write::batching::{COMMANDS, DELIVERIES, OUTCOMES, Share, Waiting};

/// How much memory commands may take while they wait, bodies above all; beyond that a caller is answered with 503. It
/// has room for one small event of each connection that the configuration allows, so that whoever awaits each answer is
/// not refused for how many there are.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// How many outcomes of deliveries that arrived may wait, and how many of failed attempts; delivery threads then wait.
const QUEUE_DELIVERED: usize = 4096;
const QUEUE_FAILED: usize = 1024;

/// What other threads see of the writer's work.
#[derive(Debug, Default)]
pub(in crate::storage) struct Load {
    queued_bytes: AtomicUsize,
    steps: AtomicU64,
    is_at_work: AtomicBool,
    awaits_disk: AtomicBool,
}

/// How far the writer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Grows with every command, outcome and commit.
    pub steps: u64,
    /// Does anything wait for a commit, or is one being made?
    pub has_work: bool,
    /// Is the disk asked to keep what was written?
    pub awaits_disk: bool,
}

/// A handle to the writer; cheap to clone. The writer ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct WriterHandle {
    commands: Sender<Command>,
    delivered: Sender<Report>,
    failed: Sender<Report>,
    load: Arc<Load>,
}

impl WriterHandle {
    /// Queues a command without ever waiting.
    pub fn try_send(&self, command: Command) -> Result<(), Rejection> {
        let bytes = command.memory_bytes();
        if self.load.queued_bytes.load(Ordering::Relaxed).saturating_add(bytes) > QUEUE_BYTES {
            return Err(Rejection::Busy);
        }
        self.send(command, bytes)
    }

    fn send(&self, command: Command, bytes: usize) -> Result<(), Rejection> {
        self.load.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.commands.send(command).map_err(|_| Rejection::StoreFailed)
    }

    /// Waits up to `limit` until everything queued before is committed. Returns whether it is.
    #[must_use]
    pub fn flush(&self, limit: Duration) -> bool {
        let (reply, mut answer) = oneshot::channel();
        let deadline = Instant::now() + limit;
        let command = Command::Flush { reply };
        let bytes = command.memory_bytes();
        if self.send(command, bytes).is_err() {
            return false;
        }
        while Instant::now() < deadline {
            match answer.try_recv() {
                Ok(result) => return result.is_ok(),
                Err(oneshot::error::TryRecvError::Closed) => return false,
                Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        false
    }

    /// Queues the outcome of an attempt; waits while its queue is full, so only delivery threads call this.
    pub fn complete(&self, completion: Completion) {
        let queue = if completion.is_failure() { &self.failed } else { &self.delivered };
        // If the writer is gone the process is ending; the attempt is then repeated after the restart.
        let _ = queue.send(Report::Attempt(Box::new(completion)));
    }

    /// Queues that a key was used, if there is room: a later use is as good.
    pub fn record_key_use(&self, id: KeyId) {
        let _ = self.delivered.try_send(Report::KeyUsed(id));
    }

    /// Queues that a session was used, if there is room: a later use is as good.
    pub fn record_session_use(&self, id: SessionId) {
        let _ = self.delivered.try_send(Report::SessionUsed(id));
    }

    /// Where the writer notes how far it has come.
    pub(in crate::storage) fn load(&self) -> Arc<Load> {
        Arc::clone(&self.load)
    }

    /// How far the writer has come, for whoever watches over it.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let is_queued = !(self.commands.is_empty() && self.delivered.is_empty() && self.failed.is_empty());
        Progress {
            steps: self.load.steps.load(Ordering::Relaxed),
            has_work: is_queued || self.load.is_at_work.load(Ordering::Relaxed),
            awaits_disk: self.load.awaits_disk.load(Ordering::Relaxed),
        }
    }
}

impl Load {
    /// Notes that a piece of work is done.
    pub fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes for how long a commit is made.
    pub fn at_work(&self, is_at_work: bool) {
        self.step();
        self.is_at_work.store(is_at_work, Ordering::Relaxed);
    }

    /// Notes for how long `work` has the disk keep what was written.
    pub fn on_disk<T>(&self, work: impl FnOnce() -> T) -> T {
        self.awaits_disk.store(true, Ordering::Relaxed);
        let result = work();
        self.awaits_disk.store(false, Ordering::Relaxed);
        self.step();
        result
    }

    /// Gives back the room of commands that are about to be carried out.
    pub fn release(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The queues, and a way to them.
pub(in crate::storage) fn queues() -> (WriterHandle, Inbox) {
    let (commands, from_commands) = unbounded();
    let (delivered, from_delivered) = bounded(QUEUE_DELIVERED);
    let (failed, from_failed) = bounded(QUEUE_FAILED);
    let load = Arc::new(Load::default());
    let inbox = Inbox {
        from_commands,
        from_delivered,
        from_failed,
        commands: Vec::new(),
        deliveries: 0,
        is_ordered: false,
        delivered: Held::default(),
        failed: Held::default(),
        failed_due: VecDeque::new(),
        replayed: Held::default(),
        is_closed: false,
    };
    (WriterHandle { commands, delivered, failed, load: Arc::clone(&load) }, inbox)
}

/// The writer's end of the queues, and what was taken out of them for the next commits.
pub(in crate::storage) struct Inbox {
    from_commands: Receiver<Command>,
    from_delivered: Receiver<Report>,
    from_failed: Receiver<Report>,
    commands: Vec<Command>,
    deliveries: usize,
    is_ordered: bool,
    delivered: Held,
    failed: Held,
    /// Failed attempts whose commit delay is over, in the order of their pages.
    failed_due: VecDeque<Report>,
    /// Outcomes of replayed deliveries that arrived.
    replayed: Held,
    is_closed: bool,
}

/// What goes with one commit: the reports first.
#[derive(Default)]
pub(in crate::storage) struct Work {
    pub reports: Vec<Report>,
    /// How many of the reports are failed attempts.
    pub failed: usize,
    pub commands: Vec<Command>,
}

impl Inbox {
    /// Takes out of the queues what there is room for. `most_deliveries`: how many deliveries a command makes at most.
    /// `is_replayed`: whether a delivery that arrived is of a replay.
    pub fn take_in(&mut self, most_deliveries: impl Fn(&Command) -> usize, is_replayed: impl Fn(&Report) -> bool) {
        while self.commands.len() < COMMANDS && self.deliveries < DELIVERIES {
            match self.from_commands.try_recv() {
                Ok(command) => {
                    self.deliveries = self.deliveries.saturating_add(most_deliveries(&command));
                    self.is_ordered |= command.is_ordered();
                    self.commands.push(command);
                }
                Err(error) => {
                    self.is_closed = error == TryRecvError::Disconnected;
                    break;
                }
            }
        }
        // After the commands, so that one that has to see the outcomes before it finds them here.
        let all = self.is_ordered || self.is_closed;
        let room = self.delivered.room(&self.from_delivered, all);
        for report in self.from_delivered.try_iter().take(room) {
            let is_behind = self.replayed.reports.len() < OUTCOMES && is_replayed(&report);
            if is_behind { self.replayed.add(report) } else { self.delivered.add(report) }
        }
        let room = self.failed.room(&self.from_failed, all);
        self.from_failed.try_iter().take(room).for_each(|report| self.failed.add(report));
    }

    /// What waits now.
    pub fn waiting(&self) -> Waiting {
        Waiting {
            commands: self.commands.len(),
            deliveries: self.deliveries,
            is_ordered: self.is_ordered,
            delivered: self.delivered.reports.len(),
            delivered_since: self.delivered.since,
            failed: self.failed.reports.len(),
            failed_since: self.failed.since,
            failed_due: self.failed_due.len(),
            replayed: self.replayed.reports.len(),
            replayed_since: self.replayed.since,
            callers_until: None,
            job_at: None,
            is_closed: self.is_closed,
        }
    }

    /// Waits until more comes, or nothing more can come, at most until then.
    pub fn wait(&self, until: Instant) {
        let mut queues = Select::new();
        queues.recv(&self.from_commands);
        queues.recv(&self.from_delivered);
        queues.recv(&self.from_failed);
        let _ = queues.ready_deadline(until);
    }

    /// Takes what goes with the next commit.
    pub fn take(&mut self, share: Share) -> Work {
        let mut reports = if share.delivered { self.delivered.take(usize::MAX) } else { Vec::new() };
        reports.extend(self.replayed.take(share.replayed));
        let failed = self.take_failed(share.failed);
        self.deliveries = 0;
        self.is_ordered = false;
        Work { failed: failed.len(), reports: with(reports, failed), commands: std::mem::take(&mut self.commands) }
    }

    /// Takes so many commands and outcomes of each kind straight out of the queues, and with a command all outcomes that
    /// it has to see.
    pub fn take_some(&mut self, commands: usize, delivered: usize, failed: usize) -> Work {
        let commands: Vec<_> = self.from_commands.try_iter().take(commands).collect();
        let is_ordered = commands.iter().any(Command::is_ordered);
        let limit = |limit| if is_ordered { usize::MAX } else { limit };
        let reports: Vec<_> = self.from_delivered.try_iter().take(limit(delivered)).collect();
        let failed: Vec<_> = self.from_failed.try_iter().take(limit(failed)).collect();
        Work { failed: failed.len(), reports: with(reports, failed), commands }
    }

    fn take_failed(&mut self, limit: usize) -> Vec<Report> {
        if limit == usize::MAX || (limit > 0 && self.failed_due.is_empty()) {
            let mut due = self.failed.take(usize::MAX);
            due.sort_by_key(Report::place);
            self.failed_due.extend(due);
        }
        self.failed_due.drain(..self.failed_due.len().min(limit)).collect()
    }

    /// Drops whatever comes until nobody can send any more. A caller whose command is dropped is told that the store has
    /// failed.
    pub fn drop_everything(self) {
        let commands = self.from_commands.clone();
        drop(self);
        while commands.recv().is_ok() {}
    }
}

fn with(mut reports: Vec<Report>, more: Vec<Report>) -> Vec<Report> {
    reports.extend(more);
    reports
}

/// Reports of one kind that were taken out of their queue.
#[derive(Default)]
struct Held {
    reports: VecDeque<Report>,
    /// Since when the oldest is here.
    since: Option<Instant>,
}

impl Held {
    /// How many there is room for, or all that are in the queue now.
    fn room(&self, queue: &Receiver<Report>, all: bool) -> usize {
        if all { queue.len() } else { OUTCOMES.saturating_sub(self.reports.len()) }
    }

    fn add(&mut self, report: Report) {
        self.since.get_or_insert_with(Instant::now);
        self.reports.push_back(report);
    }

    /// Takes the oldest; what is left waits as if it had come now.
    fn take(&mut self, limit: usize) -> Vec<Report> {
        let taken = self.reports.drain(..self.reports.len().min(limit)).collect();
        self.since = (!self.reports.is_empty()).then(Instant::now);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::attempt::{Attempt, Signed, VERSION};
    use crate::domain::delivery::outcome::Outcome;
    use crate::domain::signing::Signatures;
    use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId, Timestamp};
    use crate::storage::write::batching::Reason;

    fn outcome(subscription: u32, event: u128, status: u16) -> Completion {
        let attempt = Attempt {
            number: 1,
            started_at: Timestamp::from_ms(0),
            duration_ms: 0,
            url: "http://receiver.test/".into(),
            version: VERSION.into(),
            signed: Signed { timestamp_s: 0, signatures: Signatures::NONE },
            outcome: Outcome::of_status(status),
            response: None,
            request: None,
        };
        let delivery = DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) };
        Completion::new(delivery, attempt, None)
    }

    fn places(work: &Work) -> Vec<(u32, u128)> {
        work.reports.iter().filter_map(Report::place).map(|(id, event)| (id.0, event.0)).collect()
    }

    fn publish() -> Command {
        Command::Publish { account: AccountId(1), events: Vec::new(), reply: oneshot::channel().0 }
    }

    fn flush() -> Command {
        Command::Flush { reply: oneshot::channel().0 }
    }

    const SOME: Share = Share { reason: Reason::Enough, delivered: true, failed: 4, replayed: usize::MAX };

    #[test]
    fn failures_go_subscription_by_subscription_and_what_comes_later_waits_for_its_turn() {
        let (handle, mut inbox) = queues();
        for event in 1..=3 {
            (1..=2).for_each(|subscription| handle.complete(outcome(subscription, event, 500)));
        }
        handle.complete(outcome(9, 9, 200));
        inbox.take_in(|_| 0, |_| false);
        let nothing = inbox.take(Share { delivered: false, failed: 0, ..SOME });
        assert!(nothing.reports.is_empty() && nothing.commands.is_empty());
        let work = inbox.take(SOME);
        assert_eq!((places(&work), work.failed), (vec![(9, 9), (1, 1), (1, 2), (1, 3), (2, 1)], 4));
        handle.complete(outcome(1, 4, 500));
        inbox.take_in(|_| 0, |_| false);
        assert_eq!((inbox.waiting().failed, inbox.waiting().failed_due), (1, 2));
        assert_eq!(places(&inbox.take(SOME)), [(2, 2), (2, 3)]);
        assert_eq!(places(&inbox.take(SOME)), [(1, 4)]);
    }

    #[test]
    fn what_is_replayed_goes_in_small_parts_unless_all_is_wanted() {
        let (handle, mut inbox) = queues();
        (1..=5).for_each(|event| handle.complete(outcome(7, event, 200)));
        handle.complete(outcome(1, 6, 200));
        inbox.take_in(|_| 0, |report| report.place().is_some_and(|(subscription, _)| subscription.0 == 7));
        assert_eq!((inbox.waiting().delivered, inbox.waiting().replayed), (1, 5));
        assert_eq!(places(&inbox.take(Share { replayed: 2, ..SOME })), [(1, 6), (7, 1), (7, 2)]);
        assert!(inbox.waiting().replayed_since.is_some());
        assert_eq!(places(&inbox.take(SOME)), [(7, 3), (7, 4), (7, 5)]);
        assert_eq!((inbox.waiting().replayed, inbox.waiting().replayed_since), (0, None));
    }

    #[test]
    fn a_command_that_is_no_publish_takes_along_every_outcome_that_came_before_it() {
        let (handle, mut inbox) = queues();
        let many = u128::try_from(OUTCOMES).unwrap() + 500;
        (0..many).for_each(|event| handle.complete(outcome(1, event, 200)));
        (0..500).for_each(|event| handle.complete(outcome(2, event, 500)));
        handle.try_send(publish()).unwrap();
        inbox.take_in(|_| 1, |_| false);
        assert_eq!((inbox.waiting().delivered, inbox.waiting().is_ordered), (OUTCOMES, false));
        handle.try_send(flush()).unwrap();
        inbox.take_in(|_| 1, |_| false);
        let waiting = inbox.waiting();
        assert_eq!((waiting.commands, waiting.deliveries, waiting.is_ordered), (2, 2, true));
        let work = inbox.take(Share { reason: Reason::Order, failed: usize::MAX, ..SOME });
        assert_eq!(work.reports.len(), OUTCOMES + 1000);
        assert_eq!(inbox.waiting().commands, 0);
        assert!(!inbox.waiting().is_ordered);
    }

    #[test]
    fn outcomes_leave_callers_their_room_and_callers_are_refused_by_memory_alone() {
        let (handle, inbox) = queues();
        (0..QUEUE_DELIVERED).for_each(|event| handle.complete(outcome(1, event as u128, 200)));
        (0..QUEUE_FAILED).for_each(|event| handle.complete(outcome(1, event as u128, 500)));
        // More than there can be connections.
        for _ in 0..100_000 {
            handle.try_send(publish()).unwrap();
        }
        assert!(handle.progress().has_work);
        drop(inbox);
        assert_eq!(handle.try_send(publish()), Err(Rejection::StoreFailed));
    }
}
