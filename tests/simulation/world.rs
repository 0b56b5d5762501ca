//! One simulated machine: a process that lives and dies on a disk, its threads as steps that the seed puts in order,
//! and callers who remember what they were told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redb::Database;
use tempclock_webhooks::clock::{Clock, SimulatedTime};
use tempclock_webhooks::delivery::Dispatcher;
use tempclock_webhooks::domain::delivery::outcome::Outcome;
use tempclock_webhooks::domain::{SubscriptionId, Timestamp};
use tempclock_webhooks::storage::StoreSettings;
use tempclock_webhooks::storage::error::StorageError;
use tempclock_webhooks::storage::maintenance::verify_rows;

use super::attempts::Reported;
use super::batches::{self, Batches};
use super::callers::Asked;
use super::dice::Dice;
use super::endpoints::Mood;
use super::jobs::Jobs;
use super::model::Model;
use super::process::{self, Fuse, Process, Sabotage, failed};
use super::turns::Turns;

pub struct World {
    pub dice: Dice,
    pub model: Model,
    pub turns: Turns,
    pub batches: Batches,
    pub jobs: Jobs,
    /// Whether anybody asks for jobs.
    pub has_jobs: bool,
    pub asked: VecDeque<Asked>,
    /// Outcomes that are queued, of deliveries that arrived and of failed attempts.
    pub reported: [VecDeque<Reported>; 2],
    pub moods: BTreeMap<SubscriptionId, Mood>,
    pub process: Process,
    pub happened: BTreeMap<&'static str, usize>,
    pub sabotage: Option<Sabotage>,
    settings: StoreSettings,
    time: &'static SimulatedTime,
    pub clock: Clock,
    /// For how long the server has been at work, whatever its clock says.
    at_work: Duration,
    pub threads: usize,
    per_endpoint: usize,
    /// How many rows the outbox had at the last restart.
    pending_rows: u64,
    /// Nothing fails any more.
    pub is_calm: bool,
    /// After how many more syncs the disk fails.
    fuse: Fuse,
}

impl World {
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Result<Self, String> {
        let mut dice = Dice::new(seed);
        let start = Timestamp::from_ms(1_800_000_000_000);
        // Leaked, as a clock may be held for as long as the program runs: 16 bytes a seed.
        let time: &'static SimulatedTime = Box::leak(Box::new(SimulatedTime::new(start)));
        let settings = process::draw_settings(&mut dice);
        let fuse = Arc::new(Mutex::new(None));
        let (threads, per_endpoint) = (dice.pick(&[1, 2, 3, 4, 8, 8, 16]), dice.pick(&[1, 2, 4]));
        let clock = Clock::simulated(time);
        let disk = process::disk(Vec::new(), sabotage, &fuse);
        let process = process::start(disk, &settings, clock, &mut dice, (threads, per_endpoint))?;
        let has_jobs = dice.one_in(2);
        Ok(Self {
            dice,
            model: Model::default(),
            turns: Turns::default(),
            batches: Batches::default(),
            jobs: Jobs::default(),
            has_jobs,
            asked: VecDeque::new(),
            reported: Default::default(),
            moods: BTreeMap::new(),
            process,
            happened: BTreeMap::new(),
            sabotage,
            settings,
            time,
            clock,
            at_work: Duration::ZERO,
            threads,
            per_endpoint,
            pending_rows: 0,
            is_calm: false,
            fuse,
        })
    }

    pub fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// One step of a thread that is not the writer, or of time.
    pub fn step_beside_the_writer(&mut self) -> Result<(), String> {
        match self.dice.below(10) {
            0..=2 => self.page_step(),
            3 | 4 => self.thread_step().map(drop)?,
            5 | 6 => self.end_attempt(),
            7 | 8 => self.pass_time(),
            _ if self.dice.one_in(4) => self.change_moods(),
            _ => {}
        }
        self.look_at_memory()
    }

    fn look_at_memory(&self) -> Result<(), String> {
        let (deliveries, bytes) = self.process.dispatcher.in_memory();
        // A lane asks for more while it has less than a page, and gets up to a page.
        if deliveries > self.process.endpoints.count() * 512 || bytes > 16 << 20 {
            return Err(format!("the schedule holds {deliveries} deliveries and {bytes} bytes"));
        }
        Ok(())
    }

    /// The dispatcher's thread begins, reads or ends a page.
    fn page_step(&mut self) {
        let process = &mut self.process;
        match process.page.take() {
            None => process.page = process.dispatcher.begin_page().map(|page| (page, None)),
            Some((page, None)) => {
                let fault = self.dice.one_in(20);
                let read = Dispatcher::read_page(&process.reader, page);
                let read = if fault { Err(StorageError::Codec("simulated".to_owned())) } else { read };
                process.page = Some((page, Some(read)));
            }
            // A page that cannot be read is asked for again.
            Some((page, Some(read))) => drop(process.dispatcher.end_page(page, read)),
        }
    }

