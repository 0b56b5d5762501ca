//! The table: one row a measurement, with its ratio to the yardstick and what was to be reached.

use std::fmt::Write;
use std::path::PathBuf;

use crate::measure::{Latency, float};

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum System {
    /// The leanest loop.
    #[default]
    Yardstick,
    /// The server, from this binary.
    Server(PathBuf),
}

/// One measurement.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What was done.
    pub scenario: String,
    /// To whom.
    pub system: System,
    /// Events a second.
    pub accepted: Option<f64>,
    /// Deliveries a second, to the last one.
    pub delivered: Option<f64>,
    /// From publish request to answer, ms.
    pub accept: Option<Latency>,
    /// From publish request to delivery, ms.
    pub arrive: Option<Latency>,
    /// Processor time of the system a delivery.
    pub cpu_us: Option<f64>,
    /// Processor time of driver and receiver together a delivery.
    pub helpers_us: Option<f64>,
    /// The most memory, in bytes.
    pub rss: Option<u64>,
    /// Bytes written an event.
    pub bytes: Option<f64>,
    /// Deliveries that did not come.
    pub lost: Option<u64>,
    /// Deliveries that came again.
    pub doubled: Option<u64>,
    /// Events not accepted.
    pub refused: u64,
    /// The most connections an endpoint saw at a time.
    pub connections: usize,
    /// What was to be reached, and whether it was.
    pub targets: Vec<Target>,
    /// Why there are no figures.
    pub failure: Option<String>,
}

/// Something to reach.
#[derive(Clone, Debug)]
pub struct Target {
    /// In words, with the figure.
    pub text: String,
    /// Reached.
    pub met: bool,
}

impl Row {
    /// Names it.
    pub fn named(self, scenario: &str, system: &System) -> Self {
        Self { scenario: scenario.to_owned(), system: system.clone(), ..self }
    }

    /// A row for what went wrong.
    pub fn failed(scenario: &str, system: &System, error: &dyn std::error::Error) -> Self {
        Self { failure: Some(error.to_string()), ..Self::default() }.named(scenario, system)
    }

    /// Figure by figure the median of several rounds; lost and doubled deliveries of all rounds add up.
    pub fn median(rounds: &[Self]) -> Self {
        let pick = |of: &dyn Fn(&Self) -> Option<f64>| median(rounds.iter().filter_map(of).collect());
        let latency = |of: &dyn Fn(&Self) -> Option<Latency>| {
            let part = |get: &dyn Fn(Latency) -> f64| median(rounds.iter().filter_map(of).map(get).collect());
            Some(Latency {
                p50: part(&|all| all.p50)?,
                p99: part(&|all| all.p99)?,
                p999: part(&|all| all.p999)?,
                max: part(&|all| all.max)?,
            })
        };
        Self {
            accepted: pick(&|row| row.accepted),
            delivered: pick(&|row| row.delivered),
            accept: latency(&|row| row.accept),
            arrive: latency(&|row| row.arrive),
            cpu_us: pick(&|row| row.cpu_us),
            helpers_us: pick(&|row| row.helpers_us),
            rss: rounds.iter().filter_map(|row| row.rss).max(),
            bytes: pick(&|row| row.bytes),
            lost: rounds.iter().map(|row| row.lost).sum(),
            doubled: rounds.iter().map(|row| row.doubled).sum(),
            refused: rounds.iter().map(|row| row.refused).sum(),
            connections: rounds.iter().map(|row| row.connections).max().unwrap_or(0),
            ..rounds.first().cloned().unwrap_or_default()
        }
    }
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

const HEADINGS: [&str; 14] = [
    "scenario",
    "system",
    "accepted/s",
    "delivered/s",
    "of yardstick",
    "accept p50/p99/p999 ms",
    "end to end p50/p99/p999 ms",
    "CPU µs a delivery",
    "driver + receiver µs",
    "peak RSS MB",
    "bytes an event",
    "lost",
    "doubled",
    "target",
];

/// All rows as a markdown table, padded so that it reads as plain text too.
pub fn table(rows: &[Row]) -> String {
    let mut cells = vec![HEADINGS.map(str::to_owned)];
    cells.extend(rows.iter().map(|row| line(row, rows)));
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column < 2 || column == HEADINGS.len() - 1 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let (rule, end) = ("-".repeat(*width), if (2..13).contains(&column) { ":" } else { " " });
                let _ = write!(text, "| {rule}{end}");
            }
            text.push_str("|\n");
        }
    }
    text
}

fn line(row: &Row, all: &[Row]) -> [String; 14] {
    let ratio = yardstick_of(row, all).and_then(|yardstick| Some(row.delivered? / yardstick.delivered?));
    let whole = |value: Option<f64>| value.map_or_else(dash, |value| grouped(value.round()));
    let count = |value: Option<u64>| value.map_or_else(dash, |value| grouped(float(value)));
    let latency = |value: Option<Latency>| {
        value.map_or_else(dash, |at| format!("{} / {} / {}", short(at.p50), short(at.p99), short(at.p999)))
    };
    let mut target: Vec<String> = row
        .targets
        .iter()
        .map(|target| format!("{}: {}", target.text, if target.met { "pass" } else { "FAIL" }))
        .collect();
    if row.refused > 0 {
        target.push(format!("{} not accepted", row.refused));
    }
    target.extend(row.failure.as_ref().map(|error| format!("FAILED: {}", error.replace(['\n', '|'], " "))));
    [
        row.scenario.clone(),
        if row.system == System::Yardstick { "yardstick".to_owned() } else { "server".to_owned() },
        whole(row.accepted),
        whole(row.delivered),
        ratio.map_or_else(dash, |ratio| format!("{:.0} %", ratio * 100.0)),
        latency(row.accept),
        latency(row.arrive),
        whole(row.cpu_us),
        whole(row.helpers_us),
        row.rss.map_or_else(dash, |bytes| format!("{:.1}", float(bytes) / 1e6)),
        whole(row.bytes),
        count(row.lost),
        count(row.doubled),
        target.join("; "),
    ]
}

/// What the yardstick made of the same scenario, for a row of the server.
pub fn yardstick_of<'a>(row: &Row, all: &'a [Row]) -> Option<&'a Row> {
    all.iter().find(|other| {
        row.system != System::Yardstick && other.system == System::Yardstick && other.scenario == row.scenario
    })
}

fn dash() -> String {
    "–".to_owned()
}

fn short(millis: f64) -> String {
    if millis < 10.0 { format!("{millis:.2}") } else { format!("{millis:.0}") }
}

/// Thousands set apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
