//! Puts the product together: opens the store, starts the threads and the server, knows the bound address, and stops
//! everything in the order in which nothing is lost. Runs on the main thread.

mod certificates;
mod error;
mod offline;
mod remote;
mod web_server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::web;

use self::certificates::ServerCertificate;
pub use self::certificates::{certificate_warning, check_files, trusted_roots};
pub use self::error::StartError;
pub use self::offline::{Offline, check_user, open_store, user_name};
pub use self::remote::Remote;
use self::web_server::{WebServer, listen};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::client::ControlSocket;
use crate::control::server::{ControlError, ControlServer};
use crate::delivery::guard::Guard;
use crate::delivery::transport::TransportSettings;
use crate::delivery::{Dispatcher, FailureLog, Pipeline, Transport};
use crate::disk::free_bytes;
use crate::domain::address::AddressRule;
use crate::domain::endpoint::EndpointPolicy;
use crate::domain::health::HealthRule;
use crate::domain::retry::RetryRule;
use crate::http::metrics::MetricsPage;
use crate::http::recent_attempts::RecentAttempts;
use crate::http::{self, HttpSettings, HttpState, ServerSettings, Vitals};
use crate::metrics::Metrics;
use crate::storage::command::Committed;
use crate::storage::error::{StorageError, WriterError};
use crate::storage::queue::WriterHandle;
use crate::storage::reader::Reader;
use crate::storage::writer::Listeners;
use crate::storage::{DATABASE_FILE, Opened, RetentionRule, Rules, Store, StoreSettings};

/// The server at work.
pub struct App {
    is_tls: bool,
    drain: Duration,
    http: WebServer,
    metrics_page: Option<WebServer>,
    control: ControlServer,
    dispatcher: Arc<Dispatcher>,
    transport: Arc<Transport>,
    certificate: Option<Arc<ServerCertificate>>,
    pipeline: Pipeline,
    writer: Arc<WriterHandle>,
    writer_thread: JoinHandle<()>,
    vitals: Arc<Vitals>,
}

/// How long the last outcomes may take to be recorded when the server stops.
const FLUSH: Duration = Duration::from_secs(10);

/// How much has to be free for the outcomes of deliveries that wait: some commits, before the pages of earlier ones are
/// used again. With 1.2 MB free a store of 40 MB with 1,000 of them came to nothing.
const OUTCOMES_BYTES: u64 = 4 * 1024 * 1024;

/// Reads that wait beside the executor, for each HTTP worker.
const BLOCKING_THREADS: usize = 16;
/// How many of one account may be under way at a time, whichever worker its connections belong to.
const READS_OF_ONE: usize = BLOCKING_THREADS / 4;

/// What to do where the server's control socket cannot be.
const ANOTHER_SOCKET: &str = "; set server.control_socket to a shorter path, or one on another file system, in a folder that this user may write to";

/// What the store needs to know of the configuration.
#[must_use]
pub fn store_settings(config: &Config) -> StoreSettings {
    let delivery = &config.delivery;
    let retry = RetryRule { waits: delivery.retry_schedule.clone(), retry_after_max: delivery.retry_after_max };
    StoreSettings {
        data_dir: config.storage.data_dir.clone(),
        encryption_key_file: config.storage.encryption_key_file.clone(),
        cache_bytes: usize::try_from(config.storage.cache_bytes).unwrap_or(usize::MAX),
        free_space_reserve_bytes: config.storage.free_space_reserve_bytes,
        rules: Rules {
            health: HealthRule::new(delivery.disable_after, retry.longest_wait()),
            retry,
            retention: RetentionRule { events: config.retention.events, attempts: config.retention.attempts },
            subscriptions_per_account: config.limits.subscriptions_per_account,
        },
    }
}

/// Where the control socket is, and whose the server behind it may be.
#[must_use]
pub fn control_socket(config: &Config) -> ControlSocket {
    let data_dir = config.storage.data_dir.clone();
    let path = config.server.control_socket.clone().unwrap_or_else(|| data_dir.join("control.sock"));
    ControlSocket { path, data_dir }
}

