//! Removes what is no longer needed, in steps of bounded size, inside the open write transaction: the rows of deleted
//! subscriptions, and events and attempts whose time is over by the store's own time. Runs on the writer thread, in a
//! server and in no command. It never touches what is pending.

use std::time::Duration;

use redb::ReadableTable;

use crate::domain::delivery::DeliveryState;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::delivery_record;
use crate::storage::rows::record::EventHead;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::settings::RetentionRule;

/// Interval between passes over all events.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// Progress of housekeeping.
pub struct Housekeeping {
    has_purges: bool,
    sweep_from: Option<(u32, u128)>,
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
    pub fn step(&mut self, batch: &mut Batch<'_>, state: &mut State, rows: usize) -> Result<(), StorageError> {
        if self.has_purges {
            self.has_purges = batch.purge(rows)?;
            return Ok(());
        }
        let now = state.clock.monotonic();
        if self.sweep_from.is_none() && self.next_sweep > now {
            return Ok(());
        }
        let RetentionRule { events, attempts } = state.rules.retention;
        state.time.forget_gaps(events.max(attempts).max(state.rules.health.disable_after));
        let before = Cutoffs { events: state.time.kept_from(events), attempts: state.time.kept_from(attempts) };
        self.sweep_from = batch.sweep(self.sweep_from.unwrap_or_default(), before, rows)?;
        if self.sweep_from.is_none() {
            self.next_sweep = now.plus(SWEEP_EVERY);
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// Removes up to `limit` rows of deleted subscriptions. Returns whether there are more.
    fn purge(&mut self, limit: usize) -> Result<bool, StorageError> {
        let Some(id) = self.purges.first()?.map(|(id, _)| id.value()) else { return Ok(false) };
        let mut left = limit;
        left -= self.outbox.remove_some(SubscriptionId(id), left)?;
        for row in self.deliveries.table()?.extract_from_if((id, 0)..=(id, u128::MAX), |_, _| true)?.take(left) {
            row?;
            left -= 1;
        }
        if left > 0 {
            self.purges.remove(id)?;
        }
        Ok(self.purges.first()?.is_some())
    }

    /// Visits up to `limit` events from that position. Returns where to continue; `None` at the end.
    fn sweep(&mut self, from: (u32, u128), before: Cutoffs, limit: usize) -> Result<Option<(u32, u128)>, StorageError> {
        let youngest = before.events.max(before.attempts);
        let mut old = Vec::new();
        let mut next = None;
        for row in self.events.table()?.range(from..)? {
            let (key, value) = row?;
            let (account, event) = key.value();
            if old.len() == limit {
                next = Some((account, event));
                break;
            }
            if EventId(event).time() >= youngest {
                // All later events of this account are younger.
                next = account.checked_add(1).map(|account| (account, 0));
                break;
            }
            match EventHead::decode(value.value()) {
                Ok(head) => old.push(((account, event), head)),
                Err(error) => log::error!("an event cannot be read, and is left alone: {error}"),
            }
        }
        for (place, head) in old {
            self.sweep_event(place, &head, before)?;
        }
        Ok(next)
    }

    fn sweep_event(
        &mut self,
        (account, event): (u32, u128),
        head: &EventHead,
        before: Cutoffs,
    ) -> Result<(), StorageError> {
        let mut is_over = true;
        for subscription in &head.subscriptions {
            let place = (*subscription, event);
            let id = DeliveryId { event: EventId(event), subscription: SubscriptionId(*subscription) };
            if self.outbox.unattempted(id)?.is_some() {
                return Ok(());
            }
            // No row: its subscription was deleted.
            let Some(row) = self.deliveries.table()?.get(place)?.map(|row| row.value().to_vec()) else { continue };
            let Ok(mut delivery) = delivery_record::decode(&row) else { continue };
            let settled = match delivery.state {
                DeliveryState::Pending { .. } => return Ok(()),
                DeliveryState::Delivered { at } | DeliveryState::Exhausted { at } => at,
            };
            is_over &= settled < before.events;
            if settled < before.attempts && !delivery.attempts.is_empty() {
                delivery.attempts.clear();
                self.deliveries.put(place, delivery_record::encode(&delivery)?);
            }
        }
        if !is_over || EventId(event).time() >= before.events {
            return Ok(());
        }
        for subscription in &head.subscriptions {
            self.deliveries.table()?.remove((*subscription, event))?;
        }
        for key in &head.idempotency {
            self.idempotency.remove((account, *key))?;
        }
        self.events.table()?.remove((account, event))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::clock::Clock;
    use crate::domain::AccountId;
    use crate::domain::delivery::health::HealthRule;
    use crate::domain::delivery::retry::RetryRule;
    use crate::domain::endpoint::{Endpoint, EndpointPolicy};
    use crate::domain::event::NewEvent;
    use crate::domain::event::event_type::{EventType, EventTypes};
    use crate::domain::signing::SigningSecret;
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
        let event = NewEvent { event_type, data: "{}".into(), occurred_at: None, idempotency: Vec::new() };
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
        let new = NewSubscription { endpoint, events, description: String::new(), active: true };
        let secret = SigningSecret::from_random(&[1; 32]);
        ask(&store, |reply| Command::CreateSubscription { account: OWN, new, secret, reply });
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
