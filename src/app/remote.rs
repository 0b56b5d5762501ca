//! A handle on the running server for other threads: reload certificates and check liveness. Any thread.

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::certificates::ServerCertificate;
use super::client_certificates::tls_settings;
use super::error::StartError;
use super::proxy::login;
use crate::config::Config;
use crate::delivery::{Dispatcher, Transport};
use crate::domain::audit::{Actor, Origin};
use crate::http::ServedCatalogue;
use crate::storage::command::Command;
use crate::storage::command::server::ServerCommand;
use crate::storage::write::queue::{Progress, WriterHandle};

/// A handle on the running server.
pub struct Remote {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) transport: Arc<Transport>,
    pub(super) certificate: Option<Arc<ServerCertificate>>,
    pub(super) catalogue: ServedCatalogue,
    /// Weak, because the writer ends when the last handle is dropped.
    pub(super) writer: Weak<WriterHandle>,
}

impl Remote {
    /// Reloads all certificates, and the proxy's login. Invalid ones are left unchanged.
    pub fn reload_certificates(&self, config: &Config) -> Result<(), StartError> {
        let own = self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload());
        self.transport.set_tls(tls_settings(config)?);
        self.transport.set_proxy_login(login(config)?.as_ref());
        own
    }

    /// Takes the event types of this configuration.
    pub fn reload_event_types(&self, config: &Config) {
        self.catalogue.replace(Arc::clone(&config.catalogue));
    }

    /// Records in the audit that the configuration was reloaded, by the signal that asked for it.
    pub fn note_reload(&self, after: serde_json::Map<String, serde_json::Value>) {
        let Some(writer) = self.writer.upgrade() else { return };
        // Nobody can wait here: signals are handled on an executor.
        let (reply, _) = oneshot::channel();
        let actor = Actor::Operator { user: "SIGHUP".to_owned() };
        let origin = Box::new(Origin { actor, request_id: String::new(), source: None });
        let command =
            Box::new(Command::Server(ServerCommand::NoteChange { action: "configuration.reloaded", after, reply }));
        if let Err(error) = writer.try_send(Command::Audited { origin, command }) {
            log::error!("the reload could not be recorded in the audit: {error}");
        }
    }

    /// Number of attempts in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.dispatcher.in_flight()
    }

    /// Whether all delivery threads are alive.
    #[must_use]
    pub fn has_all_threads(&self) -> bool {
        self.dispatcher.has_all_threads()
    }

    /// How far the writer has come; `None` when it has ended.
    #[must_use]
    pub fn writer_progress(&self) -> Option<Progress> {
        self.writer.upgrade().map(|writer| writer.progress())
    }
}
