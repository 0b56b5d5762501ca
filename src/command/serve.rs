//! `serve`: runs the server until it is told to stop or its store fails.

use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::failure::start_failure;
use super::output::say;
use super::{Exit, Failure, Outcome, allocator, config, log_lines, supervisor};
use crate::app::{self, App, Remote, StartError};
use crate::cli::ConfigArgs;
use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::storage::error::WriterError;

/// Why the server is to end.
pub enum End {
    /// Somebody said so.
    Asked,
    /// The store has failed.
    StoreFailed,
    /// The program has.
    Faulted,
}

/// Its number on Linux.
const SIGXFSZ: i32 = 25;

/// What the command line says over the configuration file.
type Flags = Vec<(&'static str, String)>;

pub fn run(args: &ConfigArgs, listen: Option<String>, data_dir: Option<String>) -> Outcome {
    let unbounded = allocator::bound_arenas().err();
    let flags = [("server.listen", listen), ("storage.data_dir", data_dir)];
    let flags: Flags = flags.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
    let Loaded { config, warnings, .. } = config::load(args, flags.clone())?;
    log_lines::follow(&config.log);
    let aging = app::certificate_warning(&config, Clock::start().wall());
    for warning in warnings.into_iter().chain(aging) {
        log::warn!("{warning}");
    }
    if let Some(error) = unbounded {
        log::warn!("the server may keep more memory than it needs: MALLOC_ARENA_MAX could not be set: {error}");
    }
    heed_file_size_limit();
    forbid_core_dumps();
    let (sender, end) = channel();
    let app = start(&config, &sender)?;
    let remote = Arc::new(app.remote());
    let args = args.clone();
    let reloaded = Arc::clone(&remote);
    watch_signals(sender, move || reload(&args, &flags, &config, &reloaded));
    say(&format!("tempclock-webhooks {} listening on {}", env!("CARGO_PKG_VERSION"), app.url()));
    if let Some(url) = app.metrics_url() {
        log::info!("metrics at {url}");
    }
    supervisor::watch(remote);
    supervisor::ready(&app.url());
    end.recv().map_or(Ok(()), |end| finish(app, &end))
}

/// Has a write beyond the limit on file sizes fail with an error, as a full disk does, instead of killing the process.
fn heed_file_size_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let heeded = runtime.and_then(|runtime| runtime.block_on(async { signal(SignalKind::from_raw(SIGXFSZ)) }));
    if let Err(error) = heeded {
        log::warn!("a limit on file sizes would end the process at once: {error}");
    }
}

/// Keeps memory with keys and secrets in it off the disk when the process crashes.
fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        log::warn!("a crash could write keys and secrets into a core dump: {error}");
    }
}

/// Takes over from the configuration file what can change while the server runs. What is no good changes nothing.
fn reload(args: &ConfigArgs, flags: &Flags, present: &Config, remote: &Remote) {
    supervisor::reloading();
    match config::load(args, flags.clone()) {
        Err((_, message)) => log::error!("SIGHUP: the configuration is not valid, so it stays as it was: {message}"),
        Ok(Loaded { config: wanted, .. }) => {
            log_lines::follow(&wanted.log);
            // The certificates are those that the server was started with, whatever the file names now.
            match remote.reload_certificates(present) {
                Ok(()) => {
                    log::info!("SIGHUP: log level and certificates reloaded");
                    if let Some(aging) = app::certificate_warning(present, Clock::start().wall()) {
                        log::warn!("{aging}");
                    }
                }
                Err(error) => log::error!("SIGHUP: the certificates stay as they were: {error}"),
            }
            if (Config { log: present.log.clone(), ..wanted }) != *present {
                log::warn!("SIGHUP: further changes of the configuration take effect at the next start");
            }
        }
    }
    supervisor::reloaded();
}

/// Starts the app, with its failure reported as an end.
pub fn start(config: &crate::config::Config, ends: &Sender<End>) -> Result<App, Failure> {
    let failed = ends.clone();
    let app = App::start(config, move |error| {
        let is_store = matches!(error, WriterError::Store(_));
        drop(failed.send(if is_store { End::StoreFailed } else { End::Faulted }));
    });
    app.map_err(|error| {
        let (exit, message) = start_failure(&error);
        let service = "\nThe service is started with: systemctl start tempclock-webhooks";
        let is_of_another = matches!(error, StartError::OtherUser { .. });
        (exit, message + if is_of_another { service } else { "" })
    })
}

/// Watches for signals on a thread of its own, and comes back when it does. SIGTERM and SIGINT are reported as an end, and the second one ends the
/// process at once; SIGHUP runs `reload`.
pub fn watch_signals(ends: Sender<End>, reload: impl Fn() + Send + 'static) {
    let (watching, is_watching) = sync_channel(1);
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let watcher = thread.spawn(move || await_signals(&ends, reload, &watching));
    if watcher.is_err() || is_watching.recv().is_err() {
        log::error!("signals cannot be watched, so the server can only be ended by force");
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
            supervisor::stopping();
            log::info!("stopping");
            app.stop();
            log::info!("stopped");
            Ok(())
        }
        // Nothing that such a store says can be trusted any more, so nothing is drained.
        End::StoreFailed => Err((Exit::StoreFailed, "the store failed; see the log".to_owned())),
        // Nor can what a fault has left half done.
        End::Faulted => Err((Exit::Failed, "a fault in the program; see the log".to_owned())),
    }
}
