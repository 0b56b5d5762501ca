//! Removes what is no longer needed, in steps of bounded size, inside the open write transaction: the rows of deleted
//! subscriptions, and events and attempts whose time is over by the store's own time. Runs on the writer thread, in a
//! server and in no command. It never touches what is pending.

use std::time::Duration;

use crate::domain::{AccountId, DeliveryId, EventId, Timestamp};
use crate::storage::engine::{OldEvents, Tx};
use crate::storage::error::StorageError;
use crate::storage::rows::record::EventHead;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::settings::RetentionRule;

/// Interval between passes over all events.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// Progress of housekeeping.
pub struct Housekeeping {
    has_purges: bool,
    /// A sweep is under way, and goes on there.
    sweep_from: Option<(AccountId, EventId)>,
    /// When the next sweep begins, by the steady clock.
    next_sweep: Timestamp,
}

impl Default for Housekeeping {
    /// The state at start-up, when it is unknown what is left to do.
    fn default() -> Self {
        Self { has_purges: true, sweep_from: None, next_sweep: Timestamp::default() }
    }
}

/// Settled things from before these times are over.
#[derive(Clone, Copy)]
struct Cutoffs {
    events: Timestamp,
    attempts: Timestamp,
}

impl Housekeeping {
    /// Notes that a subscription was deleted.
    pub fn subscription_deleted(&mut self) {
        self.has_purges = true;
    }

    /// Begins a sweep at once.
    pub fn sweep_now(&mut self) {
        self.sweep_from = None;
        self.next_sweep = Timestamp::default();
    }

    /// Time until there is something to do. `now` is the steady clock's time here.
    pub fn due_in(&self, now: Timestamp) -> Duration {
        if self.has_purges || self.sweep_from.is_some() {
            return Duration::ZERO;
        }
        self.next_sweep.since(now)
    }

    /// One step over about so many rows.
    pub fn step(&mut self, batch: &mut Batch<impl Tx>, state: &mut State, rows: usize) -> Result<(), StorageError> {
        if self.has_purges {
            self.has_purges = batch.purge(rows)?;
            return Ok(());
        }
        let now = state.clock.monotonic();
        if self.sweep_from.is_none() && self.next_sweep > now {
            return Ok(());
        }
        if self.sweep_from.is_none() {
            batch.wipe_ended_secrets(state)?;
        }
        let RetentionRule { events, attempts } = state.rules.retention;
        state.time.forget_gaps(events.max(attempts).max(state.rules.health.disable_after));
        let before = Cutoffs { events: state.time.kept_from(events), attempts: state.time.kept_from(attempts) };
        self.sweep_from = batch.sweep(self.sweep_from, before, rows)?;
        if self.sweep_from.is_none() {
            self.next_sweep = now.plus(SWEEP_EVERY);
        }
        Ok(())
    }
}

impl<T: Tx> Batch<T> {
    /// Removes up to `limit` rows of deleted subscriptions. Returns whether there are more.
    fn purge(&mut self, limit: usize) -> Result<bool, StorageError> {
        let purged = self.tx.purge_some(limit)?;
        self.pending.subtract(purged.pending);
        Ok(purged.has_more)
    }

    /// Visits up to `limit` events from that position. Returns where to continue; `None` at the end.
    fn sweep(
        &mut self,
        from: Option<(AccountId, EventId)>,
        before: Cutoffs,
        limit: usize,
    ) -> Result<Option<(AccountId, EventId)>, StorageError> {
        let OldEvents { events, next } = self.tx.old_events(from, before.events.max(before.attempts), limit)?;
        for (account, event, head) in events {
            self.sweep_event(account, event, &head, before)?;
        }
        Ok(next)
    }

