//! Probes endpoints whose subscription was disabled because they failed for too long: a signed ping every 30 minutes for 7
//! days. Two in a row that are taken enable the subscription, and a 410 ends the probing. Time that does not count against
//! an endpoint does not end the probing either. One thread looks, a few more send. Nothing of a probe is stored but what it
//! leads to; after a restart two in a row are needed anew.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::delivery::Transport;
use crate::domain::delivery::outcome::EndpointSignal;
use crate::domain::event;
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::ids::EventIds;
use crate::domain::subscription::{DisabledReason, Subscription, SubscriptionState};
use crate::domain::{SubscriptionId, Timestamp};
use crate::storage::Randomness;
use crate::storage::command::Command;
use crate::storage::command::server::ServerCommand;
use crate::storage::read::reader::Reader;
use crate::storage::write::queue::WriterHandle;

/// How far probes of an endpoint are apart, and for how long they are made.
const EVERY: Duration = Duration::from_mins(30);
const FOR: Duration = Duration::from_hours(7 * 24);
/// How many in a row show that it works again.
const ENOUGH: u32 = 2;
/// How many are under way at a time. An endpoint that does not answer takes as long as an attempt may.
const AT_ONCE: usize = 8;
/// How often it is looked for endpoints that are due.
const LOOK: Duration = Duration::from_secs(1);

/// What came of a probe.
enum Heard {
    Ended(SubscriptionId, EndpointSignal),
    Stop,
}

/// One time by two clocks: the first can leap ahead, and stands still while the machine's clock is set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClockPair {
    calendar: Timestamp,
    monotonic: Timestamp,
}

impl ClockPair {
    /// How long ago that was, by the clock that says longer.
    fn since(self, earlier: Self) -> Duration {
        self.calendar.since(earlier.calendar).max(self.monotonic.since(earlier.monotonic))
    }
}

/// An endpoint that is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probed {
    /// Since when its subscription is disabled; with another time it is another row of probes.
    since: Timestamp,
    /// When the last probe ended, or the subscription was disabled.
    last: ClockPair,
    successes: u32,
    is_under_way: bool,
}

impl Probed {
    /// The first probe is half an hour after it was disabled, or now, if that has passed.
    fn new(since: Timestamp, now: ClockPair) -> Self {
        let last = ClockPair { calendar: since, monotonic: now.monotonic.minus(now.calendar.since(since)) };
        Self { since, last, successes: 0, is_under_way: false }
    }

    fn is_due(self, now: ClockPair) -> bool {
        !self.is_under_way && now.since(self.last) >= EVERY
    }

    /// Whether the probing is over, where what is from before `first` is older than it lasts.
    fn is_over(self, first: Timestamp) -> bool {
        self.since < first
    }

    /// Notes what came of a probe. Gives whether the probing ends, and how.
    fn ended(&mut self, signal: EndpointSignal, now: ClockPair) -> Option<ProbeEnd> {
        self.is_under_way = false;
        self.last = now;
        match signal {
            EndpointSignal::Healthy => self.successes += 1,
            EndpointSignal::Gone => return Some(ProbeEnd::Gone),
            // Nothing was learned of the endpoint.
            EndpointSignal::Unknown => {}
            EndpointSignal::Failing | EndpointSignal::Unresponsive => self.successes = 0,
        }
        (self.successes >= ENOUGH).then_some(ProbeEnd::Works)
    }
}

/// How probing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeEnd {
    Works,
    Gone,
}

/// The running probe.
pub struct Probe {
    heard: Sender<Heard>,
    thread: JoinHandle<()>,
}

struct Running {
    transport: Arc<Transport>,
    reader: Reader,
    writer: WriterHandle,
    clock: Clock,
    probed: BTreeMap<SubscriptionId, Probed>,
    heard: Sender<Heard>,
}

impl Probe {
    /// Starts its thread.
    pub fn start(
        transport: &Arc<Transport>,
        (reader, writer): (Reader, WriterHandle),
        clock: Clock,
    ) -> std::io::Result<Self> {
        let (heard, signals) = channel();
        let transport = Arc::clone(transport);
        let running = Running { transport, reader, writer, clock, probed: BTreeMap::new(), heard: heard.clone() };
        let thread = std::thread::Builder::new().name("probe".to_owned()).spawn(move || running.run(&signals))?;
        Ok(Self { heard, thread })
    }

    /// Stops it. What is under way ends by itself and changes nothing.
    pub fn stop(self) {
        drop(self.heard.send(Heard::Stop));
        if self.thread.join().is_err() {
            log::error!("the probe had panicked");
        }
    }
}

