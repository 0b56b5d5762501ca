//! The yardstick's store: one thread, one transaction for all that is queued, two-phase and durable at once.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bincode::config::standard;
use bincode::serde::encode_to_vec;
use crossbeam_channel::{Receiver, Sender, select};
use redb::{Database, TableDefinition};
use serde::Serialize;
use tokio::sync::oneshot;

use super::Spec;
use super::database;
use super::sender::{Job, Outcome};
use crate::Result;

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const OUTBOX: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("outbox");
const ATTEMPTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("attempts");

const CACHE: usize = 64 << 20;
/// Rows of a kind that one commit takes.
const SHARE: usize = 1_024;
/// How long outcomes alone wait for company.
const COMPANY: Duration = Duration::from_millis(2);

/// An event on its way in.
pub struct Event {
    /// Its key.
    pub id: u64,
    /// Its type.
    pub kind: String,
    /// What receivers get.
    pub body: Arc<str>,
}

/// Events to keep, and who waits for that; the answer is the number of deliveries.
pub struct Publish {
    /// All or none.
    pub events: Vec<Event>,
    /// Told after the commit.
    pub reply: oneshot::Sender<usize>,
}

#[derive(Serialize)]
struct EventRow<'a> {
    kind: &'a str,
    received_us: u64,
    body: &'a str,
}

#[derive(Serialize)]
struct OutboxRow {
    event: u64,
    due_us: u64,
    attempts: u32,
}

/// The thread's state.
pub struct Writer {
    store: Store,
    endpoints: u32,
}

enum Store {
    File(Database),
    Postgres(Box<database::Database>),
}

#[derive(Default)]
struct Share {
    publishes: Vec<Publish>,
    events: usize,
    outcomes: Vec<Outcome>,
}

impl Share {
    fn publish(&mut self, publish: Publish) {
        self.events += publish.events.len();
        self.publishes.push(publish);
    }

    /// Takes what is queued and fits in.
    fn fill(&mut self, publishes: &Receiver<Publish>, outcomes: &Receiver<Outcome>) {
        while self.events < SHARE {
            let Ok(publish) = publishes.try_recv() else { break };
            self.publish(publish);
        }
        self.outcomes.extend(outcomes.try_iter().take(SHARE.saturating_sub(self.outcomes.len())));
    }
}

impl Writer {
    /// Makes the file or the tables.
    pub fn open(spec: &Spec) -> Result<Self> {
        let store = if let Some(url) = &spec.postgres {
            Store::Postgres(Box::new(database::Database::open(url)?))
        } else {
            fs::create_dir_all(&spec.data_dir)?;
            Store::File(Database::builder().set_cache_size(CACHE).create(spec.data_dir.join("yardstick.redb"))?)
        };
        Ok(Self { store, endpoints: u32::try_from(spec.endpoints.len())? })
    }

    /// Works until nobody publishes any more.
    pub fn run(
        &mut self,
        publishes: &Receiver<Publish>,
        outcomes: &Receiver<Outcome>,
        hand_off: &Sender<Job>,
    ) -> Result<()> {
        loop {
            let mut share = Share::default();
            select! {
                recv(publishes) -> publish => share.publish(publish?),
                recv(outcomes) -> outcome => share.outcomes.push(outcome?),
            }
            share.fill(publishes, outcomes);
            let until = Instant::now() + COMPANY;
            while share.publishes.is_empty() && share.outcomes.len() < SHARE {
                select! {
                    recv(publishes) -> publish => share.publish(publish?),
                    recv(outcomes) -> outcome => share.outcomes.push(outcome?),
                    default(until.saturating_duration_since(Instant::now())) => break,
                }
                share.fill(publishes, outcomes);
            }
            match &self.store {
                Store::File(database) => self.commit(database, &share)?,
                Store::Postgres(database) => database.commit(&self.rows(&share)?)?,
            }
            for publish in share.publishes {
                // A caller that hung up does not need the answer; its events are delivered all the same.
                let _ = publish.reply.send(publish.events.len() * usize::try_from(self.endpoints)?);
                for event in publish.events {
                    for endpoint in 0..self.endpoints {
                        hand_off.send(Job { endpoint, id: event.id, body: Arc::clone(&event.body) })?;
                    }
                }
            }
        }
    }

    fn rows(&self, share: &Share) -> Result<database::Rows> {
        let mut rows = database::Rows::default();
        let received_us = crate::wire::now_us();
        for event in share.publishes.iter().flat_map(|publish| &publish.events) {
            let id = i64::try_from(event.id)?;
            let row = EventRow { kind: &event.kind, received_us, body: &event.body };
            rows.events.0.push(id);
            rows.events.1.push(encode_to_vec(row, standard())?);
            let row = encode_to_vec(OutboxRow { event: event.id, due_us: received_us, attempts: 0 }, standard())?;
            for endpoint in 0..self.endpoints {
                rows.outbox.0.push(endpoint.into());
                rows.outbox.1.push(id);
                rows.outbox.2.push(row.clone());
            }
        }
        for outcome in &share.outcomes {
            rows.attempts.0.push(outcome.endpoint.into());
            rows.attempts.1.push(i64::try_from(outcome.id)?);
            rows.attempts.2.push(encode_to_vec(outcome, standard())?);
        }
        Ok(rows)
    }

    fn commit(&self, database: &Database, share: &Share) -> Result<()> {
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        {
            let mut events = transaction.open_table(EVENTS)?;
            let mut outbox = transaction.open_table(OUTBOX)?;
            let mut attempts = transaction.open_table(ATTEMPTS)?;
            let received_us = crate::wire::now_us();
            for event in share.publishes.iter().flat_map(|publish| &publish.events) {
                let row = EventRow { kind: &event.kind, received_us, body: &event.body };
                events.insert(event.id, encode_to_vec(row, standard())?.as_slice())?;
                let row = encode_to_vec(OutboxRow { event: event.id, due_us: received_us, attempts: 0 }, standard())?;
                for endpoint in 0..self.endpoints {
                    outbox.insert((endpoint, event.id), row.as_slice())?;
                }
            }
            for outcome in &share.outcomes {
                outbox.remove((outcome.endpoint, outcome.id))?;
                let row = encode_to_vec(outcome, standard())?;
                attempts.insert((outcome.id, outcome.endpoint), row.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }
}
