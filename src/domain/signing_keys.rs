//! All that a subscription signs with: its secret, earlier secrets that a rotation keeps valid for a while, and a key pair
//! for Ed25519. Pure; any thread. Nothing of it is ever shown but the public key.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign_byupdate};
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use crate::domain::Timestamp;
use crate::domain::options::names::Names;
use crate::domain::options::signatures::SignatureKinds;
use crate::domain::signing::{SigningSecret, standard_prefix, standard_text, tempclock_text};

/// The most secrets that are valid at the same time.
pub const VALID_MAX: usize = 10;

/// What a subscription signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeys {
    /// The newest secret.
    pub secret: SigningSecret,
    /// Earlier ones that are still valid, newest first.
    pub previous: Vec<PreviousSecret>,
    /// The key pair, once it was asked for.
    pub ed25519: Option<Ed25519Key>,
}

/// An earlier secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// The secret.
    pub secret: SigningSecret,
    /// Until when deliveries are signed with it too, by the wall clock.
    pub valid_until: Timestamp,
}

impl SigningKeys {
    /// A secret alone.
    #[must_use]
    pub fn of(secret: SigningSecret) -> Self {
        Self { secret, previous: Vec::new(), ed25519: None }
    }

    /// With another secret, beside which the present one is valid until then; without any earlier one if that is not in
    /// the future.
    #[must_use]
    pub fn rotated(self, secret: SigningSecret, valid_until: Timestamp, now: Timestamp) -> Self {
        let Self { secret: before, previous, ed25519 } = self.without_ended(now);
        if valid_until <= now {
            return Self { secret, previous: Vec::new(), ed25519 };
        }
        let before = PreviousSecret { secret: before, valid_until };
        let previous = std::iter::once(before).chain(previous).take(VALID_MAX - 1).collect();
        Self { secret, previous, ed25519 }
    }

    /// Without the earlier secrets that are no longer valid.
    #[must_use]
    pub fn without_ended(mut self, now: Timestamp) -> Self {
        self.previous.retain(|previous| now < previous.valid_until);
        self
    }

    /// Whether an earlier secret is kept that is no longer valid.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.previous.iter().any(|previous| previous.valid_until <= now)
    }

    /// The valid secrets, newest first.
    pub fn valid(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        let previous = self.previous.iter().filter(move |previous| now < previous.valid_until);
        std::iter::once(&self.secret).chain(previous.map(|previous| &previous.secret))
    }

    /// The oldest valid one: a receiver that knows one secret alone knows that one longest.
    #[must_use]
    pub fn oldest_valid(&self, now: Timestamp) -> &SigningSecret {
        self.valid(now).last().unwrap_or(&self.secret)
    }

    /// The header of the body's signature under its name; none if its name is empty or it is not to be sent.
    #[must_use]
    pub fn body_signature<'a>(
        &self,
        names: &'a Names,
        kinds: SignatureKinds,
        now: Timestamp,
        body: &[u8],
    ) -> Option<(&'a str, String)> {
        let is_sent = kinds.tempclock && !names.signature.is_empty();
        is_sent.then(|| {
            let digits = tempclock_text(self.oldest_valid(now).sign_tempclock(body));
            (names.signature.as_str(), format!("{}{digits}", names.signature_prefix))
        })
    }

    /// The headers `webhook-id` and `webhook-timestamp`, and the signature that covers them if one is to be sent.
    #[must_use]
    pub fn standard_headers(
        &self,
        kinds: SignatureKinds,
        id: impl fmt::Display,
        now: Timestamp,
        body: &[u8],
    ) -> Vec<(&'static str, String)> {
        let prefix = standard_prefix(&id, now.as_seconds());
        let mut signatures = Vec::new();
        if kinds.standard {
            let valid = self.valid(now);
            signatures.extend(valid.map(|secret| standard_text(&secret.sign_standard(&prefix, body)).to_string()));
        }
        if kinds.ed25519 {
            signatures.extend(self.ed25519.as_ref().map(|key| key.sign(&prefix, body)));
        }
        let mut headers = vec![("webhook-id", id.to_string()), ("webhook-timestamp", now.as_seconds().to_string())];
        if !signatures.is_empty() {
            headers.push(("webhook-signature", signatures.join(" ")));
        }
        headers
    }
}

/// A key pair for Ed25519.
#[derive(Clone)]
pub struct Ed25519Key {
    seed: Zeroizing<[u8; 32]>,
    /// What each signature needs of the seed, made of it once.
    pair: Arc<(ExpandedSecretKey, VerifyingKey)>,
}

impl Ed25519Key {
    /// The key pair of a seed of random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let public = SigningKey::from_bytes(seed).verifying_key();
        Self { seed: Zeroizing::new(*seed), pair: Arc::new((ExpandedSecretKey::from(seed), public)) }
    }

    /// Parses a private key as Standard Webhooks writes it: `whsk_` and base64 of the seed, with or without the public key
    /// behind it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text.strip_prefix("whsk_")?).ok()?);
        let seed = bytes.first_chunk().filter(|_| matches!(bytes.len(), 32 | 64))?;
        Some(Self::from_seed(seed))
    }

    /// The seed, for the store.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public key as Standard Webhooks writes it: `whpk_` and base64.
    #[must_use]
    pub fn public_key(&self) -> String {
        format!("whpk_{}", STANDARD.encode(self.pair.1.as_bytes()))
    }

    /// The signature as `webhook-signature` has it: `v1a,` and base64.
    #[must_use]
    pub fn sign(&self, prefix: &str, body: &[u8]) -> String {
        let message = |hash: &mut Sha512| {
            hash.update(prefix);
            hash.update(body);
            Ok(())
        };
        // Only the message could fail, and it does not; an all-zero signature would never verify.
        let (secret, public) = &*self.pair;
        let signature = raw_sign_byupdate(secret, message, public)
            .map_or([0; Signature::BYTE_SIZE], |signature| signature.to_bytes());
        format!("v1a,{}", STANDARD.encode(signature))
    }
}

