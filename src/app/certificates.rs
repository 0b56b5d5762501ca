//! The server's certificate, which can be reloaded while it runs, and the roots that deliveries trust. Files are read
//! on the main thread or the signals thread; HTTP workers only use the current certificate.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::error::StartError;
use crate::config::Config;
use crate::delivery::send::tls::{self, error as tls_error};
use crate::domain::Timestamp;
use crate::domain::delivery::tls_fault::TlsFault;
use crate::storage::sealing::Seal;

/// The certificate for new connections.
pub struct ServerCertificate {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

const CERTIFICATE: &str = "server.tls_certificate";
const KEY: &str = "server.tls_key";
const AUTHORITIES: &str = "delivery.ca_certificates";
const CERTIFICATES: &str = "certificate";
/// How long before its expiry a certificate is reported.
const NOTICE: Duration = Duration::from_hours(14 * 24);
const ENCRYPTION_KEY: &str = "storage.encryption_key_file";

fn failed(key: &'static str, path: &Path, reason: impl fmt::Display) -> StartError {
    StartError::Certificate { key, path: path.to_owned(), reason: reason.to_string() }
}

/// The problems of the server's own files and of the encryption key's, each with its key.
pub(super) fn check_files(config: &Config) -> Vec<String> {
    let (server, mut problems) = (&config.server, Vec::new());
    let alerts = &config.alerts;
    let secret = [
        (KEY, &server.tls_key),
        (ENCRYPTION_KEY, &config.storage.encryption_key_file),
        ("storage.postgres.url_file", &config.storage.postgres_url_file),
        ("alerts.smtp_credentials_file", &alerts.smtp_credentials_file),
        ("alerts.webhook_secret_file", &alerts.webhook_secret_file),
    ];
    for (key, path) in secret {
        let found = path.as_deref().map(std::fs::metadata);
        if let Some(Err(error)) = found {
            // The path is not shown: the setting may hold the secret itself.
            let credential = path.as_deref().is_some_and(|path| path.starts_with("/run/credentials"));
            let hint = if credential { "; systemd creates a credential when the service starts" } else { "" };
            problems.push(format!("{key}: the file cannot be read: {error}{hint}"));
        }
    }
    let is_there = |path: &&PathBuf| path.exists();
    let chain = server.tls_certificate.as_deref().map(|path| read_certificates(CERTIFICATE, path));
    let private = server.tls_key.as_ref().filter(is_there).map(|path| read_key(KEY, path));
    match (chain, private, &server.tls_certificate) {
        (Some(Ok(chain)), Some(Ok(private)), Some(path)) => {
            let joined = join((CERTIFICATE, path), chain, private, KEY);
            problems.extend(joined.err().map(|error| error.to_string()));
        }
        (chain, private, _) => {
            problems.extend(chain.and_then(Result::err).map(|error| error.to_string()));
            problems.extend(private.and_then(Result::err).map(|error| error.to_string()));
        }
    }
    let own = config.delivery.ca_certificates.as_deref().map(|path| read_certificates(AUTHORITIES, path));
    problems.extend(own.and_then(Result::err).map(|error| error.to_string()));
    let sealing = config.storage.encryption_key_file.as_ref().filter(is_there);
    let sealing = sealing.and_then(|path| Seal::from_file(Some(path)).err());
    problems.extend(sealing.map(|error| format!("{ENCRYPTION_KEY}: {error}")));
    problems
}

impl ServerCertificate {
    /// Loads the configured files, if there are any.
    pub fn of(config: &Config) -> Result<Option<Arc<Self>>, StartError> {
        let (Some(certificate), Some(key)) = (&config.server.tls_certificate, &config.server.tls_key) else {
            return Ok(None);
        };
        let current = RwLock::new(Arc::new(read_pair(certificate, key)?));
        Ok(Some(Arc::new(Self { certificate: certificate.clone(), key: key.clone(), current })))
    }

