//! The notifier: one thread that hands over the alerts that wait in the store, by each way in turn and apart from the others,
//! so that one that hangs holds up none. Each hand-over has a thread of its own, one for a way at a time. An alert leaves the
//! store when every way has it; a crash in between tells it again under the same id.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::domain::alert::{Alert, Notice};
use crate::domain::{EventId, Timestamp};
use crate::notify::bell::{Bell, Signal};
use crate::notify::status::WaysStatus;
use crate::notify::watch::Watch;
use crate::notify::way::{HandOverError, Way};
use crate::storage::command::server::ServerCommand;
use crate::storage::command::{Command, ReplySender};
use crate::storage::error::Rejection;
use crate::storage::read::reader::Reader;
use crate::storage::write::queue::WriterHandle;

/// Waits after a hand-over that failed; the last one again and again.
const WAITS: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_hours(1),
];
/// A hand-over that takes longer is told of. It holds up no other way.
const LATE: Duration = Duration::from_mins(1);
/// How long a stop waits for what is being handed over.
const LAST: Duration = Duration::from_secs(2);
/// The most alerts in one summary.
const SUMMARY: usize = 100;
/// How often the time of the day is looked at while a summary waits.
const DAILY: Duration = Duration::from_secs(1);
/// How often a busy writer is asked again, and how long that is apart.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// One way, and how it does.
struct Lane {
    way: Arc<dyn Way>,
    busy_since: Option<Instant>,
    failures: usize,
    not_before: Instant,
    summary_at: Option<Timestamp>,
}

/// The running notifier.
pub struct Notifier {
    bell: Bell,
    thread: JoinHandle<()>,
}

struct Running {
    lanes: Vec<Lane>,
    names: Vec<String>,
    status: Arc<WaysStatus>,
    watch: Watch,
    bell: Bell,
    signals: Receiver<Signal>,
    reader: Reader,
    writer: WriterHandle,
    clock: Clock,
}

impl Notifier {
    /// Starts it, with the bell that the writer's listener rings.
    pub fn start(
        ways: Vec<Arc<dyn Way>>,
        status: Arc<WaysStatus>,
        watch: Watch,
        (bell, signals): (Bell, Receiver<Signal>),
        (reader, writer): (Reader, WriterHandle),
        clock: Clock,
    ) -> std::io::Result<Self> {
        let now = Instant::now();
        let names = ways.iter().map(|way| way.name().to_owned()).collect();
        let lane = |way: Arc<dyn Way>| {
            let summary_at = way.time_of_day().map(|time| next_time_of_day(time, clock.wall()));
            Lane { way, busy_since: None, failures: 0, not_before: now, summary_at }
        };
        let lanes = ways.into_iter().map(lane).collect();
        let running = Running { lanes, names, status, watch, bell: bell.clone(), signals, reader, writer, clock };
        let thread = std::thread::Builder::new().name("notifier".to_owned()).spawn(move || running.run())?;
        Ok(Self { bell, thread })
    }

    /// Stops it, within a few seconds. What is still being handed over then is told again after the next start.
    pub fn stop(self) {
        self.bell.tell(Signal::Stop);
        if self.thread.join().is_err() {
            log::error!("the notifier had panicked");
        }
    }
}

/// How often it is looked at whether a lease that had run out is held again.
const LOOK_AT_LEASE: Duration = Duration::from_secs(1);

