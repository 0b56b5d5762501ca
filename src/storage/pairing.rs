//! Keys that two servers over one database agree on, so that what they hand to each other never lies there in plain text: each
//! shows a public key in the database, and the secret ones stay in memory. If there is an encryption key, the public ones are
//! sealed with it, and nobody without it can pass for a server. Any thread; never puts a key into any text.

use std::fmt;

use p256::ecdh::diffie_hellman;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::storage::error::StorageError;
use crate::storage::sealing::{KEY_BYTES, Seal};

/// What the agreed key is for.
const PURPOSE: &[u8] = b"tempclock-webhooks relay";
/// One in four thousand million texts of this length is no key.
const TRIES: usize = 8;

/// The secret key of this process, for as long as it runs.
pub(in crate::storage) struct Pairing {
    secret: SecretKey,
    /// What the public key is sealed with.
    seal: Seal,
}

impl fmt::Debug for Pairing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pairing")
    }
}

impl Pairing {
    /// A new one.
    pub fn new(seal: &Seal) -> Result<Self, StorageError> {
        for _ in 0..TRIES {
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            getrandom::fill(&mut *bytes).map_err(|error| StorageError::Randomness(error.to_string()))?;
            if let Ok(secret) = SecretKey::from_slice(&*bytes) {
                return Ok(Self { secret, seal: seal.clone() });
            }
        }
        Err(StorageError::Randomness("none of them is a key".to_owned()))
    }

    /// What the others are shown of it, as the server of that number.
    pub fn shown(&self, node: Uuid) -> Result<Vec<u8>, StorageError> {
        let point = self.secret.public_key().to_sec1_point(true);
        self.seal.seal_text(&name(node), point.as_bytes().to_vec())
    }

    /// What is sealed for the server of that number, which shows this.
    pub fn with(&self, node: Uuid, shown: Vec<u8>) -> Result<Seal, StorageError> {
        let odd = || StorageError::Codec(format!("the {} is none", name(node)));
        let other = PublicKey::from_sec1_bytes(&self.seal.open_text(&name(node), shown)?).map_err(|_| odd())?;
        let shared = diffie_hellman(self.secret.to_nonzero_scalar(), other.as_affine());
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        shared.extract::<Sha256>(None).expand(PURPOSE, &mut *key).map_err(|_| odd())?;
        Ok(Seal::with(&key))
    }
}

fn name(node: Uuid) -> String {
    format!("public key of server {node}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(seals: [Seal; 2]) -> [Result<Seal, StorageError>; 2] {
        let [first, second] = seals.map(|seal| Pairing::new(&seal).unwrap());
        let ids = [1, 2].map(Uuid::from_u128);
        [first.with(ids[1], second.shown(ids[1]).unwrap()), second.with(ids[0], first.shown(ids[0]).unwrap())]
    }

    #[test]
    fn two_servers_agree_on_a_key_and_a_third_has_another() {
        for seal in [Seal::NONE, Seal::for_test(7)] {
            let [here, there] = pair([seal.clone(), seal.clone()]).map(Result::unwrap);
            let sealed = here.seal_text("request 1", b"Bearer of news".to_vec()).unwrap();
            assert!(!sealed.windows(6).any(|part| part == b"Bearer"));
            assert_eq!(there.open_text("request 1", sealed.clone()).unwrap(), b"Bearer of news");
            let [other, _] = pair([seal.clone(), seal]).map(Result::unwrap);
            assert!(other.open_text("request 1", sealed).is_err());
        }
    }

    #[test]
    fn whoever_lacks_the_encryption_key_passes_for_no_server() {
        for seals in [[Seal::for_test(7), Seal::NONE], [Seal::for_test(7), Seal::for_test(8)]] {
            let [here, _] = pair(seals);
            assert!(here.is_err());
        }
        let alone = Pairing::new(&Seal::for_test(7)).unwrap();
        let shown = alone.shown(Uuid::from_u128(1)).unwrap();
        assert!(alone.with(Uuid::from_u128(2), shown).is_err());
    }
}
