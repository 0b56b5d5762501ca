//! The typed sections of the configuration, and the range that each key may have.
//!
//! Runs at start-up, on the main thread only. It must never compare one key with another, which is
//! left to the rules across sections.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::event_types;
use super::read::ConfigReader;
use super::value;
use crate::config::address_entries::{self, Direct};
use crate::config::alerts::AlertsSection;
use crate::config::client_certificates::{self, ClientCertificateFiles};
use crate::domain::event::catalogue::Catalogue;

/// The resolution of due times; a shorter wait would be none.
const WAIT_MIN: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_hours(366 * 24);
const HOUR: Duration = Duration::from_hours(1);
const WAITS: RangeInclusive<Duration> = WAIT_MIN..=YEAR;
const REPEATS_KNOWN: RangeInclusive<Duration> = Duration::from_hours(24)..=Duration::from_hours(7 * 24);
const AUDIT_KEPT: RangeInclusive<Duration> = Duration::from_hours(24)..=Duration::from_hours(3660 * 24);
const TIMEOUTS: RangeInclusive<Duration> = WAIT_MIN..=HOUR;
const KEEP_ALIVES: RangeInclusive<Duration> = Duration::from_secs(1)..=HOUR;
const DRAINS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(10);
const RETRIES_MAX: usize = 50;
const ALLOW_ENTRIES_MAX: usize = 1000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Everything that can be set, with every value in its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How callers reach the server.
    pub server: ServerSection,
    /// Where the database lives and what it may use.
    pub storage: StorageSection,
    /// How long finished events and attempts are kept.
    pub retention: RetentionSection,
    /// How deliveries are sent, retried and restricted.
    pub delivery: DeliverySection,
    /// Limits on what one caller can store.
    pub limits: LimitsSection,
    /// Request rates per API key.
    pub rate_limit: RateLimitSection,
    /// Who is told of what goes wrong.
    pub alerts: AlertsSection,
    /// Logging.
    pub log: LogSection,
    /// The event types that can be published: the built-in ones and those that are declared.
    pub catalogue: Arc<Catalogue>,
}

impl Config {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        Some(Self {
            server: ServerSection::read(reader)?,
            storage: StorageSection::read(reader)?,
            retention: RetentionSection::read(reader)?,
            delivery: DeliverySection::read(reader)?,
            limits: LimitsSection::read(reader)?,
            rate_limit: RateLimitSection::read(reader)?,
            alerts: AlertsSection::read(reader)?,
            log: LogSection::read(reader)?,
            catalogue: event_types::read(reader)?,
        })
    }
}

/// `[server]`: how callers reach the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSection {
    /// Address of the HTTP API; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Unix socket for commands; none: `control.sock` in the data folder.
    pub control_socket: Option<PathBuf>,
    /// Whether the dashboard is served.
    pub dashboard: bool,
    /// Where people reach the server, if not at `listen`.
    pub public_url: Option<Url>,
    /// PEM file with the certificate chain; set exactly when `tls_key` is.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the private key; set exactly when `tls_certificate` is.
    pub tls_key: Option<PathBuf>,
    /// Address of the listener for `/metrics`; none: metrics are off.
    pub metrics_listen: Option<SocketAddr>,
    /// HTTP worker threads, 1 to 64.
    pub workers: usize,
    /// Connections of callers open at once, 1 to 100,000.
    pub max_connections: usize,
    /// Time a caller has to send a whole request, up to 1 hour.
    pub request_timeout: Duration,
    /// Time a connection is kept open without a request, 1 second to 1 hour.
    pub keep_alive: Duration,
}

impl ServerSection {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        Some(Self {
            listen: reader.take("server.listen", value::address)?,
            control_socket: reader.take("server.control_socket", value::optional_path)?,
            dashboard: reader.take("server.dashboard", value::truth)?,
            public_url: reader.take("server.public_url", value::optional_origin)?,
            tls_certificate: reader.take("server.tls_certificate", value::optional_path)?,
            tls_key: reader.take("server.tls_key", value::optional_path)?,
            metrics_listen: reader.take("server.metrics_listen", value::optional_address)?,
            workers: reader.take("server.workers", |raw| value::count(raw, &(1..=64)))?,
            max_connections: reader.take("server.max_connections", |raw| value::count(raw, &(1..=100_000)))?,
            request_timeout: reader.take("server.request_timeout", |raw| value::duration(raw, &TIMEOUTS))?,
            keep_alive: reader.take("server.keep_alive", |raw| value::duration(raw, &KEEP_ALIVES))?,
        })
    }
}

