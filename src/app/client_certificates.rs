//! The client certificates that deliveries may show, from the files that the configuration names. Files are read on the main
//! thread or the signals thread.

use rustls::ClientConfig;
use rustls::sign::CertifiedKey;

use crate::app::certificates::{aging, client_config, join, read_certificates, read_key};
use crate::app::error::StartError;
use crate::config::{ClientCertificateFiles, Config};
use crate::delivery::send::tls::{self, ClientCertificate, TlsSettings};
use crate::domain::Timestamp;
use crate::domain::options::certificate::CertificateUse;

const CERTIFICATE: &str = "delivery.client_certificate certificate";
const KEY: &str = "delivery.client_certificate key";
const AUTHORITIES: &str = "delivery.client_certificate ca";

/// How deliveries speak TLS.
pub(super) fn tls_settings(config: &Config) -> Result<TlsSettings, StartError> {
    let plain = client_config(config)?;
    let certificates = config.delivery.client_certificates.iter().map(|files| load(files, &plain));
    Ok(TlsSettings { certificates: certificates.collect::<Result<_, _>>()?, plain })
}

/// How a delivery to a host speaks TLS: with the client certificate and the authorities that are declared for it, if any are.
pub fn tls_with(config: &Config, host: &str) -> Result<ClientConfig, StartError> {
    let plain = client_config(config)?;
    let declared = config.delivery.client_certificates.iter().find(|files| files.used.has_host(host));
    match declared {
        Some(files) => Ok(load(files, &plain)?.config),
        None => Ok(plain),
    }
}

/// Who may use which certificate for where.
pub(super) fn uses(config: &Config) -> Vec<CertificateUse> {
    config.delivery.client_certificates.iter().map(|files| files.used.clone()).collect()
}

/// What is wrong with the files.
pub(super) fn check_files(config: &Config) -> Vec<String> {
    let faults = |files: &ClientCertificateFiles| {
        let name = files.used.name.clone();
        let pair = read_pair(files).err();
        let authorities = files.ca.as_ref().and_then(|path| read_certificates(AUTHORITIES, path).err());
        pair.into_iter().chain(authorities).map(move |error| format!("client certificate {name}: {error}"))
    };
    config.delivery.client_certificates.iter().flat_map(faults).collect()
}

/// Warnings of certificates that have expired or soon will.
pub(super) fn warnings(config: &Config, now: Timestamp) -> Vec<String> {
    let warning = |files: &ClientCertificateFiles| {
        let chain = read_certificates(CERTIFICATE, &files.certificate).ok()?;
        let words = aging(&chain, now, "receivers")?;
        Some(format!(
            "client certificate {}: the certificate in {} {words}",
            files.used.name,
            files.certificate.display()
        ))
    };
    config.delivery.client_certificates.iter().filter_map(warning).collect()
}

fn load(files: &ClientCertificateFiles, plain: &ClientConfig) -> Result<ClientCertificate, StartError> {
    let certificate = read_pair(files)?;
    let own = match &files.ca {
        None => None,
        Some(path) => {
            let trusted = read_certificates(AUTHORITIES, path)?;
            Some(tls::client_config(trusted).map_err(|error| StartError::Threads(error.to_string()))?)
        }
    };
    Ok(ClientCertificate::new(files.used.clone(), own.as_ref().unwrap_or(plain), certificate))
}

fn read_pair(files: &ClientCertificateFiles) -> Result<CertifiedKey, StartError> {
    let chain = read_certificates(CERTIFICATE, &files.certificate)?;
    join((CERTIFICATE, &files.certificate), chain, read_key(KEY, &files.key)?, KEY)
}
