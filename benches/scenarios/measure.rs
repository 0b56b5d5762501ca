//! What a process has used so far, read from `/proc`, and how waiting times are summed up.

use std::fs;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Linux counts processor time for `/proc` in hundredths of a second on every architecture of today.
const TICK_US: u64 = 10_000;

/// The totals of one process since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time, user and system, in microseconds.
    pub cpu_us: u64,
    /// Bytes it caused to be written to the disk.
    pub written: u64,
    /// Memory resident now, in bytes.
    pub rss: u64,
    /// The most memory that was ever resident, in bytes.
    pub rss_peak: u64,
}

impl Usage {
    /// Reads them for a process of the same user.
    pub fn of(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the command in brackets and may hold blanks: count from its end.
        let fields: Vec<&str> = stat.rsplit_once(')').ok_or("odd stat")?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
        Ok(Self {
            cpu_us: (ticks(11) + ticks(12)) * TICK_US,
            written: value(&io, "write_bytes:"),
            rss: value(&status, "VmRSS:") * 1024,
            rss_peak: value(&status, "VmHWM:") * 1024,
        })
    }
}

impl Usage {
    /// Processor time of a process and of its children that have ended, in microseconds.
    pub fn with_ended_children(pid: u32) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit_once(')').ok_or("odd stat")?.1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(4).filter_map(|text| text.parse::<u64>().ok()).sum();
        Ok(ticks * TICK_US)
    }
}

/// The number behind a label at the start of a line.
fn value(text: &str, label: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// How many files and connections a process has open.
pub fn open_files(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Waits until as many are open as wished.
pub fn await_files(pid: u32, is_wished: impl Fn(usize) -> bool) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_mins(1) {
        if is_wished(open_files(pid)?) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("the connections were not taken in, or not let go".into())
}

/// What it is measured on, in a line, with what else was going on: beside a build, waiting times mean nothing.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    format!(
        "{cores} × {}, Linux {}, load before the run {load}",
        model.map_or("unknown processor", |(_, name)| name.trim()),
        kernel.trim()
    )
}

/// Waiting times in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Half were shorter.
    pub p50: f64,
    /// One in a hundred was longer.
    pub p99: f64,
    /// One in a thousand was longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// Sums up microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(histogram.max()),
        })
    }
}

/// A histogram of microseconds, up to ten minutes, three digits exact.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).unwrap_or_else(|_| unreachable!("the bounds are fixed and valid"))
}

/// Puts one waiting time in; what is out of bounds counts as the bound.
pub fn record(histogram: &mut Histogram<u64>, micros: u64) {
    histogram.saturating_record(micros.max(1));
}

fn millis(micros: u64) -> f64 {
    float(micros) / 1_000.0
}

/// A count as a number to divide; counts of a benchmark stay far below the 53 bits that are exact.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn float(count: u64) -> f64 {
    count as f64
}
