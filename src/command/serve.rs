//! `serve`: runs the server until it is told to stop or its store fails.

use std::sync::mpsc::{Sender, channel};

use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Outcome, config};
use crate::app::{App, StartError};
use crate::cli::ConfigArgs;
use crate::config::Loaded;

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
    // Before anybody is told that it is ready, so that from then on every signal leads to an orderly end.
    watch_signals(sender).map_err(|error| (Exit::Failed, format!("signals cannot be watched: {error}")))?;
    eprintln!("tempclock-webhooks {} listening on {}", env!("CARGO_PKG_VERSION"), app.url());
    end.recv().map_or(Ok(()), |end| finish(app, &end))
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

/// Has a thread turn SIGTERM and SIGINT into ends, from the moment at which this returns. A second signal ends the
/// process at once.
pub fn watch_signals(ends: Sender<End>) -> std::io::Result<()> {
    let (sender, is_watching) = channel();
    let watch = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(|runtime| runtime.block_on(turn_into_ends(&ends, &sender)))
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    is_watching.recv().map_err(std::io::Error::other)
}

async fn turn_into_ends(ends: &Sender<End>, is_watching: &Sender<()>) {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds else { return };
    if is_watching.send(()).is_err() {
        return;
    }
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
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.format_timestamp(None);
    } else {
        builder.format_timestamp_millis();
    }
    // Set up twice only in tests; the first one stays.
    drop(builder.try_init());
}
