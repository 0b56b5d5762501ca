//! The store without a server, for a command when no server runs. It serves a private control socket for that command;
//! nothing is delivered. Runs on the command's main thread.

use std::fs;
use std::sync::Arc;
use std::thread::JoinHandle;

use actix_web::web;
use tempfile::TempDir;

use super::error::StartError;
use super::parts::{http_settings, start_control, store_settings, transport};
use crate::clock::Clock;
use crate::config::{Config, StorageEngine};
use crate::control::client::ControlSocket;
use crate::control::server::ControlServer;
use crate::delivery::Dispatcher;
use crate::descriptors::{Shares, raise_limit};
use crate::http::dashboard::activity::Activity;
use crate::http::dashboard::settings::DashboardSettings;
use crate::http::{HttpState, Vitals};
use crate::storage::maintenance::{Maintenance, NoAccess};
use crate::storage::write::writer::Listeners;
use crate::storage::{Opened, Store};

/// The open store of a command.
pub struct Offline {
    folder: TempDir,
    control: ControlServer,
    writer_thread: JoinHandle<()>,
}

const SOCKET: &str = "control.sock";
/// What to do where a command's own control socket cannot be.
const ANOTHER_FOLDER: &str =
    "; set TMPDIR to a folder with a shorter path, or one on another file system, that this user may write to";

/// Checks that this user may open the database file, if it is one; the error names the user who may.
pub fn check_user(config: &Config) -> Result<(), StartError> {
    if config.storage.engine == StorageEngine::Postgres {
        return Ok(());
    }
    Maintenance::of(&config.storage.data_dir).check_access().map_err(|NoAccess { path, owner }| match owner {
        Some(owner) => StartError::OtherUser { path, owner: user_name(owner) },
        None => StartError::Closed { path },
    })
}

/// A user's name, or the number as `sudo -u` takes it.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_meant = |line: &&str| line.split(':').nth(2) == Some(&uid.to_string());
    let name = users.lines().find(is_meant).and_then(|line| line.split(':').next());
    name.map_or_else(|| format!("'#{uid}'"), str::to_owned)
}

/// Opens the store for a command, without upgrading its format or encrypting its secrets.
pub fn open_store(config: &Config, clock: Clock) -> Result<Opened, StartError> {
    check_user(config)?;
    Ok(Opened::open_as_it_is(&store_settings(config), clock)?)
}

impl Offline {
    /// Opens the store; fails while another process has it open.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let clock = Clock::start();
        let shares = Shares::of(raise_limit(), config.server.max_connections);
        let (transport, rule) = transport(config, shares, clock)?;
        let opened = open_store(config, clock)?;
        let clock = opened.clock();
        let threads = |error: std::io::Error| StartError::Threads(error.to_string());
        let folder = tempfile::Builder::new().prefix("tempclock-").tempdir().map_err(threads)?;
        let delivery = &config.delivery;
        // It has no threads and gets no commits, so nothing is delivered until a server starts.
        let dispatcher = Dispatcher::new(delivery.threads, delivery.max_in_flight_per_endpoint, clock);
        let listeners = Listeners { committed: Box::new(|_, _| {}), failed: Box::new(|_| {}) };
        let Store { writer, reader, thread: writer_thread } = opened.start_for_a_command(listeners)?;
        let settings = http_settings(config, rule, DashboardSettings::none());
        let vitals = Arc::new(Vitals::default());
        let nothing = (Arc::default(), Arc::new(Activity::beginning_at(clock.wall())));
        let state = HttpState::new(settings, (reader, writer), (dispatcher, transport), clock, vitals, nothing);
        let control =
            start_control(folder.path().join(SOCKET), (&web::Data::new(state), Arc::default()), ANOTHER_FOLDER)?;
        Ok(Self { folder, control, writer_thread })
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> ControlSocket {
        ControlSocket { path: self.folder.path().join(SOCKET), data_dir: self.folder.path().to_owned() }
    }

    /// Closes the store, after every request has finished.
    pub fn stop(self) {
        self.control.stop_idle();
        // The writer ends and closes the file when the last handler is gone.
        if self.writer_thread.join().is_err() {
            log::error!("the writer had panicked");
        }
    }
}