/// What keeps the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageEngine {
    /// One file in the data folder.
    Embedded,
    /// A PostgreSQL database.
    Postgres,
}

/// `[storage]`: where the database lives and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSection {
    /// What keeps the rows.
    pub engine: StorageEngine,
    /// File with the URL of the PostgreSQL database, for that engine.
    pub postgres_url_file: Option<PathBuf>,
    /// The schema in that database.
    pub postgres_schema: String,
    /// Folder of the database.
    pub data_dir: PathBuf,
    /// File with the key that encrypts signing secrets; none: they are stored unencrypted.
    pub encryption_key_file: Option<PathBuf>,
    /// Free disk space in bytes below which publishing is refused, up to 1 TiB; 0: no check.
    pub free_space_reserve_bytes: u64,
    /// Memory in bytes for the database's page cache, 8 MiB to 16 GiB.
    pub cache_bytes: u64,
}

impl StorageSection {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        let engines = [("embedded", StorageEngine::Embedded), ("postgres", StorageEngine::Postgres)];
        Some(Self {
            engine: reader.take("storage.engine", |raw| value::one_of(raw, &engines))?,
            postgres_url_file: reader.take("storage.postgres.url_file", value::optional_path)?,
            postgres_schema: reader.take("storage.postgres.schema", value::schema)?,
            data_dir: reader.take("storage.data_dir", value::path)?,
            encryption_key_file: reader.take("storage.encryption_key_file", value::optional_path)?,
            free_space_reserve_bytes: reader.take("storage.free_space_reserve", |raw| value::size(raw, &(0..=TIB)))?,
            cache_bytes: reader.take("storage.cache", |raw| value::size(raw, &(8 * MIB..=16 * GIB)))?,
        })
    }
}

/// `[retention]`: how long finished events and attempts are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionSection {
    /// How long events are kept, 24 hours to 366 days; less than [`EVENTS_KEPT`](super::EVENTS_KEPT) counts as that.
    pub events: Duration,
    /// How long a repeated publish is recognized, 24 hours to 7 days.
    pub idempotency: Duration,
    /// How long attempts are kept, up to 366 days.
    pub attempts: Duration,
    /// How long records of the audit are kept, 24 hours to 3,660 days.
    pub audit: Duration,
    /// How long a delivery is held for a disabled subscription, up to 366 days.
    pub held: Duration,
}

impl RetentionSection {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        Some(Self {
            events: reader.take("retention.events", |raw| value::duration(raw, &WAITS))?,
            idempotency: reader.take("retention.idempotency", |raw| value::duration(raw, &REPEATS_KNOWN))?,
            attempts: reader.take("retention.attempts", |raw| value::duration(raw, &WAITS))?,
            audit: reader.take("retention.audit", |raw| value::duration(raw, &AUDIT_KEPT))?,
            held: reader.take("retention.held", |raw| value::duration(raw, &WAITS))?,
        })
    }
}

/// `[delivery]`: how deliveries are sent, retried and restricted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySection {
    /// Delivery threads, 1 to 1,024.
    pub threads: usize,
    /// Maximum attempts in flight to one endpoint, 1 to 256 and no more than `threads`.
    pub max_in_flight_per_endpoint: usize,
    /// Time for one attempt, from connecting to the last byte read, up to 1 hour.
    pub timeout: Duration,
    /// Time for attempts in flight when the server stops, 0 to 10 minutes.
    pub drain: Duration,
    /// Wait before each retry, each up to 366 days, at most 50; empty: one attempt only.
    pub retry_schedule: Vec<Duration>,
    /// Longest wait that a `Retry-After` can ask for, up to 366 days.
    pub retry_after_max: Duration,
    /// Time of failure without a success after which a subscription is disabled, up to 366 days.
    pub disable_after: Duration,
    /// Whether endpoints may use plain `http`.
    pub allow_http: bool,
    /// Networks that the address rule allows, without host bits, never v4-mapped.
    pub allow_networks: Vec<IpNet>,
    /// Host names for which any address is allowed, in lower case, never addresses.
    pub allow_hosts: Vec<String>,
    /// PEM file with trusted roots besides the public ones; none: only the public ones.
    pub ca_certificates: Option<PathBuf>,
    /// The client certificates that deliveries may show.
    pub client_certificates: Vec<ClientCertificateFiles>,
    /// Host and port of the proxy that requests go through; none: they go directly.
    pub proxy: Option<(String, u16)>,
    /// File with the proxy's `user:password`; none: without a login.
    pub proxy_credentials_file: Option<PathBuf>,
    /// What does not go through the proxy.
    pub no_proxy: Vec<Direct>,
}

