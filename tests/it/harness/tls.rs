//! Certificates of every kind, and a receiver that shows one of them.

use std::{
    fs::Permissions,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, ServerConnection, StreamOwned, WantsVerifier};

static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);

/// A certificate authority of the test's own.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    /// What is shown above the certificates that it issues: its own and those of the authorities between it and the first.
    shown: Vec<CertificateDer<'static>>,
}

/// A certificate with its key.
pub struct Identity {
    certificate: Certificate,
    key: KeyPair,
    above: Vec<CertificateDer<'static>>,
}

/// A receiver over TLS that answers 200 to every request.
pub struct TlsReceiver {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Authority {
    pub fn new() -> Self {
        let params = Self::params();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key), shown: Vec::new() }
    }

    /// An authority that this one vouches for; `change` makes its certificate odd.
    pub fn between(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let shown = std::iter::once(certificate.der().clone()).chain(self.shown.iter().cloned()).collect();
        Self { certificate, issuer: Issuer::new(params, key), shown }
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Two authorities of one name would be told apart by their signatures only.
        let name = format!("Authority {}", AUTHORITIES.fetch_add(1, Ordering::SeqCst));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    /// Writes the authority's certificate for `delivery.ca_certificates`.
    pub fn write_to(&self, folder: &Path) -> PathBuf {
        let path = folder.join("authority.pem");
        std::fs::write(&path, self.certificate.pem()).unwrap();
        path
    }

    /// A certificate for a host name; `change` makes it odd.
    pub fn identity(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate, key, above: self.shown.clone() }
    }
}

impl Identity {
    /// A certificate that nobody but itself vouches for; `change` makes it odd.
    pub fn self_signed(host: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        Self { certificate: params.self_signed(&key).unwrap(), key, above: Vec::new() }
    }

    /// What serves with the certificate, for callers that need none.
    pub fn server_config(&self) -> ServerConfig {
        self.config(ConfigBuilder::<ServerConfig, WantsVerifier>::with_no_client_auth)
    }

    /// What serves with the certificate callers that have one of that authority.
    pub fn server_config_for_clients_of(&self, authority: &Authority) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        let verifier = verifier.build().unwrap();
        self.config(|builder| builder.with_client_cert_verifier(verifier))
    }

    /// The certificate.
    pub fn der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }

    fn config(
        &self,
        clients: impl FnOnce(ConfigBuilder<ServerConfig, WantsVerifier>) -> ConfigBuilder<ServerConfig, WantsServerCert>,
    ) -> ServerConfig {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = clients(builder.with_safe_default_protocol_versions().unwrap());
        let chain = std::iter::once(self.certificate.der().clone()).chain(self.above.iter().cloned()).collect();
        builder.with_single_cert(chain, key).unwrap()
    }

    /// Writes the certificate and its key, under a name, for `server.tls_certificate` and `server.tls_key`.
    pub fn write_to(&self, folder: &Path, name: &str) -> [PathBuf; 2] {
        let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&certificate, self.certificate.pem()).unwrap();
        std::fs::write(&key, self.key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        [certificate, key]
    }
}

impl TlsReceiver {
    pub fn start(identity: &Identity) -> Self {
        Self::run(identity.server_config())
    }

    /// One that takes only callers with a certificate of that authority.
    pub fn for_clients_of(authority: &Authority, identity: &Identity) -> Self {
        Self::run(identity.server_config_for_clients_of(authority))
    }

    fn run(config: ServerConfig) -> Self {
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                answer_one(StreamOwned::new(connection, stream), &count);
            }
        });
        Self { port, requests }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many requests came through.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Counts the request that comes, if one does, and answers it.
fn answer_one(mut stream: StreamOwned<ServerConnection, TcpStream>, requests: &AtomicUsize) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            // Closed with something unread, the system would throw away the alert that says why.
            let _ = stream.sock.shutdown(Shutdown::Write);
            let _ = stream.sock.read_to_end(&mut Vec::new());
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    // Before the answer, so that whoever hears of that finds the request counted.
    requests.fetch_add(usize::from(stream.read_exact(&mut body).is_ok()), Ordering::SeqCst);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.flush();
    stream.conn.send_close_notify();
    let _ = stream.flush();
}
