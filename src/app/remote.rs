//! What other threads of the process may do with the running server: exchange its certificates, and see whether it is
//! still at work. Any thread.

use std::sync::{Arc, Weak};

use super::certificates::{ServerCertificate, client_config};
use super::error::StartError;
use crate::config::Config;
use crate::delivery::{Dispatcher, Transport};
use crate::storage::queue::{Progress, WriterHandle};

/// A handle on the running server.
pub struct Remote {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) transport: Arc<Transport>,
    pub(super) certificate: Option<Arc<ServerCertificate>>,
    /// Weak, because the writer ends when the last way to it is gone.
    pub(super) writer: Weak<WriterHandle>,
}

impl Remote {
    /// Reads all certificates again. Whatever is no good is left as it was.
    pub fn reload_certificates(&self, config: &Config) -> Result<(), StartError> {
        let own = self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload());
        self.transport.trust(client_config(config)?);
        own
    }

    /// How many attempts are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.dispatcher.in_flight()
    }

    /// Are all delivery threads there?
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
