//! Composition root: opens the store, starts threads and servers, knows the bound address, and stops everything in an
//! order that loses nothing. Runs on the main thread.

pub mod alerts;
mod certificates;
mod client_certificates;
mod error;
mod files;
mod offline;
mod parts;
mod proxy;
mod remote;
mod standby;
mod web_server;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::web;

use self::alerts::LastWords;
use self::certificates::ServerCertificate;
pub use self::certificates::trusted_roots;
pub use self::client_certificates::tls_with;
pub use self::error::StartError;
pub use self::files::{certificate_warnings, check_files};
pub use self::offline::{Offline, check_user, open_store, user_name};
use self::parts::{
    ANOTHER_SOCKET, dashboard_settings, divide_descriptors, http_settings, server_settings, start_control, transport,
};
pub use self::parts::{control_socket, place_of_data, store_settings};
pub use self::proxy::proxy;
pub use self::remote::Remote;
pub use self::standby::{Standby, Waited};
use self::web_server::{WebServer, listen};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::server::{ControlServer, relayed_operator_app};
use crate::delivery::{Dispatcher, FailureLog, Pipeline, Transport};
use crate::domain::SubscriptionId;
use crate::http::dashboard::activity::Activity;
use crate::http::metrics::MetricsPage;
use crate::http::relay::answer::Answers;
use crate::http::relay::execute::executing;
use crate::http::request::feed_waiters::FeedWaiters;
use crate::http::request::recent_attempts::RecentAttempts;
use crate::http::{self, HttpSettings, HttpState, ServedCatalogue, Vitals};
use crate::metrics::Metrics;
use crate::notify::bell::Bell;
use crate::notify::notifier::Notifier;
use crate::notify::probe::Probe;
use crate::notify::status::WaysStatus;
use crate::storage::command::Committed;
use crate::storage::error::{StorageError, WriterError};
use crate::storage::read::reader::Reader;
use crate::storage::read::row_check::{CheckProgress, RowCheck};
use crate::storage::write::queue::WriterHandle;
use crate::storage::write::writer::Listeners;
use crate::storage::{Opened, Store};

/// The running server.
pub struct App {
    is_tls: bool,
    drain: Duration,
    http: WebServer,
    metrics_page: Option<WebServer>,
    control: ControlServer,
    answers: Option<Answers>,
    dispatcher: Arc<Dispatcher>,
    transport: Arc<Transport>,
    certificate: Option<Arc<ServerCertificate>>,
    catalogue: ServedCatalogue,
    feed_waiters: Arc<FeedWaiters>,
    pipeline: Pipeline,
    writer: Arc<WriterHandle>,
    writer_thread: JoinHandle<()>,
    row_check: Option<RowCheck>,
    vitals: Arc<Vitals>,
    notifier: Option<Notifier>,
    probe: Probe,
    last_words: LastWords,
    clock: Clock,
}

/// Time limit for recording the last outcomes when the server stops.
const FLUSH: Duration = Duration::from_secs(10);

/// Free space required for recording the outcomes of pending deliveries: a few commits, until pages are reused. With
/// 1.2 MB free, a store of 40 MB with 1,000 pending made no progress.
const OUTCOMES_BYTES: u64 = 4 * 1024 * 1024;

