//! Certificates for the receiver's addresses, and one for its callers, from an authority made for the run.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::Tls;
use crate::Result;

/// Makes the authority, writes what callers need, and gives what to serve each of the addresses with: a certificate and
/// sessions of its own, as unrelated receivers have.
pub fn issue(tls: &Tls, addresses: &[SocketAddr]) -> Result<Vec<Arc<ServerConfig>>> {
    let authority_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority_key)?;
    fs::write(&tls.authority, root.pem())?;

    let issuer = Issuer::from_params(&params, &authority_key);
    let callers = match &tls.client {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(files) => {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(vec!["sender".to_owned()])?.signed_by(&key, &issuer)?;
            fs::write(&files.certificate, certificate.pem())?;
            fs::write(&files.key, key.serialize_pem())?;
            issued_by(&root)?
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let serve = |address: &SocketAddr| {
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec![address.ip().to_string()])?.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::clone(&callers))
            .with_single_cert(vec![leaf.der().clone()], key)?;
        Ok(Arc::new(config))
    };
    addresses.iter().map(serve).collect()
}

/// Takes the callers that have a certificate of the authority.
fn issued_by(root: &Certificate) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
}