/// The public half of such a key pair, which a receiver has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ed25519PublicKey([u8; 32]);

impl Ed25519PublicKey {
    /// Parses what [`Ed25519Key::public_key`] returns.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text.strip_prefix("whpk_")?).ok()?.try_into().ok().map(Self)
    }

    /// Whether a signature, without `v1a,`, is the key's for prefix and body.
    #[must_use]
    pub fn verifies(&self, signature: &[u8], prefix: &[u8], body: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(&self.0), Signature::from_slice(signature)) else {
            return false;
        };
        key.verify_strict(&[prefix, body].concat(), &signature).is_ok()
    }
}

impl PartialEq for Ed25519Key {
    fn eq(&self, other: &Self) -> bool {
        self.seed == other.seed
    }
}

impl Eq for Ed25519Key {}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519Key(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ed25519_signature_is_that_of_rfc_8032_test_3() {
        let bytes = |digits: &str| hex::decode(digits).unwrap();
        let seed = bytes("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
        let key = Ed25519Key::from_seed(&seed.try_into().unwrap());
        let public = bytes("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        assert_eq!(key.public_key(), format!("whpk_{}", STANDARD.encode(public)));
        let signature = bytes(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        );
        assert_eq!(key.sign("", &[0xaf, 0x82]), format!("v1a,{}", STANDARD.encode(signature)));
    }

    #[test]
    fn what_the_key_pair_signs_its_public_key_verifies() {
        let key = Ed25519Key::from_seed(&[7; 32]);
        let public = Ed25519PublicKey::parse(&key.public_key()).unwrap();
        let signature = STANDARD.decode(key.sign("evt_1.5.", b"body").strip_prefix("v1a,").unwrap()).unwrap();
        assert!(public.verifies(&signature, b"evt_1.5.", b"body"));
        assert!(!public.verifies(&signature, b"evt_1.6.", b"body"));
        assert!(!public.verifies(b"", b"evt_1.5.", b"body"));
        assert_eq!(format!("{key:?}"), "Ed25519Key(hidden)");
    }

    #[test]
    fn a_private_key_is_read_with_and_without_its_public_key() {
        let key = Ed25519Key::from_seed(&[7; 32]);
        let public = STANDARD.decode(key.public_key().strip_prefix("whpk_").unwrap()).unwrap();
        for bytes in [vec![7; 32], [&[7; 32][..], &public].concat()] {
            assert_eq!(Ed25519Key::parse(&format!("whsk_{}", STANDARD.encode(bytes))), Some(key.clone()));
        }
        for wrong in ["", "whsk_", "whsk_!", &STANDARD.encode([7; 32]), &format!("whsk_{}", STANDARD.encode([7; 33]))] {
            assert_eq!(Ed25519Key::parse(wrong), None, "{wrong}");
            assert_eq!(Ed25519PublicKey::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn earlier_secrets_are_valid_until_their_time() {
        let secret = |byte| SigningSecret::from_random(&[byte; 32]);
        let previous = |byte, ms| PreviousSecret { secret: secret(byte), valid_until: Timestamp::from_ms(ms) };
        let keys = SigningKeys { previous: vec![previous(2, 20), previous(1, 10)], ..SigningKeys::of(secret(3)) };
        let valid = |ms| keys.valid(Timestamp::from_ms(ms)).cloned().collect::<Vec<_>>();
        assert_eq!(valid(9), [secret(3), secret(2), secret(1)]);
        assert_eq!(valid(10), [secret(3), secret(2)]);
        assert_eq!(valid(20), [secret(3)]);
        assert_eq!(*keys.oldest_valid(Timestamp::from_ms(9)), secret(1));
        assert!(keys.has_ended(Timestamp::from_ms(10)) && !keys.has_ended(Timestamp::from_ms(9)));
        assert_eq!(keys.without_ended(Timestamp::from_ms(10)).previous, [previous(2, 20)]);
    }

    #[test]
    fn a_rotation_keeps_the_newest_ten_or_none_at_all() {
        let secret = |byte| SigningSecret::from_random(&[byte; 32]);
        let (now, later) = (Timestamp::from_ms(5), Timestamp::from_ms(50));
        let mut keys = SigningKeys::of(secret(0));
        for byte in 1..=12 {
            keys = keys.rotated(secret(byte), later, now);
        }
        assert_eq!(keys.valid(now).cloned().collect::<Vec<_>>(), (3..=12).rev().map(secret).collect::<Vec<_>>());
        let alone = keys.rotated(secret(13), now, now);
        assert_eq!(alone, SigningKeys::of(secret(13)));
    }
}