impl App {
    /// Opens the store and starts everything, on that listener if there is one already. `on_failure` is called from another
    /// thread when the writer has failed for good and the process has to end.
    pub fn start(
        config: &Config,
        listener: Option<TcpListener>,
        on_failure: impl Fn(&WriterError) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let clock = Clock::start();
        let certificate = ServerCertificate::of(config)?;
        let tls = certificate.clone().map(ServerCertificate::server_config).transpose()?;
        let shares = divide_descriptors(config);
        let (transport, rule) = transport(config, shares, clock)?;
        let ways = alerts::ways(config, &transport, &rule)?;
        check_user(config)?;
        let opened = Opened::open(&store_settings(config), clock)?;
        let (clock, is_checked) = (opened.clock(), opened.is_checked());
        check_free_space(&config.storage.data_dir, &opened.reader())?;
        let listener = listener.map_or_else(|| listen(config.server.listen), Ok)?;
        let address =
            listener.local_addr().map_err(|source| StartError::Listen { address: config.server.listen, source })?;
        let metrics_listener = config.server.metrics_listen.map(listen).transpose()?;
        let delivery = &config.delivery;
        let dispatcher = Dispatcher::new(delivery.threads, delivery.max_in_flight_per_endpoint, clock);
        let vitals = Arc::new(Vitals::default());
        let metrics = Metrics::new();
        let failures = FailureLog::start(clock).map_err(|error| StartError::Threads(error.to_string()))?;
        let attempts = (Arc::default(), Arc::new(Activity::beginning_at(clock.wall())));
        let (bell, signals) = Bell::new();
        let feed_waiters = Arc::new(FeedWaiters::default());
        let heard = Heard {
            metrics: Arc::clone(&metrics),
            attempts: attempts.clone(),
            failures,
            transport: Arc::clone(&transport),
            bell: bell.clone(),
            feed_waiters: Arc::clone(&feed_waiters),
        };
        let failed = store_failed(&vitals, on_failure);
        let lost = Arc::clone(&failed);
        opened.when_lost(move |loss| {
            log::error!("the process ends: {loss}");
            lost(&WriterError::from(StorageError::from(loss.clone())));
        });
        let listeners = listeners(&dispatcher, heard, failed, clock);
        let Store { writer, reader, thread } = opened.start(listeners)?;
        dispatcher.resume(&reader).map_err(|error| StartError::Threads(error.to_string()))?;
        let settings = HttpSettings {
            feed_waiters: Arc::clone(&feed_waiters),
            ..http_settings(config, rule, dashboard_settings(config, address))
        };
        let catalogue = settings.catalogue.clone();
        let state = web::Data::new(HttpState::new(
            settings,
            (reader.clone(), writer.clone()),
            (Arc::clone(&dispatcher), Arc::clone(&transport)),
            clock,
            Arc::clone(&vitals),
            attempts,
        ));
        let names: Vec<String> = ways.iter().map(|way| way.name().to_owned()).collect();
        let status = Arc::new(WaysStatus::of(&names));
        let control = start_control(control_socket(config).path, (&state, Arc::clone(&status)), ANOTHER_SOCKET)?;
        let is_tls = tls.is_some();
        let threads = |error: std::io::Error| StartError::Threads(error.to_string());
        let answers = answer_others(&reader, &state, &status).map_err(threads)?;
        let (row_check, check) = check_rows(is_checked, &reader).map_err(threads)?;
        let page = MetricsPage { metrics, reader: reader.clone(), dispatcher: Arc::clone(&dispatcher), check, clock };
        let build = |listener, ready| http::metrics::server(listener, page, ready);
        let start_page = |listener| WebServer::start("metrics", listener, http::metrics::SETTINGS.workers, build);
        let metrics_page = metrics_listener.map(start_page).transpose().map_err(threads)?;
        let settings = server_settings(config, shares);
        let build = move |listener, ready| http::server(listener, tls, state, &settings, ready);
        let http = WebServer::start("http", listener, config.server.workers, build).map_err(threads)?;
        let last_words = LastWords::new(ways.clone(), &config.storage.data_dir);
        let store = (reader.clone(), writer.clone());
        let notifier = (!ways.is_empty()).then(|| {
            let watch = alerts::watch(config, last_words.take_untold());
            Notifier::start(ways, status, watch, (bell, signals), store, clock)
        });
        let notifier = notifier.transpose().map_err(threads)?;
        let probe = Probe::start(&transport, (reader.clone(), writer.clone()), clock).map_err(threads)?;
        // Last, so that a failed start makes no attempt.
        let pipeline = Pipeline::start(&dispatcher, &transport, &reader, &writer, delivery.threads).map_err(threads)?;
        tell_of_data(config, &reader);
        let drain = delivery.drain;
        Ok(Self {
            is_tls,
            drain,
            http,
            metrics_page,
            control,
            answers,
            dispatcher,
            transport,
            certificate,
            catalogue,
            feed_waiters,
            pipeline,
            writer: Arc::new(writer),
            writer_thread: thread,
            row_check,
            vitals,
            notifier,
            probe,
            last_words,
            clock,
        })
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.http.address())
    }

    /// The metrics URL, if enabled.
    #[must_use]
    pub fn metrics_url(&self) -> Option<String> {
        self.metrics_page.as_ref().map(|page| format!("http://{}/metrics", page.address()))
    }

    /// A handle for other threads.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote {
            dispatcher: Arc::clone(&self.dispatcher),
            transport: Arc::clone(&self.transport),
            certificate: self.certificate.clone(),
            catalogue: self.catalogue.clone(),
            writer: Arc::downgrade(&self.writer),
        }
    }

    /// Tells those who run the server that its store has failed. Takes a few seconds at most.
    pub fn tell_of_failed_store(&self) {
        self.last_words.tell(self.clock.wall());
    }

    /// Graceful stop: no new requests, attempts in flight end within the drain time, everything is committed, threads
    /// end. Undelivered events are due at the next start.
    pub fn stop(self) {
        let deadline = Instant::now() + self.drain;
        self.vitals.is_stopping.store(true, Ordering::Relaxed);
        self.dispatcher.begin_stop();
        // A request that waits for an event is answered without one.
        self.feed_waiters.close();
        // Requests in progress await the writer, which runs until the end.
        self.http.stop();
        if let Some(answers) = self.answers {
            answers.stop();
        }
        let cut_off = self.pipeline.stop(deadline);
        if cut_off > 0 {
            log::warn!(
                "{cut_off} attempts in flight did not finish within the drain time and will be retried after the next start"
            );
        }
        // Commands were served until here, since only this process can read the file.
        self.control.stop();
        self.probe.stop();
        if let Some(notifier) = self.notifier {
            notifier.stop();
        }
        if let Some(page) = self.metrics_page {
            page.stop();
        }
        if let Some(check) = self.row_check {
            check.stop();
        }
        // Delivery threads that did not finish still hold a writer handle, so the writer's end cannot be awaited; what
        // they reported is recorded all the same.
        if !self.writer.flush(FLUSH) {
            log::warn!("not all outcomes could be recorded; these attempts will be repeated after the next start");
        }
        drop(self.writer);
        if cut_off == 0 && self.writer_thread.join().is_err() {
            log::error!("the writer had panicked");
        }
    }
}

