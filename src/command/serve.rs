//! `serve`: runs the server until it is told to stop or its store fails.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Outcome, config};
use crate::app::{App, StartError};
use crate::cli::ConfigArgs;
use crate::config::Loaded;
use crate::domain::visible::visible;

/// Why the server is to end.
pub enum End {
    /// Somebody said so.
    Asked,
    /// The store has failed.
    StoreFailed,
}

pub fn run(args: &ConfigArgs, listen: Option<String>, data_dir: Option<String>) -> Outcome {
    let flags = [("server.listen", listen), ("storage.data_dir", data_dir)];
    let flags = flags.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
    let Loaded { config, warnings, .. } = config::load(args, flags)?;
    start_log(&config.log.level);
    for warning in warnings {
        log::warn!("{warning}");
    }
    let (sender, end) = channel();
    let app = start(&config, &sender)?;
    eprintln!("tempclock-webhooks {} listening on {}", env!("CARGO_PKG_VERSION"), app.url());
    wait(sender, &end).map_or(Ok(()), |end| finish(app, &end))
}

/// Starts the app, with its failure reported as an end.
pub fn start(config: &crate::config::Config, ends: &Sender<End>) -> Result<App, (Exit, String)> {
    let failed = ends.clone();
    let app = App::start(config, move || drop(failed.send(End::StoreFailed)));
    app.map_err(|error| {
        let exit = match error {
            StartError::Certificate { .. } | StartError::Unsupported(_) => Exit::Configuration,
            _ => Exit::Failed,
        };
        (exit, error.to_string())
    })
}

/// Waits for a signal or a failure. A second signal ends the process at once.
pub fn wait(ends: Sender<End>, end: &Receiver<End>) -> Option<End> {
    let watcher = std::thread::Builder::new().name("signals".to_owned()).spawn(move || watch_signals(&ends));
    if let Err(error) = watcher {
        log::error!("signals cannot be watched: {error}");
    }
    end.recv().ok()
}

pub fn watch_signals(ends: &Sender<End>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds else { return };
        let mut is_first = true;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    log::warn!("SIGHUP: nothing is reloaded in this version; restart to take over a new configuration");
                    continue;
                }
            }
            if !is_first {
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
            log::info!("stopping");
            app.stop();
            log::info!("stopped");
            Ok(())
        }
        // Nothing that such a store says can be trusted any more, so nothing is drained.
        End::StoreFailed => Err((Exit::StoreFailed, "the store failed; see the log".to_owned())),
    }
}

/// Sends log lines to stderr, without a date when the journal adds its own.
pub fn start_log(filter: &str) {
    let has_date = std::env::var_os("JOURNAL_STREAM").is_none();
    let mut builder = env_logger::Builder::new();
    // It takes every garbled request for an error of the server's, so that anybody could fill the log.
    builder.filter_module("actix_http", log::LevelFilter::Off);
    builder.parse_filters(filter).format(move |out, record| {
        let level = record.level();
        let style = out.default_level_style(level);
        let message = record.args().to_string();
        // Whatever a caller or a receiver puts into a message, it stays within its line.
        let message = visible(&message);
        let target = record.target();
        if has_date {
            writeln!(out, "[{} {style}{level:<5}{style:#} {target}] {message}", out.timestamp_millis())
        } else {
            writeln!(out, "[{style}{level:<5}{style:#} {target}] {message}")
        }
    });
    // Set up twice only in tests; the first one stays.
    drop(builder.try_init());
}
