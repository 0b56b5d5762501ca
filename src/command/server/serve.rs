//! `serve`: runs the server until it is asked to stop or its store fails.

use std::net::TcpListener;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{self, App, Remote, Standby, StartError, Waited};
use crate::cli::ConfigArgs;
use crate::clock::Clock;
use crate::command::failure::{failed, start_failure};
use crate::command::server::{allocator, log_output, service_manager};
use crate::command::{Exit, Failure, Outcome, config};
use crate::config::{Config, Loaded};
use crate::storage::error::WriterError;

/// Why the server ends.
#[derive(PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Asked,
    /// The store has failed.
    StoreFailed,
    /// The program has.
    Faulted,
}

/// The signal's number on Linux.
const SIGXFSZ: i32 = 25;

/// Command line flags that override the configuration file.
type Flags = Vec<(&'static str, String)>;

pub fn run(args: &ConfigArgs, listen: Option<String>, data_dir: Option<String>) -> Outcome {
    let unbounded = allocator::bound_arenas().err();
    let flags = [("server.listen", listen), ("storage.data_dir", data_dir)];
    let flags: Flags = flags.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
    let Loaded { config, warnings, .. } = config::load(args, flags.clone())?;
    log_output::init(&config.log);
    let aging = app::certificate_warnings(&config, Clock::start().wall());
    for warning in warnings.into_iter().chain(aging) {
        log::warn!("{warning}");
    }
    if let Some(error) = unbounded {
        log::warn!("the server may use more memory than needed: MALLOC_ARENA_MAX could not be set: {error}");
    }
    ignore_sigxfsz();
    forbid_core_dumps();
    let (sender, end) = channel();
    let mut starting = Some(service_manager::starting());
    let reloads = Arc::new(Reloads { args: args.clone(), flags, present: config.clone(), of: Mutex::default() });
    let listening = |url: &str| format!("tempclock-webhooks {} listening on {url}", env!("CARGO_PKG_VERSION"));
    let started = start_or_wait(&config, &sender, &end, |standby| {
        reloads.are_of(Reloaded::Standby(standby.reload_certificate()));
        if starting.take().is_some() {
            let reloads = Arc::clone(&reloads);
            watch_signals(sender.clone(), move || reloads.reload());
            log_output::announce(&config.log, &listening(&standby.url()));
        }
        service_manager::on_standby(&standby.url());
    })?;
    let Some(app) = started else {
        service_manager::stopping();
        log::info!("stopped");
        return Ok(());
    };
    let remote = Arc::new(app.remote());
    reloads.are_of(Reloaded::Active(Arc::clone(&remote)));
    if starting.take().is_some() {
        watch_signals(sender, move || reloads.reload());
        log_output::announce(&config.log, &listening(&app.url()));
    } else {
        log::info!("this server has taken over and is active");
    }
    if let Some(url) = app.metrics_url() {
        log::info!("metrics at {url}");
    }
    service_manager::watch(remote);
    service_manager::ready(&app.url());
    end.recv().map_or(Ok(()), |end| finish(app, &end))
}

/// Makes writes beyond the file size limit fail with an error instead of killing the process.
fn ignore_sigxfsz() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let heeded = runtime.and_then(|runtime| runtime.block_on(async { signal(SignalKind::from_raw(SIGXFSZ)) }));
    if let Err(error) = heeded {
        log::warn!("a limit on file sizes would kill the process: {error}");
    }
}

/// Disables core dumps, which would contain keys and secrets.
fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        log::warn!("a crash could write keys and secrets into a core dump: {error}");
    }
}

/// What reloads the settings that can change while the server runs.
struct Reloads {
    args: ConfigArgs,
    flags: Flags,
    /// The configuration of the start.
    present: Config,
    of: Mutex<Option<Reloaded>>,
}

/// What is reloaded.
enum Reloaded {
    Active(Arc<Remote>),
    Standby(Box<dyn Fn() -> Result<(), StartError> + Send>),
}