impl Running {
    fn run(mut self) {
        loop {
            let begun = Instant::now();
            self.look_around(begun);
            let notices = self.reader.view().notices().unwrap_or_else(|error| {
                log::error!("alerts cannot be read: {error}");
                Vec::new()
            });
            let until = if self.reader.lease().is_held() {
                self.begin(&notices, begun);
                self.next_look(&notices, begun)
            } else {
                begun + LOOK_AT_LEASE
            };
            match self.signals.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Signal::Stop) => return self.finish(),
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(Signal::Ended { place, alerts, result }) => self.ended(place, &alerts, result),
                Ok(Signal::Alert) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits a little for what is being handed over, so that it is not told again after the next start.
    fn finish(mut self) {
        let end = Instant::now() + LAST;
        while self.lanes.iter().any(|lane| lane.busy_since.is_some()) {
            match self.signals.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Signal::Ended { place, alerts, result }) => self.ended(place, &alerts, result),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Raises what nobody else notices.
    fn look_around(&mut self, now: Instant) {
        if !self.watch.is_due(now) {
            return;
        }
        let (view, wall) = (self.reader.view(), self.clock.wall());
        let feeds = self.watch.changed_feeds(&view, wall, now);
        let noticed = self.watch.look(&view, wall, now);
        drop(view);
        if !feeds.is_empty()
            && let Err(error) = self.ask(|reply| ServerCommand::LookAtFeeds { feeds: feeds.clone(), reply })
        {
            log::error!("feeds could not be checked, and will be checked again: {error}");
            self.watch.forget_feeds();
        }
        for found in noticed {
            let raised = self.ask(|reply| ServerCommand::RaiseAlert {
                kind: found.kind,
                of: found.of.clone(),
                message: found.message.clone(),
                reply,
            });
            if let Err(error) = raised {
                log::error!("alert {}: {} ({error})", found.kind.name(), found.message);
            }
        }
    }

    fn next_look(&self, notices: &[Notice], now: Instant) -> Instant {
        let mut until = self.watch.next_look();
        for lane in self.lanes.iter().filter(|lane| !notices.is_empty() && lane.busy_since.is_none()) {
            let next = if lane.not_before > now { lane.not_before } else { now + DAILY };
            until = until.min(next);
        }
        until
    }

    /// Begins a hand-over by each way that has something to hand over.
    fn begin(&mut self, notices: &[Notice], now: Instant) {
        let wall = self.clock.wall();
        for (place, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(since) = lane.busy_since {
                if now.duration_since(since) >= LATE {
                    let text = format!("sending has not finished after {} s", now.duration_since(since).as_secs());
                    self.status.note(place, Some(text), wall);
                }
                continue;
            }
            let name = lane.way.name();
            let left = notices.iter().filter(|notice| !notice.done.iter().any(|done| done == name));
            let alerts = lane.choose(left.map(|notice| &notice.alert), wall);
            if alerts.is_empty() || lane.not_before > now {
                continue;
            }
            let (way, bell) = (Arc::clone(&lane.way), self.bell.clone());
            let ids = alerts.iter().map(|alert| alert.id).collect();
            let spawned = std::thread::Builder::new().name("alert".to_owned()).spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(|| way.hand_over(&alerts)));
                let result = result.unwrap_or_else(|_| Err(HandOverError::passing("it panicked")));
                bell.tell(Signal::Ended { place, alerts: ids, result });
            });
            match spawned {
                Ok(_) => lane.busy_since = Some(now),
                Err(error) => lane.failed(place, &self.status, &error.to_string(), (now, wall)),
            }
        }
        // After a change of the configuration every way that is left may have it.
        let is_done = |notice: &&Notice| self.names.iter().all(|name| notice.done.contains(name));
        let done: Vec<EventId> = notices.iter().filter(is_done).map(|notice| notice.alert.id).collect();
        if let (false, Some(first)) = (done.is_empty(), self.names.first().cloned()) {
            self.confirm(&done, &first);
        }
    }

    fn ended(&mut self, place: usize, alerts: &[EventId], result: Result<(), HandOverError>) {
        let (now, wall) = (Instant::now(), self.clock.wall());
        let Some(lane) = self.lanes.get_mut(place) else { return };
        lane.busy_since = None;
        let name = lane.way.name().to_owned();
        match result {
            Err(error) if !error.is_final => {
                log::warn!("alerts could not be sent by {name}, and will be retried: {error}");
                lane.failed(place, &self.status, &error.text, (now, wall));
                return;
            }
            Err(error) => {
                log::error!("alerts were refused by {name}, and will not be retried: {error}");
                self.status.note(place, Some(error.text), wall);
            }
            Ok(()) => self.status.note(place, None, wall),
        }
        lane.failures = 0;
        if alerts.len() > 1 || lane.summary_at.is_some_and(|at| at <= wall) {
            lane.summary_at = lane.way.time_of_day().map(|time| next_time_of_day(time, wall));
        }
        self.confirm(alerts, &name);
    }

    fn confirm(&self, alerts: &[EventId], way: &str) {
        let confirmed = self.ask(|reply| ServerCommand::HandedOver {
            alerts: alerts.to_vec(),
            way: way.to_owned(),
            ways: self.names.clone(),
            reply,
        });
        if let Err(error) = confirmed {
            log::error!(
                "alerts were sent by {way}, but that could not be recorded, so they may be sent again: {error}"
            );
        }
    }

    fn ask(&self, command: impl Fn(ReplySender<()>) -> ServerCommand) -> Result<(), Rejection> {
        for _ in 0..TRIES {
            let (reply, answer) = oneshot::channel();
            match self.writer.try_send(Command::Server(command(reply))) {
                Ok(()) => return answer.blocking_recv().unwrap_or(Err(Rejection::StoreFailed)),
                Err(Rejection::Busy) => std::thread::sleep(PAUSE),
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Rejection::Busy)
    }
}

impl Lane {
    /// What is to be handed over now.
    fn choose<'a>(&self, mut left: impl Iterator<Item = &'a Alert>, wall: Timestamp) -> Vec<Alert> {
        let Some(summary_at) = self.summary_at else { return left.next().into_iter().cloned().collect() };
        let (urgent, others): (Vec<_>, Vec<_>) = left.partition(|alert| alert.kind.is_urgent());
        match urgent.first() {
            Some(urgent) => vec![(*urgent).clone()],
            None if wall >= summary_at => others.into_iter().take(SUMMARY).cloned().collect(),
            None => Vec::new(),
        }
    }

    fn failed(&mut self, place: usize, status: &WaysStatus, text: &str, (now, wall): (Instant, Timestamp)) {
        let wait = WAITS.get(self.failures.min(WAITS.len() - 1)).copied().unwrap_or(LATE);
        self.failures += 1;
        self.not_before = now + wait;
        status.note(place, Some(text.to_owned()), wall);
    }
}

/// When it is that hour and minute next, in the machine's time zone.
fn next_time_of_day((hour, minute): (i8, i8), after: Timestamp) -> Timestamp {
    let zone = TimeZone::system();
    let now = i64::try_from(after.as_ms()).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let next = now.and_then(|now| {
        let today = now.to_zoned(zone.clone()).date();
        let days = [today, today.tomorrow().ok()?, today.tomorrow().ok()?.tomorrow().ok()?];
        let at = |day: jiff::civil::Date| day.at(hour, minute, 0, 0).to_zoned(zone.clone()).ok();
        days.into_iter().filter_map(at).map(|zoned| zoned.timestamp()).find(|at| *at > now)
    });
    let ms = next.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    ms.map_or_else(|| after.plus(Duration::from_hours(24)), Timestamp::from_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_day_comes_within_a_day_and_later_than_now() {
        let now = Timestamp::from_ms(1_772_438_400_000);
        for time in [(0, 0), (7, 0), (8, 0), (23, 59)] {
            let next = next_time_of_day(time, now);
            // A day has up to 25 hours.
            assert!(next > now && next.since(now) <= Duration::from_hours(25), "{time:?}: {next}");
            assert_eq!(next.as_ms() % 60_000, 0);
        }
    }
}
