//! The signatures of certificates that deliveries verify: those of rustls with ring, and what ring itself lacks or rustls
//! does not offer of it: ECDSA with SHA-512, P-521, and RSA keys that are for PSS alone. Built once; pure after that.
//!
//! Verification only, over public data, so nothing here has to run in constant time.

use std::fmt;
use std::sync::LazyLock;

use p521::ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::signature::{self, UnparsedPublicKey};
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// An algorithm, as a key and a signature of their own name it.
struct Algorithm {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    verify: Verify,
}

/// Is this, of a key, a message and a signature, a right one? `None` is no.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Algorithm").field("key", &self.key).field("signature", &self.signature).finish_non_exhaustive()
    }
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        (self.verify)(key, message, signature).ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

/// A function that verifies ECDSA on one curve with one hash.
macro_rules! ecdsa {
    ($curve:ident, $hash:ty) => {
        |key, message, signature| {
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
            let signature = $curve::ecdsa::Signature::from_der(signature).ok()?;
            key.verify_prehash(&padded(&<$hash>::digest(message)), &signature).ok()
        }
    };
}

/// The crate refuses a hash that is shorter than half of the curve's numbers, so P-521 with SHA-256 needs zeros in front,
/// which change no number.
fn padded(hash: &[u8]) -> Vec<u8> {
    let is_short = hash.len() == 32;
    let mut padded = vec![0; if is_short { 2 } else { 0 }];
    padded.extend_from_slice(hash);
    padded
}

/// Verifies with ring, which knows the arithmetic and not the name of the key.
macro_rules! rsa_pss {
    ($algorithm:ident) => {
        |key, message, signature| UnparsedPublicKey::new(&signature::$algorithm, key).verify(message, signature).ok()
    };
}

/// An RSA key that is for PSS, with any hash: `id-RSASSA-PSS` without parameters (RFC 4055).
const PSS_KEY: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a]);

static P256_SHA512: Algorithm =
    Algorithm { key: alg_id::ECDSA_P256, signature: alg_id::ECDSA_SHA512, verify: ecdsa!(p256, Sha512) };
static P384_SHA512: Algorithm =
    Algorithm { key: alg_id::ECDSA_P384, signature: alg_id::ECDSA_SHA512, verify: ecdsa!(p384, Sha512) };
static P521_SHA256: Algorithm =
    Algorithm { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA256, verify: ecdsa!(p521, Sha256) };
static P521_SHA384: Algorithm =
    Algorithm { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA384, verify: ecdsa!(p521, Sha384) };
static P521_SHA512: Algorithm =
    Algorithm { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA512, verify: ecdsa!(p521, Sha512) };

/// For each hash the key for PSS with any hash, then the key for this one alone.
static PSS_SHA256: [Algorithm; 2] = [
    Algorithm { key: PSS_KEY, signature: alg_id::RSA_PSS_SHA256, verify: rsa_pss!(RSA_PSS_2048_8192_SHA256) },
    Algorithm {
        key: alg_id::RSA_PSS_SHA256,
        signature: alg_id::RSA_PSS_SHA256,
        verify: rsa_pss!(RSA_PSS_2048_8192_SHA256),
    },
];
static PSS_SHA384: [Algorithm; 2] = [
    Algorithm { key: PSS_KEY, signature: alg_id::RSA_PSS_SHA384, verify: rsa_pss!(RSA_PSS_2048_8192_SHA384) },
    Algorithm {
        key: alg_id::RSA_PSS_SHA384,
        signature: alg_id::RSA_PSS_SHA384,
        verify: rsa_pss!(RSA_PSS_2048_8192_SHA384),
    },
];
static PSS_SHA512: [Algorithm; 2] = [
    Algorithm { key: PSS_KEY, signature: alg_id::RSA_PSS_SHA512, verify: rsa_pss!(RSA_PSS_2048_8192_SHA512) },
    Algorithm {
        key: alg_id::RSA_PSS_SHA512,
        signature: alg_id::RSA_PSS_SHA512,
        verify: rsa_pss!(RSA_PSS_2048_8192_SHA512),
    },
];

/// The schemes of TLS for keys that are for PSS alone (`rsa_pss_pss_*`, RFC 8446), which rustls has no names for.
const PSS_KEY_SHA256: SignatureScheme = SignatureScheme::Unknown(0x0809);
const PSS_KEY_SHA384: SignatureScheme = SignatureScheme::Unknown(0x080a);
const PSS_KEY_SHA512: SignatureScheme = SignatureScheme::Unknown(0x080b);

type Verifiers = &'static [&'static dyn SignatureVerificationAlgorithm];

/// What rustls lacks.
static FURTHER: [&dyn SignatureVerificationAlgorithm; 11] = [
    &P256_SHA512,
    &P384_SHA512,
    &P521_SHA512,
    &P521_SHA384,
    &P521_SHA256,
    &PSS_SHA256[0],
    &PSS_SHA256[1],
    &PSS_SHA384[0],
    &PSS_SHA384[1],
    &PSS_SHA512[0],
    &PSS_SHA512[1],
];
/// In TLS 1.3 the scheme names the curve, and the first counts; in 1.2 each may be meant.
static FURTHER_SCHEMES: [(SignatureScheme, Verifiers); 4] = [
    (SignatureScheme::ECDSA_NISTP521_SHA512, &[&P521_SHA512, &P384_SHA512, &P256_SHA512]),
    (PSS_KEY_SHA256, &[&PSS_SHA256[0]]),
    (PSS_KEY_SHA384, &[&PSS_SHA384[0]]),
    (PSS_KEY_SHA512, &[&PSS_SHA512[0]]),
];

static SUPPORTED: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| {
    let of_ring = default_provider().signature_verification_algorithms;
    // For as long as the process runs: rustls takes nothing shorter.
    WebPkiSupportedAlgorithms {
        all: [of_ring.all, &FURTHER].concat().leak(),
        mapping: [of_ring.mapping, &FURTHER_SCHEMES].concat().leak(),
    }
});

/// RSA keys that are for PSS with one hash alone. rustls tries one algorithm for a scheme in TLS 1.3, so these are tried
/// after [`supported`].
pub(in crate::delivery) static PSS_WITH_ONE_HASH: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[],
    mapping: &[
        (PSS_KEY_SHA256, &[&PSS_SHA256[1]]),
        (PSS_KEY_SHA384, &[&PSS_SHA384[1]]),
        (PSS_KEY_SHA512, &[&PSS_SHA512[1]]),
    ],
};

/// All signatures that are verified.
pub(in crate::delivery) fn supported() -> WebPkiSupportedAlgorithms {
    *SUPPORTED
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;

    use super::*;

    #[test]
    fn every_public_root_can_verify_a_chain() {
        for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            let mut store = RootCertStore::empty();
            store.add(root.clone()).unwrap();
            let key = store.roots[0].subject_public_key_info.as_ref();
            // The key begins with its algorithm, a sequence.
            let is_of = |algorithm: &&dyn SignatureVerificationAlgorithm| {
                let name = algorithm.public_key_alg_id();
                key.starts_with(&[&[0x30, u8::try_from(name.len()).unwrap()], name.as_ref()].concat())
            };
            assert!(supported().all.iter().any(is_of), "{:?}", store.roots[0].subject);
        }
    }
}
