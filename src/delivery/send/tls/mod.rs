//! How deliveries speak TLS: one configuration for all endpoints that get the same client certificate, whose sessions are
//! resumed. Any thread; nothing here waits. Sessions never outlive the configuration that they were made with, so none is resumed after a change of whom
//! to trust.

pub(in crate::delivery) mod clients;
pub mod error;
mod sessions;
mod signatures;
pub(in crate::delivery) mod stream;
mod verifier;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::delivery::send::tls::sessions::Sessions;
use crate::delivery::send::tls::signatures::supported;
use crate::delivery::send::tls::verifier::Verifier;
use crate::domain::options::certificate::CertificateUse;

/// A resumed session shows no certificate. One that has expired meanwhile is noticed after this time.
const SESSIONS_LAST: Duration = Duration::from_hours(1);

/// What trusts these roots. Building it reads each of them, so it is built once for all endpoints.
pub fn client_config(roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let ring = rustls::crypto::ring::default_provider();
    let provider = CryptoProvider { signature_verification_algorithms: supported(), ..ring };
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    if store.is_empty() {
        // It trusts nobody.
        return Ok(builder.with_root_certificates(store).with_no_client_auth());
    }
    let verifier = Arc::new(Verifier::new(store, &provider)?);
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// How deliveries speak TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Without a client certificate.
    pub plain: ClientConfig,
    /// With each of the operator's client certificates.
    pub certificates: Vec<ClientCertificate>,
}

/// A client certificate, and where it may be shown.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// Who may use it, and for where.
    pub used: CertificateUse,
    /// What shows it.
    pub config: ClientConfig,
}

impl ClientCertificate {
    /// What speaks TLS as `base` does, and shows a certificate to who wants one. Whom to trust is shared with the base.
    #[must_use]
    pub fn new(used: CertificateUse, base: &ClientConfig, certificate: CertifiedKey) -> Self {
        let mut config = base.clone();
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certificate));
        Self { used, config }
    }
}

/// A configuration in use.
#[derive(Debug)]
pub(in crate::delivery) struct TlsClient(Mutex<Current>);

#[derive(Debug)]
struct Current {
    config: Arc<ClientConfig>,
    since: Instant,
}

impl Current {
    fn without_sessions(mut config: ClientConfig) -> Self {
        config.resumption = Resumption::store(Arc::new(Sessions::default()));
        Self { config: Arc::new(config), since: Instant::now() }
    }
}

impl TlsClient {
    pub(in crate::delivery) fn new(config: ClientConfig) -> Self {
        Self(Mutex::new(Current::without_sessions(config)))
    }

    /// Uses this from the next connection on.
    pub(in crate::delivery) fn replace(&self, config: ClientConfig) {
        let fresh = Current::without_sessions(config);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// What to make a connection with.
    pub(in crate::delivery) fn config(&self) -> Arc<ClientConfig> {
        self.config_at(Instant::now())
    }

    fn config_at(&self, now: Instant) -> Arc<ClientConfig> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(current.since) > SESSIONS_LAST {
            *current = Current::without_sessions(ClientConfig::clone(&current.config));
        }
        Arc::clone(&current.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_forgotten_after_an_hour() {
        let client = TlsClient::new(client_config(Vec::new()).unwrap());
        let (first, begun) = (client.config(), Instant::now());
        assert!(Arc::ptr_eq(&first, &client.config_at(begun + SESSIONS_LAST / 2)));
        let second = client.config_at(begun + SESSIONS_LAST * 2);
        assert!(!Arc::ptr_eq(&first, &second));
    }
}