    fn sweep_event(
        &mut self,
        account: AccountId,
        event: EventId,
        head: &EventHead,
        before: Cutoffs,
    ) -> Result<(), StorageError> {
        let mut is_over = true;
        for subscription in &head.subscriptions {
            let id = DeliveryId { event, subscription: *subscription };
            if self.tx.is_unattempted(id)? {
                return Ok(());
            }
            // None: its subscription was deleted. A damaged one is left alone.
            let Some(Ok(mut delivery)) = self.tx.delivery(id)? else { continue };
            let Some(settled) = delivery.state.settled_at() else { return Ok(()) };
            is_over &= settled < before.events;
            if settled < before.attempts && !delivery.attempts.is_empty() {
                delivery.attempts.clear();
                self.tx.put_delivery(id, &delivery)?;
            }
        }
        if is_over && event.time() < before.events {
            self.tx.remove_event(account, event, head)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::clock::Clock;
    use crate::domain::delivery::health::HealthRule;
    use crate::domain::delivery::retry::RetryRule;
    use crate::domain::endpoint::{Endpoint, EndpointPolicy};
    use crate::domain::event::NewEvent;
    use crate::domain::event::event_type::{EventType, EventTypes};
    use crate::domain::options::Options;
    use crate::domain::signing::SigningSecret;
    use crate::domain::signing_keys::SigningKeys;
    use crate::domain::subscription::NewSubscription;
    use crate::storage::command::{Command, ReplySender};
    use crate::storage::error::Rejection;
    use crate::storage::write::writer::Listeners;
    use crate::storage::{Opened, Rules, Store, StoreSettings};

    const OWN: AccountId = AccountId(1);

    fn open(folder: &std::path::Path, keep: Duration) -> Store {
        let rules = Rules {
            retry: RetryRule { waits: Vec::new(), retry_after_max: Duration::ZERO },
            health: HealthRule::new(Duration::MAX, Duration::ZERO),
            retention: RetentionRule { events: keep, attempts: keep },
            audit_kept: Duration::MAX,
            subscriptions_per_account: 10,
        };
        let settings = StoreSettings {
            data_dir: folder.into(),
            encryption_key_file: None,
            cache_bytes: 8 << 20,
            free_space_reserve_bytes: 0,
            rules,
        };
        let listeners = Listeners { committed: Box::new(|_, _| {}), failed: Box::new(|error| panic!("{error}")) };
        Opened::open(&settings, Clock::start()).unwrap().start(listeners).unwrap()
    }

    fn ask<T>(store: &Store, command: impl FnOnce(ReplySender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel::<Result<T, Rejection>>();
        store.writer.try_send(command(reply)).unwrap();
        answer.blocking_recv().unwrap().unwrap()
    }

    fn publish(store: &Store, event_type: EventType) -> EventId {
        let event = NewEvent {
            event_type,
            data: "{}".into(),
            occurred_at: None,
            tags: Vec::new(),
            unfit: Vec::new(),
            idempotency: Vec::new(),
        };
        ask(store, |reply| Command::Publish { account: OWN, events: vec![event], reply })[0].id
    }

    fn close(store: Store) {
        let Store { writer, reader, thread } = store;
        drop((writer, reader));
        thread.join().unwrap();
    }

    #[test]
    fn what_is_settled_goes_when_its_time_is_over_and_what_is_pending_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), Duration::from_hours(1));
        let policy = EndpointPolicy::default();
        let endpoint = Endpoint::parse("https://crm.example.com/hook", &policy).unwrap();
        let events = EventTypes::parse(["clock_in"]).unwrap();
        let new = NewSubscription {
            endpoint,
            events,
            description: String::new(),
            active: true,
            options: Options::defaults(),
        };
        let keys = SigningKeys::of(SigningSecret::from_random(&[1; 32]));
        ask(&store, |reply| Command::CreateSubscription { account: OWN, new, keys, reply });
        let pending = publish(&store, EventType::ClockIn);
        let settled = publish(&store, EventType::ClockOut);
        assert!(store.reader.view().event(OWN, settled).unwrap().is_some(), "it went before its time");
        close(store);

        // Ids carry milliseconds, so a millisecond later both are older than no time at all.
        std::thread::sleep(Duration::from_millis(2));
        let store = open(folder.path(), Duration::ZERO);
        // The first step comes beside this commit at the latest.
        ask(&store, |reply| Command::Flush { reply });
        ask(&store, |reply| Command::Flush { reply });
        assert!(store.reader.view().event(OWN, settled).unwrap().is_none(), "it is still there");
        assert!(store.reader.view().event(OWN, pending).unwrap().is_some(), "what is pending was taken away");
        close(store);
    }
}