impl App {
    /// Opens the store and starts everything. `on_failure` is called from another thread when the writer has failed for
    /// good and the process has to end.
    pub fn start(
        config: &Config,
        on_failure: impl Fn(&WriterError) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let clock = Clock::start();
        let certificate = ServerCertificate::of(config)?;
        let tls = certificate.clone().map(ServerCertificate::server_config).transpose()?;
        let (transport, rule) = transport(config, clock)?;
        check_user(config)?;
        let opened = Opened::open(&store_settings(config), clock)?;
        let clock = opened.clock();
        check_room(&config.storage.data_dir, &opened.reader())?;
        let listener = listen(config.server.listen)?;
        let metrics_listener = config.server.metrics_listen.map(listen).transpose()?;
        let delivery = &config.delivery;
        let dispatcher = Dispatcher::new(delivery.threads, delivery.max_in_flight_per_endpoint, clock);
        let vitals = Arc::new(Vitals::default());
        let metrics = Metrics::new();
        let failures = FailureLog::start(clock).map_err(|error| StartError::Threads(error.to_string()))?;
        let recent_attempts = Arc::new(RecentAttempts::default());
        let heard = Heard { metrics: Arc::clone(&metrics), recent_attempts: Arc::clone(&recent_attempts), failures };
        let failed = store_failed(&vitals, on_failure);
        let lost = Arc::clone(&failed);
        opened.when_lost(move |loss| {
            log::error!("the process ends: {loss}");
            lost(&WriterError::from(StorageError::from(loss.clone())));
        });
        let listeners = listeners(&dispatcher, heard, failed);
        let Store { writer, reader, thread } = opened.start(listeners)?;
        dispatcher.resume(&reader).map_err(|error| StartError::Threads(error.to_string()))?;
        let state = web::Data::new(HttpState::new(
            http_settings(config, rule),
            (reader.clone(), writer.clone()),
            (Arc::clone(&dispatcher), Arc::clone(&transport)),
            clock,
            Arc::clone(&vitals),
            recent_attempts,
        ));
        let control = start_control(control_socket(config).path, &state, ANOTHER_SOCKET)?;
        let is_tls = tls.is_some();
        let threads = |error: std::io::Error| StartError::Threads(error.to_string());
        let page = MetricsPage {
            metrics,
            reader: reader.clone(),
            dispatcher: Arc::clone(&dispatcher),
            clock,
            database: config.storage.data_dir.join(DATABASE_FILE),
        };
        let build = |listener, ready| http::metrics::server(listener, page, ready);
        let start_page = |listener| WebServer::start("metrics", listener, http::metrics::SETTINGS.workers, build);
        let metrics_page = metrics_listener.map(start_page).transpose().map_err(threads)?;
        let settings = server_settings(config);
        let build = move |listener, ready| http::server(listener, tls, state, &settings, ready);
        let http = WebServer::start("http", listener, config.server.workers, build).map_err(threads)?;
        // Last, so that a start that fails before repeats no attempt.
        let pipeline = Pipeline::start(&dispatcher, &transport, &reader, &writer, delivery.threads).map_err(threads)?;
        let drain = delivery.drain;
        Ok(Self {
            is_tls,
            drain,
            http,
            metrics_page,
            control,
            dispatcher,
            transport,
            certificate,
            pipeline,
            writer: Arc::new(writer),
            writer_thread: thread,
            vitals,
        })
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.http.address())
    }

    /// Where the metrics are, as a URL, if they are on.
    #[must_use]
    pub fn metrics_url(&self) -> Option<String> {
        self.metrics_page.as_ref().map(|page| format!("http://{}/metrics", page.address()))
    }

    /// What can be asked of it, and of what it can be told, from another thread.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote {
            dispatcher: Arc::clone(&self.dispatcher),
            transport: Arc::clone(&self.transport),
            certificate: self.certificate.clone(),
            writer: Arc::downgrade(&self.writer),
        }
    }

    /// Stops: no new requests, attempts in flight end within the drain time, everything is committed, threads end.
    /// Whatever is not delivered is due at the next start.
    pub fn stop(self) {
        let deadline = Instant::now() + self.drain;
        self.vitals.is_stopping.store(true, Ordering::Relaxed);
        self.dispatcher.begin_stop();
        // Requests under way wait for the writer, which goes on until the end.
        self.http.stop();
        let cut_off = self.pipeline.stop(deadline);
        if cut_off > 0 {
            log::warn!(
                "{cut_off} attempts in flight were cut off by the drain time; they are made again at the next start"
            );
        }
        // Until here commands were answered, as only this process can read the file.
        self.control.stop();
        if let Some(page) = self.metrics_page {
            page.stop();
        }
        // Delivery threads that were cut off still hold a way to the writer, so it cannot be waited for to end; what
        // they have reported is recorded all the same.
        if !self.writer.flush(FLUSH) {
            log::warn!("not all outcomes could be recorded; these attempts are made again at the next start");
        }
        drop(self.writer);
        if cut_off == 0 && self.writer_thread.join().is_err() {
            log::error!("the writer had panicked");
        }
    }
}

