//! Encryption of signing secrets at rest: the key, where it comes from, and the stored form of secrets. Used when
//! opening the store and by the writer; never puts a key or a secret into any text.
//!
//! XChaCha20-Poly1305 with a random 24-byte nonce each time, bound to the subscription's number, so that a secret that
//! was moved to another row does not decrypt.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::domain::SubscriptionId;
use crate::storage::error::{KeyFileError, StorageError};

pub(in crate::storage) const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// No form of a key is longer; a larger file holds something else.
const FILE_BYTES: u64 = 1024;
/// Bits of a file's mode that let everybody read it.
const OTHERS: u32 = 0o007;

/// What secrets are encrypted with: a key, or nothing.
#[derive(Clone)]
pub struct Seal(Option<Arc<Sealing>>);

struct Sealing {
    cipher: XChaCha20Poly1305,
    check: u128,
}

impl Seal {
    /// Secrets are stored unencrypted.
    pub const NONE: Self = Self(None);

    /// Secrets are encrypted with the key in that file, if one is named.
    pub fn from_file(path: Option<&Path>) -> Result<Self, KeyFileError> {
        let Some(path) = path else { return Ok(Self::NONE) };
        let unreadable = KeyFileError::Unreadable;
        let found = fs::metadata(path).map_err(unreadable)?;
        // Opening a pipe would block until something writes to it.
        if !found.is_file() || found.len() > FILE_BYTES {
            return Err(KeyFileError::NotAKey);
        }
        if found.permissions().mode() & OTHERS != 0 {
            log::warn!("{} can be read by all users of this machine; run chmod 600 on it", path.display());
        }
        let bytes = Zeroizing::new(fs::read(path).map_err(unreadable)?);
        let key = parse_key(&bytes).ok_or(KeyFileError::NotAKey)?;
        Ok(Self::with(&key))
    }

    /// With that key.
    pub(in crate::storage) fn with(key: &[u8; KEY_BYTES]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"tempclock-webhooks encryption key check");
        hash.update(key);
        let digest: [u8; 32] = hash.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(digest.split_at(16).0);
        let cipher = XChaCha20Poly1305::new(&Key::from(*key));
        Self(Some(Arc::new(Sealing { cipher, check: u128::from_le_bytes(half) })))
    }

    /// A number that identifies this key without revealing it; kept in the store.
    #[must_use]
    pub fn check(&self) -> Option<u128> {
        self.0.as_ref().map(|sealing| sealing.check)
    }

    /// The stored form of a subscription's secrets.
    pub(in crate::storage) fn encrypt(
        &self,
        id: SubscriptionId,
        secrets: Zeroizing<Vec<u8>>,
    ) -> Result<StoredSecrets, StorageError> {
        let Some(sealing) = &self.0 else { return Ok(StoredSecrets { nonce: None, bytes: secrets }) };
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| StorageError::Randomness(error.to_string()))?;
        let bound = bound_to(id);
        let payload = Payload { msg: &secrets, aad: &bound };
        let sealed = sealing.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| StorageError::Codec("a signing secret cannot be encrypted".to_owned()))?;
        Ok(StoredSecrets { nonce: Some(nonce), bytes: Zeroizing::new(sealed) })
    }

    /// Decrypts a subscription's stored secrets.
    pub(in crate::storage) fn open(
        &self,
        id: SubscriptionId,
        stored: StoredSecrets,
    ) -> Result<Zeroizing<Vec<u8>>, StorageError> {
        let Some(nonce) = stored.nonce else { return Ok(stored.bytes) };
        let wrong =
            || StorageError::Codec(format!("the secret of subscription {id} cannot be decrypted with this key"));
        let sealing = self.0.as_ref().ok_or_else(wrong)?;
        let bound = bound_to(id);
        let payload = Payload { msg: &stored.bytes, aad: &bound };
        sealing.cipher.decrypt(&XNonce::from(nonce), payload).map(Zeroizing::new).map_err(|_| wrong())
    }

    /// Something that is stored under that name for a short time: the nonce and the sealed bytes, or the bytes as they are if
    /// there is no key.
    pub(in crate::storage) fn seal_text(&self, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, StorageError> {
        let Some(sealing) = &self.0 else { return Ok(bytes) };
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| StorageError::Randomness(error.to_string()))?;
        let sealed = sealing.cipher.encrypt(&XNonce::from(nonce), Payload { msg: &bytes, aad: name.as_bytes() });
        let sealed = sealed.map_err(|_| StorageError::Codec(format!("{name} cannot be encrypted")))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The same as it was before.
    pub(in crate::storage) fn open_text(&self, name: &str, stored: Vec<u8>) -> Result<Vec<u8>, StorageError> {
        let Some(sealing) = &self.0 else { return Ok(stored) };
        let wrong = || StorageError::Codec(format!("{name} cannot be decrypted with this key"));
        let (nonce, sealed) = stored.split_first_chunk::<NONCE_BYTES>().ok_or_else(wrong)?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        sealing.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| wrong())
    }

    /// A key of equal bytes.
    #[cfg(test)]
    pub(in crate::storage) fn for_test(byte: u8) -> Self {
        Self::with(&[byte; KEY_BYTES])
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Seal(hidden)" } else { "Seal(none)" })
    }
}