    fn pass_time(&mut self) {
        let monotonic = self.clock.monotonic();
        let ends = self.process.running.iter().map(|running| running.ends_at);
        let next = ends.chain(self.process.dispatcher.next_due()).filter(|at| *at > monotonic).min();
        let span = match self.dice.below(40) {
            0..=9 => Duration::from_millis(self.dice.next() % 50),
            10..=14 => Duration::from_secs(self.dice.next() % 30),
            15 => Duration::from_mins(self.dice.next() % 120),
            16 => return self.set_wall(),
            _ => next.map_or(Duration::from_millis(1), |next| next.since(monotonic)),
        };
        self.pass(span);
    }

    fn pass(&mut self, span: Duration) {
        self.time.pass(span);
        self.at_work += span;
    }

    fn set_wall(&mut self) {
        let step = Duration::from_hours(self.dice.pick(&[1, 24, 60 * 24]));
        let wall = self.clock.wall();
        self.time.set_wall(if self.dice.one_in(2) { wall.plus(step) } else { wall.minus(step) });
        self.model.successes.forget();
        self.note("clock step");
    }

    fn change_moods(&mut self) {
        let ids: Vec<_> = self.model.wishes.keys().copied().collect();
        if !ids.is_empty() && !self.is_calm {
            let (id, mood) = (self.dice.pick(&ids), Mood::draw(&mut self.dice));
            self.moods.insert(id, mood);
        }
    }

    /// How many commands and outcomes are queued.
    pub fn queued(&self) -> usize {
        self.asked.len() + self.reported.iter().map(VecDeque::len).sum::<usize>()
    }

