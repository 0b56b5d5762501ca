//! Signing secrets and the two signatures of every delivery. Pure; any thread. A secret is never shown: the type has no
//! `Display`, and its `Debug` hides the text.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A subscription's secret: 64 lower-case hexadecimal characters, or the 16 to 128 visible ASCII characters that its owner
/// gave.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Zeroizing<String>);

/// Both signatures of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// HMAC-SHA256 of the body under the secret's text, for `X-TempClock-Signature`.
    pub tempclock: [u8; 32],
    /// HMAC-SHA256 of `id.timestamp.body` under the secret read as base64, for `webhook-signature`.
    pub standard: [u8; 32],
}

impl SigningSecret {
    /// The secret shown in examples; never generated.
    pub const EXAMPLE: &str = "6f1d0c5b2a4e83977e6b5d4c3b2a190817f6e5d4c3b2a1908f7e6d5c4b3a2918";

    /// A secret of 32 random bytes.
    #[must_use]
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(hex::encode(bytes)))
    }

    /// What a secret has to be, in words.
    pub const WANTED: &str = "must be 16 to 128 visible ASCII characters, without spaces";
    /// Fewer characters are taken and warned of.
    pub const SAFE_CHARS: usize = 24;

    /// Parses a secret that its owner gave, or that was shown or stored before.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_secret = (16..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_secret.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// Whether it may be guessed.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.len() < Self::SAFE_CHARS
    }

    /// The text, for the one response that shows it and for the store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Signs a body in both ways. `id` is the value of `webhook-id`.
    #[must_use]
    pub fn sign(&self, id: impl fmt::Display, timestamp_s: u64, body: &[u8]) -> Signatures {
        let prefix = standard_prefix(id, timestamp_s);
        Signatures { tempclock: self.sign_tempclock(body), standard: self.sign_standard(&prefix, body) }
    }

    /// HMAC-SHA256 of the body under the secret's text.
    #[must_use]
    pub fn sign_tempclock(&self, body: &[u8]) -> [u8; 32] {
        hmac(self.0.as_bytes(), &[body])
    }

    /// HMAC-SHA256 of prefix and body under the key that the libraries of Standard Webhooks make of the secret.
    #[must_use]
    pub fn sign_standard(&self, prefix: &str, body: &[u8]) -> [u8; 32] {
        hmac(&self.standard_key(), &[prefix.as_bytes(), body])
    }

    /// The secret without `whsec_` read as base64, where that gives 24 to 64 bytes, else the bytes of its whole text. Of 64
    /// hexadecimal characters that is 48 bytes.
    #[must_use]
    pub fn standard_key(&self) -> Zeroizing<Vec<u8>> {
        let encoded = self.0.strip_prefix("whsec_").unwrap_or(&self.0);
        match STANDARD.decode(encoded) {
            Ok(key) if (24..=64).contains(&key.len()) => Zeroizing::new(key),
            _ => Zeroizing::new(self.0.as_bytes().to_vec()),
        }
    }
}

/// What is signed before the body in `webhook-signature`.
#[must_use]
pub fn standard_prefix(id: impl fmt::Display, timestamp_s: u64) -> String {
    let mut prefix = String::with_capacity(64);
    // Writing to a string cannot fail.
    let _ = write!(prefix, "{id}.{timestamp_s}.");
    prefix
}

/// HMAC-SHA256 of the parts, one after the other.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length, so this cannot fail; an all-zero signature would never verify.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl Signatures {
    /// For an attempt that was never sent.
    pub const NONE: Self = Self { tempclock: [0; 32], standard: [0; 32] };

    /// The value of `X-TempClock-Signature`.
    #[must_use]
    pub fn tempclock_header(&self) -> impl fmt::Display {
        tempclock_text(self.tempclock)
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn standard_header(&self) -> impl fmt::Display {
        standard_text(&self.standard)
    }
}

/// A signature as `X-TempClock-Signature` has it.
#[must_use]
pub fn tempclock_text(mac: [u8; 32]) -> impl fmt::Display {
    let mut digits = [0; 64];
    // Twice as many digits as bytes, so that it cannot fail.
    let _ = hex::encode_to_slice(mac, &mut digits);
    fmt::from_fn(move |f| f.write_str(str::from_utf8(&digits).unwrap_or_default()))
}

/// A signature as `webhook-signature` has it.
#[must_use]
pub fn standard_text(mac: &[u8; 32]) -> impl fmt::Display {
    fmt::from_fn(|f| write!(f, "v1,{}", Base64Display::new(mac, &STANDARD)))
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EventId;

    #[test]
    fn the_signature_is_that_of_rfc_4231_case_2() {
        assert_eq!(
            hex::encode(hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_secret_never_shows_in_debug_text() {
        let secret = SigningSecret::from_random(&[0xab; 32]);
        assert!(!format!("{secret:?}").contains("abab"));
        assert_eq!(SigningSecret::parse(secret.expose()).as_ref(), Some(&secret));
        assert!(SigningSecret::parse("AB").is_none());
    }

    #[test]
    fn a_given_secret_is_read_as_the_libraries_of_standard_webhooks_read_it() {
        let key = |text: &str| SigningSecret::parse(text).unwrap().standard_key().to_vec();
        let bytes: Vec<u8> = (0..24).collect();
        let encoded = STANDARD.encode(&bytes);
        assert_eq!(key(&encoded), bytes);
        assert_eq!(key(&format!("whsec_{encoded}")), bytes);
        assert_eq!(key(&STANDARD.encode([7; 64])), [7; 64]);
        // Too few or too many bytes, or no base64 at all: the text as it is.
        for text in ["whsec_MTIzNDU2Nzg5MA==", "1234567890123456", "not-base64-at-all!", &STANDARD.encode([7; 65])] {
            assert_eq!(key(text), text.as_bytes());
        }
        for wrong in ["123456789012345", "1234567890 123456", "12345678901234\u{e4}", &"x".repeat(129)] {
            assert!(SigningSecret::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn each_part_of_what_is_signed_changes_the_standard_signature() {
        let secret = SigningSecret::from_random(&[1; 32]);
        let base = secret.sign(EventId(1), 10, b"body");
        assert_ne!(base.standard, secret.sign(EventId(2), 10, b"body").standard);
        assert_ne!(base.standard, secret.sign(EventId(1), 11, b"body").standard);
        assert_ne!(base.standard, secret.sign(EventId(1), 10, b"bodz").standard);
        assert_eq!(base.tempclock, secret.sign(EventId(2), 11, b"body").tempclock);
    }
}
