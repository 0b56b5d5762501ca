//! Verifies the certificates of receivers as rustls does, with further signatures, and finds out what is wrong where
//! rustls leaves it open. Runs on delivery threads. It only explains what was refused already: nothing that it reads in
//! a certificate makes one accepted.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};

use crate::delivery::send::tls::signatures::PSS_WITH_ONE_HASH;
use crate::domain::Timestamp;
use crate::domain::delivery::tls_fault::TlsFault;

/// Shorter RSA keys are not accepted.
const RSA_BITS_MIN: usize = 2048;
/// The object identifiers of RSA keys.
const RSA_KEYS: [&str; 2] = ["1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"];
/// Maximum number of certificates of a chain that are looked at to explain a refusal.
const LOOKED_AT: usize = 16;

/// The verifier.
#[derive(Debug)]
pub(in crate::delivery) struct Verifier(Arc<WebPkiServerVerifier>);

impl Verifier {
    pub(in crate::delivery) fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(Self(builder.build().map_err(|error| Error::General(error.to_string()))?))
    }

    /// Tries keys of another form, too.
    fn or_with_one_hash(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        verified: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        verified
            .or_else(|error| {
                verify_tls13_signature(message, certificate, signed, &PSS_WITH_ONE_HASH).map_err(|_| error)
            })
            .map_err(|error| explained(error, |error| of_signature(error, certificate)))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.0.verify_server_cert(leaf, between, name, ocsp_response, now);
        verified.map_err(|error| explained(error, |error| of_chain(error, leaf, between, now)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.0.verify_tls12_signature(message, certificate, signed);
        Self::or_with_one_hash(message, certificate, signed, verified)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.0.verify_tls13_signature(message, certificate, signed);
        Self::or_with_one_hash(message, certificate, signed, verified)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The error, with what was found out about it.
fn explained(error: Error, explain: impl FnOnce(&CertificateError) -> Option<TlsFault>) -> Error {
    let Error::InvalidCertificate(cause) = &error else { return error };
    match explain(cause) {
        Some(fault) => Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault)))),
        None => error,
    }
}

fn of_signature(error: &CertificateError, certificate: &CertificateDer<'_>) -> Option<TlsFault> {
    let is_of_key = matches!(error, CertificateError::BadSignature);
    let certificate = is_of_key.then(|| Certificate::from_der(certificate).ok()).flatten()?;
    short_key(&certificate).map(TlsFault::ShortKey)
}

fn of_chain(
    error: &CertificateError,
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    now: UnixTime,
) -> Option<TlsFault> {
    let leaf = Certificate::from_der(leaf).ok()?;
    let between = || between.iter().take(LOOKED_AT).filter_map(|one| Certificate::from_der(one).ok());
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let bits = short_key(&leaf).or_else(|| between().find_map(|one| short_key(&one)));
            bits.map(TlsFault::ShortKey)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } if end_s(&leaf) > now.as_secs() => {
            let expired = between().find(|one| end_s(one) <= now.as_secs())?;
            let name = expired.tbs_certificate().subject().to_string();
            Some(TlsFault::AuthorityExpired(name, Timestamp::from_ms(end_s(&expired).saturating_mul(1000))))
        }
        CertificateError::Other(cause) if cause.to_string() == "CaUsedAsEndEntity" => {
            let body = leaf.tbs_certificate();
            (body.issuer() != body.subject()).then_some(TlsFault::AuthorityAsServer)
        }
        _ => None,
    }
}

/// When its validity ends, in seconds since 1970.
fn end_s(certificate: &Certificate) -> u64 {
    certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs()
}

/// The number of bits of its key, if it is one of RSA and has too few.
fn short_key(certificate: &Certificate) -> Option<usize> {
    let key = certificate.tbs_certificate().subject_public_key_info();
    if !RSA_KEYS.contains(&key.algorithm.oid.to_string().as_str()) {
        return None;
    }
    let mut reader = SliceReader::new(key.subject_public_key.raw_bytes()).ok()?;
    let modulus = reader.sequence(|numbers| {
        let modulus = UintRef::decode(numbers)?.as_bytes().len();
        numbers.drain(numbers.remaining_len())?;
        Ok::<_, x509_cert::der::Error>(modulus)
    });
    modulus.ok().map(|bytes| bytes * 8).filter(|bits| *bits < RSA_BITS_MIN)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::crypto::ring::default_provider;

    use super::*;
    use crate::delivery::send::tls::error as tls_error;

    #[test]
    fn an_expired_authority_between_is_named_and_not_the_certificate_itself() {
        let authority = |name: &str, change: &dyn Fn(&mut CertificateParams)| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            change(&mut params);
            (params, KeyPair::generate().unwrap())
        };
        let (root, root_key) = authority("Root", &|_| {});
        let (between, between_key) = authority("Between", &|params| params.not_after = date_time_ymd(2020, 1, 1));
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["crm.example".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::from_params(&between, &between_key)).unwrap();
        let between = between.signed_by(&between_key, &Issuer::from_params(&root, &root_key)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.self_signed(&root_key).unwrap().der().clone()).unwrap();
        let verifier = Verifier::new(roots, &Arc::new(default_provider())).unwrap();
        let name = ServerName::try_from("crm.example").unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_hours(500_000));
        let refused = verifier.verify_server_cert(leaf.der(), &[between.der().clone()], &name, &[], now).unwrap_err();
        let words = tls_error::of(&refused).in_words();
        assert!(words.contains("(CN=Between") && words.contains("has expired on 2020-01-01; "), "{words}");
    }
}