impl Running {
    fn run(mut self, signals: &Receiver<Heard>) {
        loop {
            if self.reader.lease().is_held() {
                self.begin();
            }
            match signals.recv_timeout(LOOK) {
                Ok(Heard::Ended(id, signal)) => self.ended(id, signal),
                Ok(Heard::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn now(&self) -> ClockPair {
        let readings = self.clock.read();
        ClockPair { calendar: self.reader.now(readings), monotonic: readings.monotonic }
    }

    fn begin(&mut self) {
        let registry = self.reader.registry();
        let now = self.now();
        let mut found = BTreeMap::new();
        for subscription in registry.subscriptions() {
            let SubscriptionState::Disabled { reason: DisabledReason::FailedTooLong, since } = subscription.state
            else {
                continue;
            };
            let known = self.probed.get(&subscription.id).copied().filter(|known| known.since == since);
            found.insert(subscription.id, known.unwrap_or_else(|| Probed::new(since, now)));
        }
        self.probed = found;
        if !self.probed.values().any(|probed| probed.is_due(now)) {
            return;
        }
        let first = match self.reader.view().endpoint_cutoff(now.calendar, FOR) {
            Ok(first) => first,
            Err(error) => return log::warn!("no endpoint is probed now: {error}"),
        };
        let mut under_way = self.probed.values().filter(|probed| probed.is_under_way).count();
        for (id, probed) in &mut self.probed {
            if under_way >= AT_ONCE || !probed.is_due(now) {
                continue;
            }
            if probed.is_over(first) {
                // It is looked at again in half an hour, as more time may turn out not to count.
                probed.last = now;
                continue;
            }
            let Some(subscription) = registry.subscription(*id).cloned() else { continue };
            let account = registry.account_name(subscription.account).to_owned();
            let (transport, heard, id) = (Arc::clone(&self.transport), self.heard.clone(), *id);
            let wall = self.clock.wall();
            let spawned = std::thread::Builder::new().name("probe-ping".to_owned()).spawn(move || {
                let sent = AssertUnwindSafe(|| ping(&transport, &subscription, &account, wall));
                let signal = catch_unwind(sent).unwrap_or(EndpointSignal::Unknown);
                drop(heard.send(Heard::Ended(id, signal)));
            });
            match spawned {
                Ok(_) => {
                    probed.is_under_way = true;
                    under_way += 1;
                }
                Err(error) => log::warn!("subscription {id} could not be probed: {error}"),
            }
        }
    }

    fn ended(&mut self, id: SubscriptionId, signal: EndpointSignal) {
        let now = self.now();
        let Some(probed) = self.probed.get_mut(&id) else { return };
        let end = probed.ended(signal, now);
        log::info!(
            "subscription {id} was probed: {}",
            if signal == EndpointSignal::Healthy { "the endpoint responds" } else { "the endpoint still fails" }
        );
        let Some(end) = end else { return };
        let (since, is_gone) = (probed.since, end == ProbeEnd::Gone);
        let (reply, answer) = oneshot::channel();
        let asked = self.writer.try_send(Command::Server(ServerCommand::EndProbe { id, since, is_gone, reply }));
        match asked.and_then(|()| answer.blocking_recv().unwrap_or(Ok(()))) {
            Ok(()) => drop(self.probed.remove(&id)),
            Err(error) => log::warn!("subscription {id} stays disabled until the next probe: {error}"),
        }
    }
}

fn ping(transport: &Transport, subscription: &Subscription, account: &str, now: Timestamp) -> EndpointSignal {
    let Ok(random) = Randomness::new().next_u128() else { return EndpointSignal::Unknown };
    let event = EventIds::after(None).next(now, random);
    let data = format!(r#"{{"message":"Probe of subscription {0}","webhook_id":{0}}}"#, subscription.id);
    let body = event::body(event, EventType::Ping, now, &data);
    let content = EventContent::new(EventType::Ping, body);
    transport.send_on_new_connection(subscription, account, event, &content, 1).attempt.outcome.signal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gaps::{Gaps, Purpose};

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_ms(minutes * 60_000)
    }

    fn both(minutes: u64) -> ClockPair {
        ClockPair { calendar: at(minutes), monotonic: at(minutes) }
    }

    #[test]
    fn probes_are_half_an_hour_apart_by_the_clock_that_goes_on() {
        let probed = Probed::new(at(100), both(110));
        assert!(!probed.is_due(both(129)) && probed.is_due(both(130)));
        assert!(!Probed { is_under_way: true, ..probed }.is_due(both(130)));
        assert!(Probed::new(at(100), both(195)).is_due(both(195)), "after a restart");
        assert!(probed.is_due(ClockPair { calendar: at(110), monotonic: at(130) }), "the machine's clock was set back");
        assert!(probed.is_due(ClockPair { calendar: at(130), monotonic: at(111) }), "and ahead");
        let ahead = Probed::new(at(500), both(110));
        assert!(
            !ahead.is_due(both(139)) && ahead.is_due(both(140)),
            "what is dated ahead was disabled when it was seen"
        );
    }

    #[test]
    fn probing_ends_after_seven_days_that_count_against_endpoints() {
        let (probed, seven_days) = (Probed::new(at(100), both(100)), 7 * 24 * 60);
        let is_over = |gaps: &Gaps, minutes| probed.is_over(gaps.cutoff(at(minutes), FOR, Purpose::Health));
        let mut gaps = Gaps::default();
        assert!(!is_over(&gaps, 100 + seven_days) && is_over(&gaps, 101 + seven_days));
        gaps.add(at(500), at(1500));
        assert!(!is_over(&gaps, 1100 + seven_days) && is_over(&gaps, 1101 + seven_days));
    }

    #[test]
    fn two_successes_in_a_row_end_it_and_a_410_does_at_once() {
        let mut probed = Probed::new(at(0), both(0));
        assert_eq!(probed.ended(EndpointSignal::Healthy, both(30)), None);
        assert_eq!(probed.last, both(30));
        assert_eq!(probed.ended(EndpointSignal::Failing, both(60)), None);
        assert_eq!(probed.ended(EndpointSignal::Healthy, both(90)), None);
        assert_eq!(probed.ended(EndpointSignal::Healthy, both(120)), Some(ProbeEnd::Works));
        assert_eq!(Probed::new(at(0), both(0)).ended(EndpointSignal::Gone, both(30)), Some(ProbeEnd::Gone));
    }
}