fn bound_to(id: SubscriptionId) -> Vec<u8> {
    format!("tempclock-webhooks signing secret of subscription {id}").into_bytes()
}

/// Secrets in their stored form.
pub(in crate::storage) struct StoredSecrets {
    /// Never the same twice; none if they are unencrypted.
    pub nonce: Option<[u8; NONCE_BYTES]>,
    /// The secrets, encrypted with their tag or as they are.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Generates a key as text, for a file.
pub fn new_key() -> Result<Zeroizing<String>, StorageError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(key.as_mut()).map_err(|error| StorageError::Randomness(error.to_string()))?;
    Ok(Zeroizing::new(format!("{}\n", hex::encode(*key))))
}

/// Hexadecimal, base64 or the bytes themselves, as `openssl rand` makes them with and without `-hex` or `-base64`.
fn parse_key(bytes: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let text = bytes.trim_ascii();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if bytes.len() == KEY_BYTES {
        key.copy_from_slice(bytes);
        return Some(key);
    }
    if hex::decode_to_slice(text, key.as_mut()).is_ok() {
        return Some(key);
    }
    let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
    (decoded.len() == KEY_BYTES).then(|| {
        key.copy_from_slice(&decoded);
        key
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SubscriptionId = SubscriptionId(7);

    const SECRET: &[u8] = b"abababababababababababababababab";

    fn sealed(seal: &Seal) -> StoredSecrets {
        seal.encrypt(ID, Zeroizing::new(SECRET.to_vec())).unwrap()
    }

    #[test]
    fn a_sealed_secret_opens_with_its_key_and_in_its_row_alone() {
        let seal = Seal::with(&[1; 32]);
        let StoredSecrets { nonce, bytes } = sealed(&seal);
        assert!(!bytes.windows(8).any(|window| SECRET.starts_with(window)));
        let stored = || StoredSecrets { nonce, bytes: bytes.clone() };
        assert_eq!(seal.open(ID, stored()).unwrap().as_slice(), SECRET);
        assert!(seal.open(SubscriptionId(8), stored()).is_err());
        assert!(Seal::with(&[2; 32]).open(ID, stored()).is_err());
        assert!(Seal::NONE.open(ID, stored()).is_err());
    }

    #[test]
    fn one_flipped_bit_is_noticed() {
        let seal = Seal::with(&[1; 32]);
        let StoredSecrets { nonce, bytes } = sealed(&seal);
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            assert!(seal.open(ID, StoredSecrets { nonce, bytes: flipped }).is_err());
        }
    }

    #[test]
    fn what_is_sealed_under_a_name_opens_under_that_name_and_with_that_key_alone() {
        let seal = Seal::with(&[1; 32]);
        let sealed = || seal.seal_text("request 1", b"Bearer of news".to_vec()).unwrap();
        assert!(!sealed().windows(6).any(|part| part == b"Bearer"));
        assert_ne!(sealed(), sealed());
        assert_eq!(seal.open_text("request 1", sealed()).unwrap(), b"Bearer of news");
        assert!(seal.open_text("request 2", sealed()).is_err());
        assert!(Seal::with(&[2; 32]).open_text("request 1", sealed()).is_err());
        assert!(seal.open_text("request 1", b"short".to_vec()).is_err());
        assert_eq!(Seal::NONE.seal_text("request 1", b"plain".to_vec()).unwrap(), b"plain");
    }

    #[test]
    fn the_same_secret_is_never_sealed_the_same_twice() {
        let seal = Seal::with(&[1; 32]);
        let (one, other) = (sealed(&seal), sealed(&seal));
        assert!(one.nonce != other.nonce && one.bytes != other.bytes);
    }

    #[test]
    fn a_key_can_be_written_in_hexadecimal_in_base64_or_as_it_is() {
        let key = [0xa7; 32];
        for written in [key.to_vec(), format!("{}\n", hex::encode(key)).into(), STANDARD.encode(key).into()] {
            assert_eq!(*parse_key(&written).unwrap(), key);
        }
        for bad in
            ["", "abc", &hex::encode([0; 31]), &hex::encode([0; 33]), "not a key at all, but long enough to be one"]
        {
            assert!(parse_key(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(parse_key(new_key().unwrap().as_bytes()).is_some());
    }

    #[test]
    fn no_debug_text_shows_a_key() {
        assert_eq!(format!("{:?}", Seal::with(&[1; 32])), "Seal(hidden)");
    }
}
