//! The URL of the database, from its file: where it is, how to log in, and what TLS has to look like. Reads the file and the
//! certificates that it names; the main thread, and whoever connects anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::storage::postgres::error::PostgresError;

/// A longer file holds something else.
const FILE_BYTES: u64 = 4096;
/// For the TCP connection to one host.
const CONNECT: Duration = Duration::from_secs(3);

/// Where the database is, and how it is reached.
#[derive(Clone)]
pub(in crate::storage::postgres) struct Target {
    /// All but TLS, for each host.
    pub hosts: Vec<Config>,
    /// TLS.
    pub tls: MakeRustlsConnect,
    /// The hosts with their ports, for people.
    pub place: String,
}

/// What is done about the certificate of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Nothing, as with libpq where no authority is named.
    None,
    /// It has to be one for that host, of a trusted authority.
    Full,
}

/// What the URL says beside what the client understands.
#[derive(Debug, PartialEq, Eq)]
struct Split {
    url: String,
    mode: SslMode,
    check: Check,
    roots: Option<PathBuf>,
}

impl Target {
    /// What the file says.
    pub fn read(path: &Path) -> Result<Self, PostgresError> {
        let fault = |error: String| PostgresError::UrlFile(error);
        let unreadable = |error: std::io::Error| fault(format!("the file cannot be read: {error}"));
        let found = fs::metadata(path).map_err(unreadable)?;
        if !found.is_file() || found.len() > FILE_BYTES {
            return Err(fault("the file does not hold a URL".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(text.trim()).map_err(fault)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Split { url, mode, check, roots } = split(text)?;
        let mut hosts = Vec::new();
        for url in each_host(&url) {
            // What the client says of a URL may repeat parts of it.
            let mut config = Config::from_str(&url).map_err(|_| "the URL cannot be understood".to_owned())?;
            if config.get_hosts().is_empty() {
                return Err("the URL names no host".to_owned());
            }
            if config.get_user().is_none() {
                return Err("the URL names no user".to_owned());
            }
            config
                .ssl_mode(mode)
                .application_name("tempclock-webhooks")
                .target_session_attrs(TargetSessionAttrs::ReadWrite)
                .connect_timeout(CONNECT)
                .keepalives(true)
                .keepalives_idle(Duration::from_secs(2))
                .keepalives_interval(Duration::from_secs(1))
                .keepalives_retries(3)
                .tcp_user_timeout(Duration::from_secs(4));
            if is_unix(&config) {
                // As with libpq: whoever may open the socket is on this machine.
                config.ssl_mode(SslMode::Disable);
            }
            hosts.push(config);
        }
        let place = hosts.iter().map(place).collect::<Vec<_>>().join(",");
        Ok(Self { hosts, tls: tls(check, roots.as_deref())?, place })
    }
}

/// The same URL for each of its hosts alone: they are tried one after the other, each under its own time limit.
fn each_host(url: &str) -> Vec<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let at = if user.is_empty() { "" } else { "@" };
    hosts.split(',').map(|host| format!("{scheme}://{user}{at}{host}{behind}")).collect()
}

/// Whether that host is a socket in a folder of this machine.
pub(in crate::storage::postgres) fn is_unix(host: &Config) -> bool {
    host.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
}

/// A host and its port, for people.
pub(in crate::storage::postgres) fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let names = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(folder) => format!("{}/.s.PGSQL.{port}", folder.display()),
        }
    });
    names.collect::<Vec<_>>().join(",")
}

/// Takes out what is said of TLS, in the words of libpq.
fn split(text: &str) -> Result<Split, String> {
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err("the file does not begin with postgres://".to_owned());
    }
    let (front, query) = text.split_once('?').unwrap_or((text, ""));
    let (mut kept, mut mode, mut roots) = (Vec::new(), "prefer", None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = value,
            Some(("sslrootcert", value)) => {
                let decoded = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
                roots = Some(PathBuf::from(decoded.unwrap_or_else(|| value.to_owned())));
            }
            // Where the client writes is decided by the schema, and a standby is of no use.
            Some(("target_session_attrs" | "options", _)) => {}
            _ => kept.push(pair),
        }
    }
    let with_roots = if roots.is_some() { Check::Full } else { Check::None };
    let (mode, check) = match mode {
        "disable" => (SslMode::Disable, Check::None),
        "allow" | "prefer" => (SslMode::Prefer, with_roots),
        "require" => (SslMode::Require, with_roots),
        "verify-ca" | "verify-full" => (SslMode::Require, Check::Full),
        _ => return Err("sslmode is none of disable, prefer, require, verify-full".to_owned()),
    };
    let url = if kept.is_empty() { front.to_owned() } else { format!("{front}?{}", kept.join("&")) };
    Ok(Split { url, mode, check, roots })
}

