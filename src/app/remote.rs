//! A handle on the running server for other threads: reload certificates and check liveness. Any thread.

use std::sync::{Arc, Weak};

use super::certificates::ServerCertificate;
use super::client_certificates::tls_settings;
use super::error::StartError;
use super::proxy::login;
use crate::config::Config;
use crate::delivery::{Dispatcher, Transport};
use crate::http::ServedCatalogue;
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
