//! The TLS configurations of deliveries: one without a client certificate, and one for each of the operator's. Each has
//! sessions of its own, so that none is resumed as somebody else. Any thread; nothing here waits.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{AlertDescription, ClientConfig};
use ureq::Error;

use crate::delivery::send::tls::{ClientCertificate, TlsClient, TlsSettings};
use crate::domain::delivery::tls_fault::TlsFault;
use crate::domain::options::certificate::CertificateUse;

/// The configurations.
#[derive(Debug)]
pub(in crate::delivery) struct TlsClients {
    plain: TlsClient,
    named: Mutex<Arc<[Arc<NamedClient>]>>,
}

/// The configuration with one client certificate.
#[derive(Debug)]
pub(in crate::delivery) struct NamedClient {
    name: Arc<str>,
    pub(in crate::delivery) used: CertificateUse,
    tls: TlsClient,
}

impl NamedClient {
    fn new(ClientCertificate { used, config }: ClientCertificate) -> Arc<Self> {
        Arc::new(Self { name: used.name.as_str().into(), used, tls: TlsClient::new(config) })
    }

    /// The certificate's name.
    pub(in crate::delivery) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What to make a connection with.
    pub(in crate::delivery) fn config(&self) -> Arc<ClientConfig> {
        self.tls.config()
    }
}

impl TlsClients {
    pub(in crate::delivery) fn new(settings: TlsSettings) -> Self {
        let named = settings.certificates.into_iter().map(NamedClient::new).collect();
        Self { plain: TlsClient::new(settings.plain), named: Mutex::new(named) }
    }

    /// Uses these from the next connection on.
    pub(in crate::delivery) fn replace(&self, settings: TlsSettings) {
        self.plain.replace(settings.plain);
        let named = settings.certificates.into_iter().map(NamedClient::new).collect();
        *self.named.lock().unwrap_or_else(PoisonError::into_inner) = named;
    }

    /// What to make a connection with that shows no certificate.
    pub(in crate::delivery) fn plain(&self) -> Arc<ClientConfig> {
        self.plain.config()
    }

    /// The configuration with the certificate of that name.
    pub(in crate::delivery) fn named(&self, name: &str) -> Option<Arc<NamedClient>> {
        let named = Arc::clone(&self.named.lock().unwrap_or_else(PoisonError::into_inner));
        named.iter().find(|client| *client.name == *name).cloned()
    }
}

/// The error of a connection on which a client certificate was shown.
pub(in crate::delivery) fn certificate_refused(error: Error) -> Error {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        DecryptError, UnknownCA, UnsupportedCertificate,
    };
    let received = match &error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    };
    let Some(rustls::Error::AlertReceived(alert)) = received else { return error };
    let reason = match alert {
        UnknownCA => ", because it does not trust its authority",
        CertificateExpired => ", because it has expired",
        CertificateRevoked => ", because it was revoked",
        AccessDenied => ", because its owner has no access",
        BadCertificate | CertificateRequired | CertificateUnknown | DecryptError | UnsupportedCertificate => "",
        _ => return error,
    };
    Error::Other(Box::new(TlsFault::ClientCertificateRefused(reason)))
}
