//! The tools of the tests: a server, a client, a receiver, patience, signatures and sample data.

mod client;
pub mod contract;
mod fault;
mod ledger;
mod log;
mod machine;
mod process;
mod program;
mod receiver;
mod scripted;
mod server;
mod stored;
mod tls;

use std::{
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

pub use client::{Answer, Client, parse_answer};
pub use fault::{Fault, was_injected};
pub use ledger::{Ledger, repeated};
pub use machine::{
    BlackHole, DiskKind, NAME_SERVER, NameAnswer, NameServer, Nobody, Overlay, PUBLIC, PUBLIC_V6, Postgres, SmallDisk,
    Strace, WallClock, hosts, on_an_island,
};
pub use process::Process;
pub use program::{BINARY, Output, run, run_with, wait_guarded, write_program};
pub use receiver::{Gate, Received, Receiver, Reply};
pub use scripted::{ScriptedReceiver, Step};
pub use server::{Failure, Server};
pub use stored::{put_database_of_format_1, put_database_of_format_2};
pub use tls::{Authority, Identity, TlsReceiver};

/// The longest that a test waits for anything: a guard against hanging, no measure of speed. Much longer than anything
/// takes on a machine that has other work too.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// The scopes that a publisher and an integrator need together.
pub const ALL_SCOPES: &str = "webhooks:read,webhooks:write,events:write,events:read";

/// The names of the headers of an attempt without options, in sending order, as documented.
pub const SENT_HEADERS: [&str; 11] = [
    "Host",
    "Content-Type",
    "User-Agent",
    "X-TempClock-Event",
    "X-TempClock-Delivery",
    "X-TempClock-Attempt",
    "X-TempClock-Signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "Content-Length",
];

/// The event types that a publisher sends; `ping`, the seventh, is made by the server.
pub const PUBLISHED_TYPES: [&str; 6] =
    ["clock_in", "clock_out", "worker_created", "worker_updated", "shift_created", "document_expired"];

/// Asks until there is an answer, and panics with `what` when there is none in [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the wall clock shows another millisecond, so that two times differ.
pub fn wait_for_the_next_millisecond() {
    let now = Timestamp::now().as_millisecond();
    eventually("the clock goes on", || (Timestamp::now().as_millisecond() > now + 1).then_some(()));
}

/// Valid data of an event type, as a publisher would send it.
pub fn sample(event: &str) -> Value {
    match event {
        "clock_in" => json!({
            "entry_id": 9001, "worker_id": 42, "worker_name": "Ada Lovelace",
            "clock_in": "2026-03-02T08:00:00Z", "location_id": 7
        }),
        "clock_out" => json!({
            "entry_id": 9001, "worker_id": 42, "worker_name": "Ada Lovelace",
            "clock_in": "2026-03-02T08:00:00Z", "clock_out": "2026-03-02T16:30:00Z",
            "total_minutes": 510, "location_id": 7
        }),
        "worker_created" => json!({"worker_id": 42, "worker_name": "Ada Lovelace"}),
        "worker_updated" => json!({
            "worker_id": 42, "worker_name": "Ada Lovelace", "changed_fields": ["phone", "email"]
        }),
        "shift_created" => json!({
            "shift_id": 310, "worker_id": 42, "location_id": 7,
            "shift_date": "2026-03-05", "start_time": "08:00", "end_time": "16:30:00"
        }),
        "document_expired" => json!({
            "document_id": 77, "worker_id": 42, "worker_name": "Ada Lovelace",
            "document_type": "forklift licence", "expired_on": "2026-03-01"
        }),
        "ping" => json!({"message": "hello", "webhook_id": 1}),
        opt_in if opt_in.starts_with("clock.") => json!({"worker_id": 42, "location_id": 7}),
        other => panic!("no sample for {other}"),
    }
}

/// A `clock_in` that can be told from others by its entry.
pub fn clock_in(entry: u64) -> Value {
    let mut data = sample("clock_in");
    data["entry_id"] = entry.into();
    data
}

/// `X-TempClock-Signature` as a receiver computes it.
pub fn signature_hex(secret: &str, body: &[u8]) -> String {
    hex::encode(hmac(secret.as_bytes(), &[body]))
}

/// `webhook-signature` as a Standard Webhooks library computes it from the same secret.
pub fn signature_standard(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(secret).expect("the secret reads as base64");
    let sum = hmac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    format!("v1,{}", STANDARD.encode(sum))
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// Reads a time of the API: RFC 3339, in UTC, ending in `Z`.
#[track_caller]
pub fn time(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not a time"));
    assert!(text.ends_with('Z'), "{text} does not end in Z");
    text.parse().unwrap_or_else(|error| panic!("{text} is not RFC 3339: {error}"))
}

/// The names of an object's fields, sorted.
#[track_caller]
pub fn fields(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap_or_else(|| panic!("{value} is not an object"));
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Panics unless every name is a field of the object.
#[track_caller]
pub fn assert_has_fields(value: &Value, names: &[&str]) {
    for name in names {
        assert!(value.get(name).is_some(), "no field {name} in {value:#}");
    }
}

/// The JSON that a command printed for a program.
#[track_caller]
pub fn printed(output: &Output) -> Value {
    assert_eq!(output.code, Some(0), "{output:?}");
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
