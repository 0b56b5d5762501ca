//! A publish request written once, in which only the numbers change from one sending to the next.

use std::fmt::Write;

use super::Spec;

/// Numbers begin here, so that all have the same ten digits and a request never changes its length.
pub const FIRST_SEQUENCE: u64 = 1_000_000_000;

/// The number of the first worker; all have five digits.
pub const FIRST_WORKER: u64 = 10_000;

const SEQUENCE: &str = "0000000000";
const MICROS: &str = "0000000000000000";
const WORKER: &str = "00000";

/// One connection's request.
pub struct Request {
    bytes: Vec<u8>,
    workers: u64,
    /// Where the number, the time and the worker of each event are.
    slots: Vec<[usize; 3]>,
}

impl Request {
    /// For as many events as the spec puts in one request.
    pub fn new(spec: &Spec) -> Self {
        let event = format!(
            r#"{{"event":"clock_in","data":{{"entry_id":{SEQUENCE},"sent_us":{MICROS},"worker_id":{WORKER},"worker_name":"Maria Gonzalez","clock_in":"2026-03-02T07:58:11Z","location_id":17,"location_name":"Dock 4, Northside","device":"kiosk-03"}}}}"#
        );
        let (path, body) = if spec.batch == 1 {
            ("/api/v1/events", event)
        } else {
            let all = (0..spec.batch).map(|_| event.as_str()).collect::<Vec<_>>().join(",");
            ("/api/v1/events/batch", format!(r#"{{"events":[{all}]}}"#))
        };
        let mut text = String::new();
        let _ = write!(
            text,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            spec.addr,
            spec.key,
            body.len()
        );
        let behind = |label: &'static str| text.match_indices(label).map(|(at, label)| at + label.len());
        let sequences = behind(r#""entry_id":"#).zip(behind(r#""sent_us":"#)).zip(behind(r#""worker_id":"#));
        let slots = sequences.map(|((sequence, micros), worker)| [sequence, micros, worker]).collect();
        Self { bytes: text.into_bytes(), workers: spec.workers, slots }
    }

    /// The bytes to send for the events from `first` on.
    pub fn stamp(&mut self, first: u64, sent_us: u64) -> &[u8] {
        for (sequence, &[number, time, worker]) in (first..).zip(&self.slots) {
            digits(&mut self.bytes[number..number + SEQUENCE.len()], sequence);
            digits(&mut self.bytes[time..time + MICROS.len()], sent_us);
            digits(&mut self.bytes[worker..worker + WORKER.len()], FIRST_WORKER + sequence % self.workers);
        }
        &self.bytes
    }
}

fn digits(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b"0123456789"[usize::try_from(value % 10).unwrap_or(0)];
        value /= 10;
    }
}