impl Reloads {
    fn are_of(&self, what: Reloaded) {
        *self.of.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    /// Invalid settings change nothing.
    fn reload(&self) {
        service_manager::reloading();
        match config::load(&self.args, self.flags.clone()) {
            Err((_, message)) => {
                log::error!("SIGHUP: the configuration is invalid, and the old one stays in use: {message}");
            }
            Ok(Loaded { config: wanted, .. }) => {
                log_output::init(&wanted.log);
                match &*self.of.lock().unwrap_or_else(PoisonError::into_inner) {
                    Some(Reloaded::Active(remote)) => reload_active(&self.present, wanted, remote),
                    Some(Reloaded::Standby(certificate)) => match certificate() {
                        Ok(()) => log::info!("SIGHUP: log level and certificate reloaded"),
                        Err(error) => log::error!("SIGHUP: the old certificate stays in use: {error}"),
                    },
                    None => {}
                }
            }
        }
        service_manager::reloaded();
    }
}

fn reload_active(present: &Config, wanted: Config, remote: &Remote) {
    let mut after = serde_json::Map::new();
    after.insert("log_level".to_owned(), wanted.log.level.clone().into());
    remote.reload_event_types(&wanted);
    // Certificate paths are those from the start, whatever the file names now.
    match remote.reload_certificates(present) {
        Ok(()) => {
            log::info!("SIGHUP: log level, event types and certificates reloaded");
            after.insert("certificates".to_owned(), "reloaded".into());
            for aging in app::certificate_warnings(present, Clock::start().wall()) {
                log::warn!("{aging}");
            }
        }
        Err(error) => log::error!("SIGHUP: the old certificates stay in use: {error}"),
    }
    remote.note_reload(after);
    if (Config { log: present.log.clone(), catalogue: Arc::clone(&present.catalogue), ..wanted }) != *present {
        log::warn!("SIGHUP: other changes of the configuration take effect at the next start");
    }
}

/// Starts the app; a store failure is sent to `ends`.
pub fn start(config: &Config, ends: &Sender<End>) -> Result<App, Failure> {
    try_start(config, None, ends).map_err(|error| not_started(&error))
}

fn try_start(config: &Config, listener: Option<TcpListener>, ends: &Sender<End>) -> Result<App, StartError> {
    let failed = ends.clone();
    App::start(config, listener, move |error| {
        let is_store = matches!(error, WriterError::Store(_));
        drop(failed.send(if is_store { End::StoreFailed } else { End::Faulted }));
    })
}

fn not_started(error: &StartError) -> Failure {
    let (exit, message) = start_failure(error);
    let service = "\nThe service is started with: systemctl start tempclock-webhooks";
    let is_of_another = matches!(error, StartError::OtherUser { .. });
    (exit, message + if is_of_another { service } else { "" })
}

/// Starts the app. Where another server over the same database is at work, waits for its end first, and tells `on_standby`;
/// none: it was asked to stop meanwhile.
fn start_or_wait(
    config: &Config,
    sender: &Sender<End>,
    end: &Receiver<End>,
    mut on_standby: impl FnMut(&Standby),
) -> Result<Option<App>, Failure> {
    let mut kept: Option<TcpListener> = None;
    loop {
        let listener = kept.as_ref().map(TcpListener::try_clone).transpose().map_err(failed)?;
        match try_start(config, listener, sender) {
            Ok(app) => return Ok(Some(app)),
            Err(error) if error.is_to_wait() => {}
            // A server that has waited goes on waiting for its database.
            Err(StartError::Store(error)) if kept.is_some() && error.is_of_the_database_server() => {
                log::warn!("this server stays on standby: {error}");
            }
            Err(error) => return Err(not_started(&error)),
        }
        let standby = Standby::start(config, kept.take()).map_err(|error| not_started(&error))?;
        on_standby(&standby);
        let is_to_stop = |span| {
            service_manager::is_alive();
            end.recv_timeout(span) != Err(RecvTimeoutError::Timeout)
        };
        match standby.wait(is_to_stop).map_err(|error| not_started(&error))? {
            Waited::MayStart(listener) => kept = Some(listener),
            Waited::IsToStop => return Ok(None),
        }
    }
}

/// Handles signals on a thread of its own; returns when the handlers are installed. SIGTERM and SIGINT are sent to
/// `ends`, a second one ends the process at once; SIGHUP runs `reload`.
pub fn watch_signals(ends: Sender<End>, reload: impl Fn() + Send + 'static) {
    let (watching, is_watching) = sync_channel(1);
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let watcher = thread.spawn(move || await_signals(&ends, reload, &watching));
    if watcher.is_err() || is_watching.recv().is_err() {
        log::error!("signals cannot be handled, so the server can only be killed");
    }
}

fn await_signals(ends: &Sender<End>, reload: impl Fn(), watching: &SyncSender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds else { return };
        let _ = watching.send(());
        let mut is_first = true;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    reload();
                    continue;
                }
            }
            if !is_first {
                log::logger().flush();
                std::process::exit(130);
            }
            is_first = false;
            drop(ends.send(End::Asked));
        }
    });
}

fn finish(app: App, end: &End) -> Outcome {
    match end {
        End::Asked => {
            service_manager::stopping();
            log::info!("stopping");
            app.stop();
            log::info!("stopped");
            Ok(())
        }
        // A failed store cannot be trusted, so nothing is drained.
        End::StoreFailed => {
            app.tell_of_failed_store();
            Err((Exit::StoreFailed, "the store failed; see the log".to_owned()))
        }
        // Nor can what a fault has left half done.
        End::Faulted => Err((Exit::Failed, "an internal error; see the log".to_owned())),
    }
}
