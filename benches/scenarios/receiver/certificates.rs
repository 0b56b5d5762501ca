//! Certificates for the receiver's addresses, from an authority made for the run.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Result;

/// Makes the authority, writes its certificate, and gives what to serve each of the addresses with: a certificate and
/// sessions of its own, as unrelated receivers have.
pub fn issue(authority: &Path, addresses: &[SocketAddr]) -> Result<Vec<Arc<ServerConfig>>> {
    let authority_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority_key)?;
    fs::write(authority, root.pem())?;

    let issuer = Issuer::from_params(&params, &authority_key);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let serve = |address: &SocketAddr| {
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec![address.ip().to_string()])?.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)?;
        Ok(Arc::new(config))
    };
    addresses.iter().map(serve).collect()
}