    /// Reloads the files. If they are invalid, the current certificate stays.
    pub fn reload(&self) -> Result<(), StartError> {
        let unattempted = Arc::new(read_pair(&self.certificate, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = unattempted;
        Ok(())
    }

    /// The server's TLS configuration.
    pub fn server_config(self: Arc<Self>) -> Result<ServerConfig, StartError> {
        let path = self.certificate.clone();
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(CERTIFICATE, &path, error))?;
        Ok(builder.with_no_client_auth().with_cert_resolver(self))
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn read_pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, StartError> {
    join((CERTIFICATE, certificate), read_certificates(CERTIFICATE, certificate)?, read_key(KEY, key)?, KEY)
}

/// A certificate with its key. The certificate's setting and file, and the key's setting, are for the error.
pub(super) fn join(
    (setting, certificate): (&'static str, &Path),
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    key_setting: &str,
) -> Result<CertifiedKey, StartError> {
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            failed(setting, certificate, format!("it does not belong to the private key of {key_setting}"))
        }
        _ => failed(setting, certificate, error),
    })
}

pub(super) fn read_key(setting: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, StartError> {
    check_is_file(path).map_err(|reason| failed(setting, path, reason))?;
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| failed(setting, path, in_words(error, "private key without a passphrase")))
}

/// Opening a pipe would block, on a reload even the thread that handles the stop signal.
fn check_is_file(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err("it is not a regular file".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The error of a PEM file, without any of its content.
fn in_words(error: pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("it contains no PEM {wanted}"),
        _ => "it is not PEM, or a part of it is missing".to_owned(),
    }
}

pub(super) fn read_certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    check_is_file(path).map_err(|reason| failed(key, path, reason))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates = certificates.map_err(|error| failed(key, path, in_words(error, CERTIFICATES)))?;
    if certificates.is_empty() {
        Err(failed(key, path, in_words(pem::Error::NoItemsFound, CERTIFICATES)))
    } else {
        Ok(certificates)
    }
}

/// A warning if the server's certificate has expired or soon will.
pub(super) fn certificate_warning(config: &Config, now: Timestamp) -> Option<String> {
    let path = config.server.tls_certificate.as_deref()?;
    let chain = read_certificates(CERTIFICATE, path).ok()?;
    let words = aging(&chain, now, "callers")?;
    Some(format!("{CERTIFICATE}: the certificate in {} {words}", path.display()))
}

/// What is wrong with the time of a certificate, if something is or soon will be; `others` refuse it then.
pub(super) fn aging(chain: &[CertificateDer<'static>], now: Timestamp, others: &str) -> Option<String> {
    let day = |time: Timestamp| time.to_string().chars().take(10).collect::<String>();
    Some(match (time_fault(chain, now), time_fault(chain, now.plus(NOTICE))) {
        (Some(TlsFault::Expired(Some(end))), _) => format!("expired on {}, so {others} refuse it", day(end)),
        (Some(TlsFault::NotValidYet(Some(begin))), _) => format!("is not valid before {}", day(begin)),
        (_, Some(TlsFault::Expired(Some(end)))) => format!("expires on {}; renew it before", day(end)),
        _ => return None,
    })
}

/// The validity error that a client would see. Validity is checked first, so trust and name do not matter.
fn time_fault(chain: &[CertificateDer<'static>], now: Timestamp) -> Option<TlsFault> {
    let (leaf, others) = chain.split_first()?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let caller = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_seconds()));
    caller.verify_server_cert(leaf, others, &name, &[], now).err().map(|error| tls_error::of(&error))
}

/// The public roots and the operator's.
pub fn trusted_roots(config: &Config) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let own = config.delivery.ca_certificates.as_deref();
    let own = own.map(|path| read_certificates(AUTHORITIES, path)).transpose()?.unwrap_or_default();
    let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
    Ok(public.chain(own).collect())
}

/// How deliveries speak TLS: they trust those.
pub(super) fn client_config(config: &Config) -> Result<ClientConfig, StartError> {
    tls::client_config(trusted_roots(config)?).map_err(|error| StartError::Threads(error.to_string()))
}