/// Answers what servers on standby pass on, if there can be any, as it is answered here.
fn answer_others(
    reader: &Reader,
    state: &web::Data<HttpState>,
    status: &Arc<WaysStatus>,
) -> std::io::Result<Option<Answers>> {
    let Some(answering) = reader.answering() else { return Ok(None) };
    let (state, status) = (state.clone(), Arc::clone(status));
    let answers = Answers::start(answering, async move || {
        let callers = executing(http::callers_app(&state)).await?;
        let operator = executing(relayed_operator_app(&state, status)).await?;
        Some([callers, operator])
    });
    answers.map(Some)
}

/// Says where the data is, and what a new store lacks.
fn tell_of_data(config: &Config, reader: &Reader) {
    log::info!("the data is in {}", place_of_data(config));
    if reader.registry().keys().next().is_none() {
        log::info!("there is no API key yet; create one with: tempclock-webhooks keys create");
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
    /// The last ones, and how many there were in each hour.
    attempts: (Arc<RecentAttempts>, Arc<Activity>),
    failures: FailureLog,
    transport: Arc<Transport>,
    bell: Bell,
    feed_waiters: Arc<FeedWaiters>,
}

fn listeners(dispatcher: &Arc<Dispatcher>, heard: Heard, failed: StoreFailed, clock: Clock) -> Listeners {
    let dispatcher = Arc::clone(dispatcher);
    Listeners {
        committed: Box::new(move |mut committed, registry| {
            count(&heard.metrics, &committed);
            let (recent, activity) = &heard.attempts;
            activity.push(clock.wall(), ended_attempts(&committed));
            let attempted = committed.recorded.iter().chain(&committed.in_batches);
            let attempted = attempted.filter(|recorded| recorded.attempt.is_some());
            recent.push(attempted.map(|recorded| recorded.delivery));
            heard.failures.log_failures(&mut committed.recorded, registry);
            heard.failures.log_failures(&mut committed.in_batches, registry);
            for id in committed.changed.iter().filter(|id| registry.subscription(**id).is_none()) {
                heard.transport.forget(*id);
            }
            if committed.has_alert {
                heard.bell.ring();
            }
            heard.feed_waiters.committed(&committed);
            dispatcher.committed(committed, registry);
        }),
        failed: Box::new(move |error| failed(error)),
    }
}

/// Whose attempts were recorded, whether they delivered, and how long they took.
fn ended_attempts(committed: &Committed) -> impl Iterator<Item = (SubscriptionId, bool, Duration)> {
    committed.recorded.iter().chain(&committed.in_batches).flat_map(|recorded| {
        let attempts = recorded.before.iter().chain(&recorded.attempt);
        attempts.map(move |attempt| (recorded.delivery.subscription, attempt.delivered_after.is_some(), attempt.took))
    })
}

fn count(metrics: &Metrics, committed: &Committed) {
    metrics.committed(committed.took, committed.events);
    metrics.expired(committed.expired.len() as u64);
    metrics.order_gaps(committed.order_gaps);
    for recorded in committed.recorded.iter().chain(&committed.in_batches) {
        let Some(attempt) = &recorded.attempt else { continue };
        for attempt in recorded.before.iter().chain([attempt]) {
            metrics.attempted(attempt.outcome, attempt.took);
        }
        match attempt.delivered_after {
            Some(latency) => metrics.delivered(latency),
            None if recorded.due.is_none() => metrics.exhausted(),
            None => {}
        }
    }
}

/// Outcomes must be recorded, or the next start repeats the attempts.
fn check_free_space(folder: &Path, reader: &Reader) -> Result<(), StartError> {
    let free_bytes = reader.vitals().free_bytes.unwrap_or(u64::MAX);
    if free_bytes >= OUTCOMES_BYTES {
        return Ok(());
    }
    let backlog = reader.view().backlog().map_err(|error| StartError::Threads(error.to_string()))?;
    match backlog.pending.unattempted + backlog.pending.retrying {
        0 => Ok(()),
        pending => Err(StartError::NoRoom { path: folder.to_owned(), free_bytes, pending }),
    }
}

/// Checks all rows unless the start has, and tells how far that has come.
fn check_rows(is_checked: bool, reader: &Reader) -> std::io::Result<(Option<RowCheck>, Arc<CheckProgress>)> {
    if is_checked {
        return Ok((None, Arc::default()));
    }
    let check = RowCheck::start(reader.clone())?;
    let progress = Arc::clone(&check.progress);
    Ok((Some(check), progress))
}
