//! The books of a test: which entries were acknowledged under which event ids, and what of that is not as promised
//! at a receiver. An entry is the `entry_id` in the data of a `clock_in`, and makes the event's idempotency key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::{Client, Received};

/// What was acknowledged so far, by all publishers.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Entry and event id. More than one id for an entry is a fault, and so is the reverse.
    acknowledged: Mutex<BTreeSet<(u64, String)>>,
}

impl Ledger {
    /// Publishes one entry, or several in a batch, books what is acknowledged, and gives the status of the answer;
    /// `None` if there was no whole answer.
    #[track_caller]
    pub fn publish(&self, client: &Client, entries: &[u64]) -> Option<u16> {
        let answer = client.try_publish(entries).ok()?;
        if answer.status == 202 {
            let one = [answer.data().clone()];
            let rows = answer.data().as_array().map_or(one.as_slice(), Vec::as_slice);
            assert_eq!(rows.len(), entries.len(), "{}", answer.text);
            for (entry, row) in entries.iter().zip(rows) {
                self.book(*entry, row["id"].as_str().expect("an event id"));
            }
        }
        Some(answer.status)
    }

    /// Books an acknowledgement.
    pub fn book(&self, entry: u64, event: &str) {
        self.acknowledged.lock().unwrap().insert((entry, event.to_owned()));
    }

    /// How many acknowledgements there are of different events.
    pub fn len(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// The acknowledged entries that have not come to a receiver.
    pub fn missing(&self, came: &[Received]) -> Vec<u64> {
        let arrived: BTreeSet<String> = came.iter().map(Received::event_id).collect();
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.iter().filter(|(_, id)| !arrived.contains(id)).map(|(entry, _)| *entry).collect()
    }

    /// Everything that is not as promised about what came to a receiver, in words; nothing if all is well.
    /// `succeeded` tells which requests were answered with a 2xx.
    pub fn faults(&self, came: &[Received], succeeded: impl Fn(&Received) -> bool) -> Vec<String> {
        let mut faults: Vec<String> =
            self.missing(came).iter().map(|entry| format!("entry {entry} was lost")).collect();
        let mut entries = Pairs::new("event", "entry");
        for (entry, id) in &*self.acknowledged.lock().unwrap() {
            entries.meet(id, &entry.to_string(), &mut faults);
        }
        let mut deliveries = Pairs::new("event", "delivery id");
        let mut bodies: BTreeMap<String, &[u8]> = BTreeMap::new();
        let mut settled: BTreeMap<String, u32> = BTreeMap::new();
        for request in came {
            let (event, delivery) = (request.event_id(), request.header("x-tempclock-delivery").to_owned());
            entries.meet(&event, &request.json()["data"]["entry_id"].to_string(), &mut faults);
            deliveries.meet(&event, &delivery, &mut faults);
            if *bodies.entry(event.clone()).or_insert(&request.body) != request.body {
                faults.push(format!("{event} came with two bodies"));
            }
            let attempt = request.attempt();
            match settled.get(&delivery) {
                Some(success) if attempt != *success => {
                    faults
                        .push(format!("{delivery} was attempted as number {attempt} after number {success} succeeded"));
                }
                None if succeeded(request) => drop(settled.insert(delivery, attempt)),
                _ => {}
            }
        }
        faults
    }
}

/// How many requests repeat an attempt that had come before, under its delivery id and its number.
pub fn repeated(came: &[Received]) -> usize {
    let attempts = came.iter().map(|request| (request.header("x-tempclock-delivery"), request.attempt()));
    came.len() - attempts.collect::<BTreeSet<_>>().len()
}

/// Two kinds of names that stand for each other, one for one.
struct Pairs {
    names: (&'static str, &'static str),
    forth: BTreeMap<String, String>,
    back: BTreeMap<String, String>,
}

impl Pairs {
    fn new(left: &'static str, right: &'static str) -> Self {
        Self { names: (left, right), forth: BTreeMap::new(), back: BTreeMap::new() }
    }

    fn meet(&mut self, left: &str, right: &str, faults: &mut Vec<String>) {
        let known = self.forth.entry(left.to_owned()).or_insert_with(|| right.to_owned());
        if known != right {
            faults.push(format!("{} {left} has two of {}: {known} and {right}", self.names.0, self.names.1));
        }
        let known = self.back.entry(right.to_owned()).or_insert_with(|| left.to_owned());
        if known != left {
            faults.push(format!("{} {right} has two of {}: {known} and {left}", self.names.1, self.names.0));
        }
    }
}
