//! The store without the server: what a command opens when no server runs. It serves the control socket in a private
//! place for that one command; nothing is delivered. Runs on the command's main thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use actix_web::web;
use tempfile::TempDir;

use super::{StartError, http_settings, start_control, store_settings, transport};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::server::ControlServer;
use crate::delivery::Dispatcher;
use crate::http::{HttpState, Vitals};
use crate::storage::writer::Listeners;
use crate::storage::{Opened, Store};

/// The store at work for one command.
pub struct Offline {
    folder: TempDir,
    control: ControlServer,
    writer_thread: JoinHandle<()>,
}

const SOCKET: &str = "control.sock";

impl Offline {
    /// Opens the store, which fails while somebody else has it open.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let clock = Clock::start();
        let (transport, rule) = transport(config, clock)?;
        let opened = Opened::open(&store_settings(config), clock)?;
        let clock = opened.clock();
        let threads = |error: std::io::Error| StartError::Threads(error.to_string());
        let folder = tempfile::Builder::new().prefix("tempclock-").tempdir().map_err(threads)?;
        let delivery = &config.delivery;
        // It has no threads and is told of nothing, so what is committed here waits for a server.
        let dispatcher = Dispatcher::new(delivery.threads, delivery.max_in_flight_per_endpoint, clock);
        let listeners = Listeners { committed: Box::new(|_, _| {}), failed: Box::new(|_| {}) };
        let Store { writer, reader, thread: writer_thread } = opened.start(listeners)?;
        let settings = http_settings(config, rule);
        let vitals = Arc::new(Vitals::default());
        let state = HttpState::new(settings, (reader, writer), (dispatcher, transport), clock, vitals);
        let control = start_control(folder.path().join(SOCKET), &web::Data::new(state))?;
        Ok(Self { folder, control, writer_thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Closes the store. Every request has to be answered before.
    pub fn stop(self) {
        self.control.stop_idle();
        // The writer ends, and closes the file, when the handlers that could ask it are gone.
        if self.writer_thread.join().is_err() {
            log::error!("the writer had panicked");
        }
    }
}