impl DeliverySection {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        let wait = |raw: &value::Raw| value::duration(raw, &WAITS);
        Some(Self {
            threads: reader.take("delivery.threads", |raw| value::count(raw, &(1..=1024)))?,
            max_in_flight_per_endpoint: reader
                .take("delivery.max_in_flight_per_endpoint", |raw| value::count(raw, &(1..=256)))?,
            timeout: reader.take("delivery.timeout", |raw| value::duration(raw, &TIMEOUTS))?,
            drain: reader.take("delivery.drain", |raw| value::duration(raw, &DRAINS))?,
            retry_schedule: reader.take_list("delivery.retry_schedule", RETRIES_MAX, wait)?,
            retry_after_max: reader.take("delivery.retry_after_max", wait)?,
            disable_after: reader.take("delivery.disable_after", wait)?,
            allow_http: reader.take("delivery.allow_http", value::truth)?,
            allow_networks: reader.take_list("delivery.allow_networks", ALLOW_ENTRIES_MAX, address_entries::network)?,
            allow_hosts: reader.take_list("delivery.allow_hosts", ALLOW_ENTRIES_MAX, address_entries::host)?,
            ca_certificates: reader.take("delivery.ca_certificates", value::optional_path)?,
            client_certificates: client_certificates::read(reader)?,
            proxy: reader.take("delivery.proxy", address_entries::proxy)?,
            proxy_credentials_file: reader.take("delivery.proxy_credentials_file", value::optional_path)?,
            no_proxy: reader.take_list("delivery.no_proxy", ALLOW_ENTRIES_MAX, address_entries::direct)?,
        })
    }
}

/// `[limits]`: limits on what one caller can store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsSection {
    /// Largest event in bytes, 1 KiB to 16 MiB.
    pub event_bytes: u64,
    /// Subscriptions of one account, 1 to 100,000.
    pub subscriptions_per_account: u32,
}

impl LimitsSection {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        Some(Self {
            event_bytes: reader.take("limits.event_bytes", |raw| value::size(raw, &(KIB..=16 * MIB)))?,
            subscriptions_per_account: reader
                .take("limits.subscriptions_per_account", |raw| value::count(raw, &(1..=100_000)))?,
        })
    }
}

/// `[rate_limit]`: request rates per API key, and per source without a valid one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitSection {
    /// Management requests a minute; 0: no limit.
    pub management_per_minute: u32,
    /// Publishing requests a minute; 0: no limit.
    pub publish_per_minute: u32,
    /// Requests to feeds a minute; 0: no limit.
    pub feed_per_minute: u32,
    /// Invalid keys per minute and source before responses are delayed; 0: no limit.
    pub wrong_keys_per_minute: u32,
}

impl RateLimitSection {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        let rate = |raw: &value::Raw| value::count(raw, &(0..=u32::MAX));
        Some(Self {
            management_per_minute: reader.take("rate_limit.management_per_minute", rate)?,
            publish_per_minute: reader.take("rate_limit.publish_per_minute", rate)?,
            feed_per_minute: reader.take("rate_limit.feed_per_minute", rate)?,
            wrong_keys_per_minute: reader.take("rate_limit.wrong_keys_per_minute", rate)?,
        })
    }
}

/// `[log]`: logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSection {
    /// Filter text for `env_logger`; every level in it is a known one.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl LogSection {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        Some(Self {
            level: reader.take("log.level", value::log_filter)?,
            format: reader.take("log.format", |raw| {
                value::one_of(raw, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
            })?,
        })
    }
}