fn tls(check: Check, roots: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(default_provider());
    let failed = |error: String| format!("TLS cannot be set up: {error}");
    let verifier: Arc<dyn ServerCertVerifier> = match check {
        Check::None => Arc::new(Unverified(Arc::clone(&provider))),
        Check::Full => {
            let trusted = Arc::new(trusted(roots)?);
            WebPkiServerVerifier::builder_with_provider(trusted, Arc::clone(&provider))
                .build()
                .map_err(|error| failed(error.to_string()))?
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// The authorities of that file, or the public ones.
fn trusted(roots: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let Some(path) = roots else {
        store.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        return Ok(store);
    };
    let failed = |error: String| format!("sslrootcert {} cannot be used: {error}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    for certificate in read {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        store.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if store.is_empty() { Err(failed("it holds no certificate".to_owned())) } else { Ok(store) }
}

/// Takes any certificate: the connection is encrypted, and nobody knows with whom.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (String, SslMode, Check, Option<PathBuf>) {
        let Split { url, mode, check, roots } = split(text).unwrap();
        (url, mode, check, roots)
    }

    #[test]
    fn what_is_said_of_tls_is_taken_as_libpq_takes_it() {
        let url = "postgres://u:p@h/d";
        let plain = |mode, check| (url.to_owned(), mode, check, None);
        assert_eq!(of(url), plain(SslMode::Prefer, Check::None));
        assert_eq!(of(&format!("{url}?sslmode=disable")), plain(SslMode::Disable, Check::None));
        assert_eq!(of(&format!("{url}?sslmode=verify-full")), plain(SslMode::Require, Check::Full));
        let (left, mode, check, roots) =
            of(&format!("{url}?sslmode=require&sslrootcert=/etc/ssl/own%20ca.pem&connect_timeout=9"));
        assert_eq!(
            (left.as_str(), mode, check),
            ("postgres://u:p@h/d?connect_timeout=9", SslMode::Require, Check::Full)
        );
        assert_eq!(roots, Some(PathBuf::from("/etc/ssl/own ca.pem")));
        for wrong in ["mysql://u@h/d", "postgres://u@h/d?sslmode=maybe", "", "host=h user=u"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for wrong in ["postgres://u:geheim@h:port/d", "postgres:///d?password=geheim", "postgres://h/d?geheim=1"] {
            let error = Target::parse(wrong).err().unwrap_or_default();
            assert!(!error.is_empty() && !error.contains("geheim"), "{wrong}: {error}");
        }
        let sockets = "postgres://u@%2Frun%2Fpostgresql:5433,%2Ftmp,host/d?sslmode=require";
        let sockets = Target::parse(sockets).unwrap();
        assert_eq!(sockets.place, "/run/postgresql/.s.PGSQL.5433,/tmp/.s.PGSQL.5432,host:5432");
        let modes: Vec<_> = sockets.hosts.iter().map(Config::get_ssl_mode).collect();
        assert_eq!(modes, [SslMode::Disable, SslMode::Disable, SslMode::Require]);
        assert_eq!(Target::parse("postgres:///d?host=/tmp&user=u").unwrap().place, "/tmp/.s.PGSQL.5432");
        let several = Target::parse("postgres://u:p%40@one:5433,[::1],two/d?connect_timeout=2").unwrap();
        assert_eq!(several.place, "one:5433,::1:5432,two:5432");
        assert!(several.hosts.iter().all(|host| host.get_password() == Some(b"p@") && host.get_dbname() == Some("d")));
    }
}
