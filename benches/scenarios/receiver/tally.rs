//! What has arrived, counted: distinct events and repeated ones by endpoint, waiting times by group.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Group;
use crate::Result;
use crate::driver::FIRST_SEQUENCE;
use crate::measure::{Latency, Usage, histogram, record};
use crate::wire::{behind, now_us, number};

/// The answer to every command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// By group.
    pub groups: BTreeMap<String, GroupReport>,
    /// Processor time of the receiver itself, since it began.
    pub cpu_us: u64,
}

/// The counts of one group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GroupReport {
    /// Requests that came in, whatever was answered.
    pub requests: u64,
    /// Events answered with 200, each counted once an endpoint.
    pub delivered: u64,
    /// Events answered with 200 that the endpoint had already.
    pub doubled: u64,
    /// Requests without a readable event.
    pub unreadable: u64,
    /// When the first was delivered.
    pub first_us: Option<u64>,
    /// When the last was delivered.
    pub last_us: Option<u64>,
    /// From sending the publish request to the delivery.
    pub latency: Option<Latency>,
    /// The most connections that one endpoint had open at a time.
    pub connections_peak: usize,
}

struct Counts {
    name: String,
    latency: Histogram<u64>,
    report: GroupReport,
}

#[derive(Default)]
struct Origin {
    group: usize,
    /// One bit an event: a million events are 125 kB.
    seen: Vec<u64>,
    open: usize,
}

/// All counts.
pub struct Tally {
    groups: Vec<Counts>,
    origins: Vec<Origin>,
}

impl Tally {
    /// For these endpoints, in this order.
    pub fn new(groups: &[Group]) -> Self {
        let origins = groups.iter().enumerate().flat_map(|(group, spec)| {
            std::iter::repeat_with(move || Origin { group, ..Origin::default() }).take(spec.endpoints)
        });
        let counts = groups.iter().map(|spec| Counts {
            name: spec.name.clone(),
            latency: histogram(),
            report: GroupReport::default(),
        });
        Self { groups: counts.collect(), origins: origins.collect() }
    }

    /// Notes one request and its event, and whether the endpoint takes it.
    pub fn arrived(&mut self, origin: usize, takes: bool, body: &[u8]) {
        let Origin { group, seen, .. } = &mut self.origins[origin];
        let Counts { latency, report, .. } = &mut self.groups[*group];
        report.requests += 1;
        let Some(first) = event(body) else {
            report.unreadable += 1;
            return;
        };
        if !takes {
            return;
        }
        let now = now_us();
        let mut next = Some(first);
        // Several, where they come in a batch.
        while let Some(Event { sequence, sent_us, rest }) = next {
            next = event(rest);
            if !mark(seen, sequence) {
                report.doubled += 1;
                continue;
            }
            report.delivered += 1;
            report.first_us.get_or_insert(now);
            report.last_us = Some(now);
            record(latency, now.saturating_sub(sent_us));
        }
    }

    /// Notes a connection.
    pub fn opened(&mut self, origin: usize) {
        let Origin { group, open, .. } = &mut self.origins[origin];
        *open += 1;
        let peak = &mut self.groups[*group].report.connections_peak;
        *peak = (*peak).max(*open);
    }

    /// Notes its end.
    pub fn closed(&mut self, origin: usize) {
        self.origins[origin].open -= 1;
    }

    /// Counts from zero; what was seen stays seen.
    pub fn reset(&mut self) {
        for group in &mut self.groups {
            group.latency.reset();
            group.report = GroupReport::default();
        }
        for origin in &self.origins {
            let peak = &mut self.groups[origin.group].report.connections_peak;
            *peak = (*peak).max(origin.open);
        }
    }

    /// The counts as they stand.
    pub fn report(&self) -> Result<Report> {
        let groups = self.groups.iter().map(|counts| {
            let report = GroupReport { latency: Latency::of(&counts.latency), ..counts.report.clone() };
            (counts.name.clone(), report)
        });
        Ok(Report { groups: groups.collect(), cpu_us: Usage::of(std::process::id())?.cpu_us })
    }
}

/// Sets an event's bit; false if it was set.
fn mark(seen: &mut Vec<u64>, sequence: u64) -> bool {
    let Ok(index) = usize::try_from(sequence.saturating_sub(FIRST_SEQUENCE)) else {
        return false;
    };
    let (word, bit) = (index / 64, 1 << (index % 64));
    if seen.len() <= word {
        seen.resize(word + 1, 0);
    }
    let new = seen[word] & bit == 0;
    seen[word] |= bit;
    new
}

/// What the driver wrote into an event.
struct Event<'a> {
    sequence: u64,
    sent_us: u64,
    /// What follows it.
    rest: &'a [u8],
}

/// The next event in a body.
fn event(body: &[u8]) -> Option<Event<'_>> {
    let (sequence, rest) = number(behind(body, b"\"entry_id\":")?)?;
    let (sent_us, rest) = number(rest.strip_prefix(b",\"sent_us\":")?)?;
    Some(Event { sequence, sent_us, rest })
}
