//! A server on standby: another one over the same database is active. It listens, has the active one answer what it is asked,
//! and looks whether it may take over. Runs on the main thread.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::certificates::ServerCertificate;
use super::error::StartError;
use super::parts::{
    ANOTHER_SOCKET, control_failed, control_socket, divide_descriptors, server_settings, store_settings,
};
use super::web_server::{WebServer, listen};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::server::ControlServer;
use crate::http;
use crate::http::relay::ask::{Relay, RelayThread};
use crate::http::standby::HasActive;
use crate::storage;
use crate::storage::error::OpenError;

/// How often it is looked at whether the other server is still there.
const LOOK: Duration = Duration::from_millis(500);

/// A server that waits.
pub struct Standby {
    listener: TcpListener,
    http: WebServer,
    control: ControlServer,
    relay: RelayThread,
    has_active: HasActive,
    is_tls: bool,
    certificate: Option<Arc<ServerCertificate>>,
    schema: storage::Standby,
}

/// How the waiting ended.
pub enum Waited {
    /// It may take over, most likely. Connections wait at the listener meanwhile.
    MayStart(TcpListener),
    /// It was asked to stop.
    IsToStop,
}

impl StartError {
    /// Whether another server over the same database is at work, so that this one can wait for its end.
    #[must_use]
    pub fn is_to_wait(&self) -> bool {
        matches!(self, Self::Store(OpenError::Postgres(error)) if error.is_in_use())
    }
}

impl Standby {
    /// Begins to wait, with the listener of an earlier wait if there was one.
    pub fn start(config: &Config, kept: Option<TcpListener>) -> Result<Self, StartError> {
        let certificate = ServerCertificate::of(config)?;
        let tls = certificate.clone().map(ServerCertificate::server_config).transpose()?;
        let is_tls = tls.is_some();
        let threads = |error: std::io::Error| StartError::Threads(error.to_string());
        let settings = store_settings(config);
        let database =
            settings.postgres.ok_or_else(|| StartError::Threads("only servers on PostgreSQL wait".to_owned()))?;
        let key_file = settings.encryption_key_file.as_deref();
        let schema = storage::Standby::new(&database, key_file, Clock::start().wall())?;
        let listener = kept.map_or_else(|| listen(config.server.listen), Ok)?;
        let served = listener.try_clone().map_err(threads)?;
        let (relayed, relay) = Relay::start(schema.asking(), config.server.request_timeout).map_err(threads)?;
        let path = control_socket(config).path;
        let control = ControlServer::on_standby(path.clone(), relayed.clone());
        let control = control.map_err(|source| control_failed(path, source, ANOTHER_SOCKET))?;
        let settings = server_settings(config, divide_descriptors(config));
        let has_active = HasActive::default();
        let answered = (relayed, Arc::clone(&has_active));
        let build = move |listener, ready| http::standby::server(listener, tls, answered, &settings, ready);
        let http = WebServer::start("http", served, config.server.workers, build).map_err(threads)?;
        Ok(Self { listener, http, control, relay, has_active, is_tls, certificate, schema })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.http.address())
    }

    /// Reloads its certificate, if it has one. An invalid one changes nothing.
    #[must_use]
    pub fn reload_certificate(&self) -> Box<dyn Fn() -> Result<(), StartError> + Send> {
        let certificate = self.certificate.clone();
        Box::new(move || certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload()))
    }

    /// Waits until the other server has ended, as far as is known, or until `is_to_stop`, which is asked for so long at a
    /// time.
    pub fn wait(mut self, mut is_to_stop: impl FnMut(Duration) -> bool) -> Result<Waited, StartError> {
        let mut active = None;
        loop {
            match self.schema.look() {
                Ok(None) => break,
                Ok(Some(server)) => {
                    if active.as_ref() != Some(&server) {
                        log::info!("on standby for {}", server.name);
                        self.relay.taken_over(server.epoch);
                        active = Some(server);
                    }
                    self.has_active.store(true, Ordering::Relaxed);
                }
                // The active server cannot reach it either, or it is this one's way to it.
                Err(error) if error.is_of_the_database_server() => {
                    if self.has_active.swap(false, Ordering::Relaxed) {
                        log::warn!("on standby, but the database cannot be checked: {error}");
                    }
                }
                Err(error) => return Err(error.into()),
            }
            if is_to_stop(LOOK) {
                self.end();
                return Ok(Waited::IsToStop);
            }
        }
        // The listener itself stays, so nobody is turned away meanwhile.
        Ok(Waited::MayStart(self.end()))
    }

    /// First what requests wait for, so that none holds up the rest.
    fn end(self) -> TcpListener {
        self.has_active.store(false, Ordering::Relaxed);
        self.relay.stop();
        self.control.stop_idle();
        self.http.stop();
        self.listener
    }
}
