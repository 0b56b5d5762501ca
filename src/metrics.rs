//! The server's metrics. Any thread may count, at the cost of an atomic addition or two. No label ever holds a URL, an
//! account, a key or anything else that a caller chose, so that the number of series is bounded.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Seconds; a commit is one disk sync, 0.1 ms on flash to a second on a busy disk.
const COMMIT_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Seconds; up to the time limit of an attempt.
const ATTEMPT_BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 30.0];
/// Seconds; from a few milliseconds to the three days of the retry schedule.
const LATENCY_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 21_600.0, 86_400.0];

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    outcome: &'static str,
}

/// Active or disabled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// All counters and histograms, and the gauges that are read at each scrape.
pub struct Metrics {
    registry: Registry,
    events: Counter,
    attempts: Family<AttemptLabels, Counter>,
    delivered: Counter,
    exhausted: Counter,
    expired: Counter,
    order_gaps: Counter,
    commit: Histogram,
    attempt: Histogram,
    latency: Histogram,
    pending: Gauge,
    retrying: Gauge,
    oldest_pending: Gauge,
    oldest_held: Gauge,
    feed_lag: Gauge,
    in_flight: Gauge,
    threads: Gauge,
    subscriptions: Family<StateLabels, Gauge>,
    database: Gauge,
    free_space: Gauge,
    unchecked_rows: Gauge,
    damaged_rows: Gauge,
    servers: Family<StateLabels, Gauge>,
    lease: Gauge,
}

/// Values read at each scrape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Deliveries in the outbox.
    pub pending: u64,
    /// Pending deliveries that were attempted before.
    pub retrying: u64,
    /// Age of the oldest pending delivery that is not held.
    pub oldest_pending: Duration,
    /// Age of the oldest held delivery.
    pub oldest_held: Duration,
    /// Age of the oldest event that a reader of a feed has not acknowledged.
    pub feed_lag: Duration,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Delivery threads alive, the dispatcher's included.
    pub threads: u64,
    /// Active subscriptions.
    pub active: u64,
    /// Disabled subscriptions.
    pub disabled: u64,
    /// Size of the database file.
    pub database_bytes: u64,
    /// Free space on its file system.
    pub free_bytes: u64,
    /// Rows that were not compared with their digests yet, neither at the start nor since.
    pub unchecked_rows: u64,
    /// How many of the others are damaged.
    pub damaged_rows: u64,
    /// Servers over the same database, by their state.
    pub servers: [(&'static str, u64); 3],
    /// How long this one may act for the store unless it renews its lease.
    pub lease: Duration,
}

/// Exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
    /// The older text format, version 0.0.4, which every scraper reads.
    Prometheus,
}

/// In the older format, counters are named as their samples, and there are neither units nor an end marker.
fn in_prometheus_form(text: &str) -> String {
    let counters: HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut written = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match described.and_then(|rest| rest.split_once(' ')) {
            Some((name, _)) if counters.contains(name) => {
                written.push_str(&line.replacen(name, &format!("{name}_total"), 1));
            }
            _ => written.push_str(line),
        }
        written.push('\n');
    }
    written
}