/// What is to be done, from whichever thread, when the store has failed for good.
type StoreFailed = Arc<dyn Fn(&WriterError) + Send + Sync>;

fn store_failed(vitals: &Arc<Vitals>, on_failure: impl Fn(&WriterError) + Send + Sync + 'static) -> StoreFailed {
    let vitals = Arc::clone(vitals);
    Arc::new(move |error| {
        vitals.store_failed.store(true, Ordering::Relaxed);
        on_failure(error);
    })
}

/// What hears of each commit besides the dispatcher.
struct Heard {
    metrics: Arc<Metrics>,
    recent_attempts: Arc<RecentAttempts>,
    failures: FailureLog,
}

fn listeners(dispatcher: &Arc<Dispatcher>, heard: Heard, failed: StoreFailed) -> Listeners {
    let dispatcher = Arc::clone(dispatcher);
    Listeners {
        committed: Box::new(move |mut committed, registry| {
            count(&heard.metrics, &committed);
            let attempted = committed.recorded.iter().filter(|recorded| recorded.attempt.is_some());
            heard.recent_attempts.push(attempted.map(|recorded| recorded.delivery));
            heard.failures.tell(&mut committed.recorded, registry);
            dispatcher.committed(committed, registry);
        }),
        failed: Box::new(move |error| failed(error)),
    }
}

fn count(metrics: &Metrics, committed: &Committed) {
    metrics.committed(committed.took, committed.events);
    for recorded in &committed.recorded {
        let Some(attempt) = &recorded.attempt else { continue };
        metrics.attempted(attempt.outcome, attempt.took);
        match attempt.delivered_after {
            Some(latency) => metrics.delivered(latency),
            None if recorded.due.is_none() => metrics.exhausted(),
            None => {}
        }
    }
}

/// What is sent must be recorded, or the next start sends it again.
fn check_room(folder: &Path, reader: &Reader) -> Result<(), StartError> {
    let free_bytes = free_bytes(folder).unwrap_or(u64::MAX);
    if free_bytes >= OUTCOMES_BYTES {
        return Ok(());
    }
    let backlog = reader.snapshot().backlog().map_err(|error| StartError::Threads(error.to_string()))?;
    match backlog.pending.fresh + backlog.pending.retrying {
        0 => Ok(()),
        pending => Err(StartError::NoRoom { path: folder.to_owned(), free_bytes, pending }),
    }
}

/// What sends attempts, and the rule about where to.
fn transport(config: &Config, clock: Clock) -> Result<(Arc<Transport>, AddressRule), StartError> {
    let delivery = &config.delivery;
    let rule = AddressRule::new(delivery.allow_networks.clone(), delivery.allow_hosts.clone());
    let settings = TransportSettings {
        timeout: delivery.timeout,
        per_endpoint: delivery.max_in_flight_per_endpoint,
        allow_http: delivery.allow_http,
        retry_after_max: delivery.retry_after_max,
    };
    let tls = certificates::client_config(config)?;
    Ok((Transport::new(settings, tls, Guard::new(rule.clone()), clock), rule))
}

/// `elsewhere` says how to choose another place, for one that cannot hold a socket.
fn start_control(
    path: PathBuf,
    state: &web::Data<HttpState>,
    elsewhere: &'static str,
) -> Result<ControlServer, StartError> {
    ControlServer::start(path.clone(), state.clone()).map_err(|source| {
        let advice = if matches!(source, ControlError::Place(_)) { elsewhere } else { "" };
        StartError::Control { path, source, advice }
    })
}

fn http_settings(config: &Config, rule: AddressRule) -> HttpSettings {
    HttpSettings {
        policy: EndpointPolicy { allow_http: config.delivery.allow_http, addresses: rule },
        request_timeout: config.server.request_timeout,
        event_bytes: config.limits.event_bytes,
        management_per_minute: config.rate_limit.management_per_minute,
        publish_per_minute: config.rate_limit.publish_per_minute,
        wrong_keys_per_minute: config.rate_limit.wrong_keys_per_minute,
        read_threads: config.server.workers * BLOCKING_THREADS,
        read_threads_of_one: READS_OF_ONE,
        data_dir: config.storage.data_dir.clone(),
        free_space_reserve_bytes: config.storage.free_space_reserve_bytes,
    }
}

fn server_settings(config: &Config) -> ServerSettings {
    ServerSettings {
        workers: config.server.workers,
        max_connections: config.server.max_connections,
        request_timeout: config.server.request_timeout,
        keep_alive: config.server.keep_alive,
        drain: config.delivery.drain,
        blocking_threads: BLOCKING_THREADS,
    }
}
