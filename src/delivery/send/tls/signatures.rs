//! The signatures of certificates that deliveries verify: those of rustls with ring, and what ring itself lacks or rustls
//! does not offer of it: ECDSA with SHA-512, P-521, RSA keys that are for PSS alone, and RSA-PSS with the longest salt.
//! Built once; pure after that.
//!
//! Verification only, over public data, so nothing here has to run in constant time.

use std::fmt;
use std::sync::LazyLock;

use p521::ecdsa::signature::Verifier as _;
use p521::ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::signature::{self, UnparsedPublicKey};
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pss;
use rsa::traits::PublicKeyParts as _;
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::digest::{FixedOutputReset, Update};
use sha2::{Digest, Sha256, Sha384, Sha512};

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

/// Verifies RSA-PSS with the longest salt that the key has room for.
fn with_longest_salt<D: Digest + FixedOutputReset + Update>(
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Option<()> {
    let key = rsa::PublicKey::from_pkcs1_der(key).ok().filter(|key| key.size() >= RSA_BYTES_MIN)?;
    let salt = key.size().checked_sub(<D as Digest>::output_size() + 2)?;
    let signature = pss::Signature::try_from(signature).ok()?;
    pss::VerifyingKey::<D>::new_with_salt_len(key, salt).verify(message, &signature).ok()
}

/// Shorter keys are not accepted.
const RSA_BYTES_MIN: usize = 2048 / 8;

/// The salt of an RSA-PSS signature is as long as the hash for most who sign. OpenSSL up to 3.0 takes the longest that the
/// key has room for unless told otherwise, which makes another algorithm of each length of a key.
fn longest_salts() -> impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm> {
    let hashes: [(AlgorithmIdentifier, usize, Verify); 3] = [
        (alg_id::RSA_PSS_SHA256, 32, with_longest_salt::<Sha256>),
        (alg_id::RSA_PSS_SHA384, 48, with_longest_salt::<Sha384>),
        (alg_id::RSA_PSS_SHA512, 64, with_longest_salt::<Sha512>),
    ];
    let all = hashes.into_iter().flat_map(|hash| [2048, 3072, 4096].map(|bits| (hash, bits)));
    all.flat_map(|((same, hash_bytes, verify), bits)| {
        let signature = with_salt(same, bits / 8 - hash_bytes - 2);
        [alg_id::RSA_ENCRYPTION, PSS_KEY].map(|key| {
            let algorithm: &'static Algorithm = Box::leak(Box::new(Algorithm { key, signature, verify }));
            algorithm as &dyn SignatureVerificationAlgorithm
        })
    })
}

/// The name of RSA-PSS with that hash and a salt of so many bytes, 128 at least. The name ends with the salt's length, and
/// its parameters begin behind 11 bytes.
fn with_salt(same: AlgorithmIdentifier, salt: usize) -> AlgorithmIdentifier {
    let (mut name, [.., high, low]) = (same.as_ref().to_vec(), salt.to_be_bytes());
    name.truncate(name.len().saturating_sub(5));
    name.extend([0xa2, 4, 2, 2, high, low]);
    if let Some(length) = name.get_mut(12) {
        *length += 1;
    }
    AlgorithmIdentifier::from_slice(name.leak())
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
        all: of_ring.all.iter().chain(&FURTHER).copied().chain(longest_salts()).collect::<Vec<_>>().leak(),
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