impl Metrics {
    /// Metrics with every counter at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("tempclock");
        let events = Counter::default();
        registry.register("events_published", "Events stored; duplicates are not counted", events.clone());
        let attempts = Family::<AttemptLabels, Counter>::default();
        registry.register("attempts", "Delivery attempts by outcome; test pings are not counted", attempts.clone());
        let delivered = Counter::default();
        registry.register(
            "deliveries_delivered",
            "Deliveries that succeeded; test pings are not counted",
            delivered.clone(),
        );
        let exhausted = Counter::default();
        registry.register(
            "deliveries_exhausted",
            "Deliveries that failed for good, after their last retry",
            exhausted.clone(),
        );
        let expired = Counter::default();
        let help = "Deliveries given up because they were held for longer than retention.held";
        registry.register("deliveries_expired", help, expired.clone());
        let order_gaps = Counter::default();
        let help = "Deliveries exhausted while others waited for them in order, which went on without them";
        registry.register("order_gaps", help, order_gaps.clone());
        let commit = Histogram::new(COMMIT_BUCKETS);
        registry.register_with_unit(
            "commit",
            "Duration of a commit, including its sync to disk",
            Unit::Seconds,
            commit.clone(),
        );
        let attempt = Histogram::new(ATTEMPT_BUCKETS);
        registry.register_with_unit(
            "attempt_duration",
            "Duration of a delivery attempt",
            Unit::Seconds,
            attempt.clone(),
        );
        let latency = Histogram::new(LATENCY_BUCKETS);
        let help = "Time from storing an event to its successful delivery";
        registry.register_with_unit("delivery_latency", help, Unit::Seconds, latency.clone());
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let pending = gauge("pending_deliveries", "Deliveries that are not settled, including held ones");
        let retrying = gauge("retrying_deliveries", "Pending deliveries that have failed at least once");
        let in_flight = gauge("attempts_in_flight", "Delivery attempts in flight");
        let threads = gauge("delivery_threads", "Live threads that send deliveries, including the dispatcher");
        let unchecked_rows =
            gauge("unchecked_rows", "Stored rows that the background check after the start has yet to read");
        let damaged_rows =
            gauge("damaged_rows", "Stored rows that the background check after the start has found damaged");
        let oldest_pending = Gauge::default();
        let help = "Age of the oldest pending delivery that is not held; exact up to 10000 retries";
        registry.register_with_unit("oldest_pending", help, Unit::Seconds, oldest_pending.clone());
        let oldest_held = Gauge::default();
        let help = "Age of the oldest delivery held for a disabled subscription";
        registry.register_with_unit("oldest_held", help, Unit::Seconds, oldest_held.clone());
        let feed_lag = Gauge::default();
        let help = "Age of the oldest event that the reader of an active feed has not acknowledged";
        registry.register_with_unit("feed_lag", help, Unit::Seconds, feed_lag.clone());
        let subscriptions = Family::<StateLabels, Gauge>::default();
        registry.register("subscriptions", "Subscriptions by state", subscriptions.clone());
        let servers = Family::<StateLabels, Gauge>::default();
        registry.register("servers", "Servers over the same database, by state", servers.clone());
        let lease = Gauge::default();
        let help = "For how long the active server may act unless it renews its lease; 0 where a file is the store";
        registry.register_with_unit("lease", help, Unit::Seconds, lease.clone());
        let database = Gauge::default();
        registry.register_with_unit("database_size", "Size of the database file", Unit::Bytes, database.clone());
        let free_space = Gauge::default();
        let help = "Free space on the disk of the database file";
        registry.register_with_unit("free_space", help, Unit::Bytes, free_space.clone());
        Arc::new(Self {
            registry,
            events,
            attempts,
            delivered,
            exhausted,
            expired,
            order_gaps,
            commit,
            attempt,
            latency,
            pending,
            retrying,
            oldest_pending,
            oldest_held,
            feed_lag,
            in_flight,
            threads,
            subscriptions,
            database,
            free_space,
            unchecked_rows,
            damaged_rows,
            servers,
            lease,
        })
    }

    /// Records a commit: its duration and the number of new events.
    pub fn committed(&self, took: Duration, events: u64) {
        self.commit.observe(took.as_secs_f64());
        self.events.inc_by(events);
    }

    /// Records a finished attempt by its outcome (one of `Outcome::code`).
    pub fn attempted(&self, outcome: &'static str, took: Duration) {
        self.attempts.get_or_create(&AttemptLabels { outcome }).inc();
        self.attempt.observe(took.as_secs_f64());
    }

    /// Records a successful delivery and its latency from the event.
    pub fn delivered(&self, latency: Duration) {
        self.delivered.inc();
        self.latency.observe(latency.as_secs_f64());
    }

    /// Records a delivery whose retry schedule is exhausted.
    pub fn exhausted(&self) {
        self.exhausted.inc();
    }

    /// Records deliveries that were held for too long.
    pub fn expired(&self, count: u64) {
        self.expired.inc_by(count);
    }

    /// Records deliveries that others went on without, that waited for them in order.
    pub fn order_gaps(&self, count: u64) {
        self.order_gaps.inc_by(count);
    }

    /// Renders all metrics as text.
    pub fn render(&self, now: Gauges, form: TextForm) -> Result<String, fmt::Error> {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.pending, now.pending);
        set(&self.retrying, now.retrying);
        set(&self.oldest_pending, now.oldest_pending.as_secs());
        set(&self.oldest_held, now.oldest_held.as_secs());
        set(&self.feed_lag, now.feed_lag.as_secs());
        set(&self.in_flight, now.in_flight);
        set(&self.threads, now.threads);
        set(&self.database, now.database_bytes);
        set(&self.free_space, now.free_bytes);
        set(&self.damaged_rows, now.damaged_rows);
        set(&self.unchecked_rows, now.unchecked_rows);
        for (state, count) in [("active", now.active), ("disabled", now.disabled)] {
            set(&self.subscriptions.get_or_create(&StateLabels { state }), count);
        }
        set(&self.lease, now.lease.as_secs());
        for (state, count) in now.servers {
            set(&self.servers.get_or_create(&StateLabels { state }), count);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(match form {
            TextForm::OpenMetrics => text,
            TextForm::Prometheus => in_prometheus_form(&text),
        })
    }
}