    /// The writer commits some of what is queued, or all of it. Others go on before the dispatcher is told. The power may
    /// fail.
    pub fn commit(&mut self, all: bool) -> Result<(), String> {
        let mut some = |count: usize| if all { count } else { self.dice.below(count + 1) };
        let commands = some(self.asked.len());
        let mut outcomes = self.reported.each_ref().map(|queue| some(queue.len()));
        if self.asked.iter().take(commands).any(|asked| !matches!(asked, Asked::Publish(..))) {
            outcomes = self.reported.each_ref().map(VecDeque::len);
        }
        if !self.is_calm && self.dice.one_in(40) {
            *self.fuse.lock().unwrap() = Some(self.dice.below(2));
        }
        let is_committed = self.process.thread.commit_some(commands, outcomes[0], outcomes[1]).is_ok();
        if !is_committed || self.fuse.lock().unwrap().take().is_some() {
            self.note("crash in a commit");
            return self.crash();
        }
        let reported: Vec<_> =
            self.reported.iter_mut().zip(outcomes).flat_map(|(queue, count)| queue.drain(..count)).collect();
        let in_batches = match self.process.committed.lock().unwrap().last() {
            Some(last) => batches::stored(&self.process.reader.view(), last, &reported)?,
            None => Vec::new(),
        };
        let alone = reported.iter().map(|reported| (reported.id, reported.number));
        for (id, number) in alone.chain(in_batches) {
            self.model.attempt_stored(id, number)?;
        }
        for _ in 0..commands {
            let asked = self.asked.pop_front().unwrap();
            self.settle(asked)?;
        }
        while !self.dice.one_in(5) {
            self.step_beside_the_writer()?;
        }
        for committed in std::mem::take(&mut *self.process.committed.lock().unwrap()) {
            for id in &committed.changed {
                self.model.successes.changed(*id);
                self.process.endpoints.changed(&self.process.reader, *id);
            }
            for recorded in &committed.recorded {
                self.process.claims.remove(&recorded.delivery);
                for member in self.batches.told(recorded.delivery) {
                    self.process.claims.remove(&member);
                }
            }
            self.process.dispatcher.committed(committed, &self.process.reader.registry());
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<(), String> {
        let before = self.model.last.len();
        self.jobs.add_receivers(&self.process.reader.view(), &mut self.model);
        self.model.compare(&self.process.reader, &self.settings, self.at_work, self.clock.wall())?;
        if self.model.last.len() < before {
            self.note("rows taken away");
        }
        for what in self.jobs.compare(&self.process.reader, &self.model)? {
            self.note(what);
        }
        for delivery in self.model.last.values().filter(|delivery| !delivery.state.is_pending()) {
            *self.happened.entry(delivery.state.name()).or_default() += 1;
        }
        let view = self.process.reader.view();
        let pending = self.model.last.iter().filter(|(_, delivery)| delivery.state.is_pending());
        let waiting = pending.filter(|(id, _)| batches::waits_in_order(&view, **id)).count();
        if waiting > 0 {
            *self.happened.entry("waits in order").or_default() += waiting;
        }
        let attempts = self.model.last.values().flat_map(|delivery| &delivery.attempts);
        let pushed_back = attempts.filter(|attempt| matches!(attempt.outcome, Outcome::PushedBack(_))).count();
        if pushed_back > 0 {
            *self.happened.entry("pushed back").or_default() += pushed_back;
        }
        Ok(())
    }

    /// The process ends as at a stop: everything queued is committed first.
    pub fn stop(&mut self) -> Result<(), String> {
        self.note("stop");
        while self.queued() > 0 {
            self.commit(true)?;
        }
        self.restart(false)
    }

    /// The process ends at once. What was not synced may be lost, or not.
    pub fn crash(&mut self) -> Result<(), String> {
        self.note("crash");
        self.model.successes.forget();
        let loses_unsynced = self.dice.one_in(2);
        self.restart(loses_unsynced)
    }

    fn restart(&mut self, loses_unsynced: bool) -> Result<(), String> {
        let bytes = {
            let disk = self.process.backend.disk();
            if loses_unsynced { disk.durable.clone() } else { disk.seen.clone() }
        };
        // Nothing that the dying process still writes counts.
        *self.fuse.lock().unwrap() = Some(0);
        let new_fuse = Arc::new(Mutex::new(None));
        let check =
            Database::builder().create_with_backend(process::disk(bytes.clone(), None, &new_fuse)).map_err(failed)?;
        let findings = verify_rows(&check).map_err(failed)?;
        self.pending_rows = findings.pending;
        if let Some(fault) = findings.faults.first() {
            return Err(format!("verify finds: {fault}"));
        }
        drop(check);
        self.time.restart();
        self.turns.restarted();
        self.batches.restarted();
        let disk = process::disk(bytes, self.sabotage, &new_fuse);
        let limits = (self.threads, self.per_endpoint);
        self.process = process::start(disk, &self.settings, self.clock, &mut self.dice, limits)?;
        self.fuse = new_fuse;
        let (mut wanted, mut jobs) = (Vec::new(), Vec::new());
        for asked in std::mem::take(&mut self.asked) {
            match asked {
                Asked::Publish(account, events, _) => wanted.extend(events.iter().map(|event| (account, *event))),
                Asked::Job(account, task, _) => jobs.push((account, task)),
                // It may have been stored.
                Asked::Redeliver(id, _) => self.turns.redelivered(id),
                _ => {}
            }
        }
        self.jobs.restarted(jobs);
        let ended: Vec<_> = self.reported.iter_mut().flat_map(|queue| queue.drain(..)).collect();
        self.model.adopt(&self.process.reader, &wanted, &ended);
        self.compare()
    }

    /// Whether anything is gathered for a batch, which the writer makes in time.
    fn gathers(&self) -> bool {
        let view = self.process.reader.view();
        let pending = self.model.last.iter().filter(|(_, delivery)| delivery.state.is_pending());
        pending.into_iter().any(|(id, _)| batches::is_gathered(&view, *id))
    }

    /// Lets everything go on until nothing is left to do.
    pub fn run_dry(&mut self) -> Result<(), String> {
        for _ in 0..100_000 {
            let (queued, before) = (self.queued(), self.jobs.progress());
            let gathers = self.gathers();
            if queued > 0 || gathers || self.jobs.active().next().is_some() {
                self.commit(true)?;
            }
            let mut is_busy = queued > 0 || self.jobs.progress() != before;
            while self.process.page.is_some() || {
                self.page_step();
                self.process.page.is_some()
            } {
                self.page_step();
                is_busy = true;
            }
            while self.thread_step()? {
                is_busy = true;
            }
            self.end_attempt();
            is_busy |= self.queued() > 0;
            self.look_at_memory()?;
            if !is_busy {
                let ends = self.process.running.iter().map(|running| running.ends_at);
                let closes = self.gathers().then(|| self.clock.monotonic().plus(Duration::from_secs(1)));
                let next = ends.chain(self.process.dispatcher.next_due()).chain(closes).min();
                let Some(next) = next else { return Ok(()) };
                self.pass(next.since(self.clock.monotonic()).max(Duration::from_millis(1)));
            }
        }
        Err("it never comes to rest".to_owned())
    }

    /// With every receiver healthy and every subscription on, everything arrives or is given up, and nothing is left.
    pub fn look_at_the_end(&mut self) -> Result<(), String> {
        for _ in 0..20 {
            self.commit(true)?;
        }
        let counted = self.process.reader.view().backlog().map_err(failed)?.pending;
        self.restart(false)?;
        let found = self.process.reader.view().backlog().map_err(failed)?.pending;
        if counted != found {
            return Err(format!("{counted:?} was counted along, and there is {found:?}"));
        }
        self.run_dry()?;
        if self.pending_rows > 0 {
            return Err(format!("{} rows of nobody are left in the outbox", self.pending_rows));
        }
        if let Some((id, delivery)) = self.model.last.iter().find(|(_, delivery)| delivery.state.is_pending()) {
            let subscription = self.process.reader.registry().subscription(id.subscription).map(|found| found.state);
            let in_memory = self.process.dispatcher.in_memory();
            return Err(format!("{id} of {subscription:?} stays behind: {delivery:?}, at hand {in_memory:?}"));
        }
        if let Some(job) = self.jobs.active().next() {
            return Err(format!("{job:?} does not come to its end"));
        }
        let dispatcher = &self.process.dispatcher;
        if dispatcher.in_memory() != (0, 0) || dispatcher.in_flight() > 0 {
            return Err(format!(
                "the schedule still counts {:?} and {}",
                dispatcher.in_memory(),
                dispatcher.in_flight()
            ));
        }
        Ok(())
    }
}
