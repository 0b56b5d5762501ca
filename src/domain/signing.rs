//! Signing secrets and the two signatures of every delivery. Pure; any thread. A secret is never shown: the type has no
//! `Display`, and its `Debug` hides the text.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A subscription's secret: 64 lower-case hexadecimal characters.
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

    /// Parses a secret that was shown or stored before.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_secret = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_secret.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The text, for the one response that shows it and for the store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Signs a body in both ways. `id` is the value of `webhook-id`.
    #[must_use]
    pub fn sign(&self, id: impl fmt::Display, timestamp_s: u64, body: &[u8]) -> Signatures {
        // 64 hexadecimal characters are also valid base64, of 48 bytes.
        let mut standard_key = Zeroizing::new([0; 48]);
        // So it cannot fail; if it did, the signature would never verify.
        let _ = STANDARD.decode_slice(self.0.as_bytes(), standard_key.as_mut());
        let mut prefix = String::with_capacity(64);
        // Writing to a string cannot fail.
        let _ = write!(prefix, "{id}.{timestamp_s}.");
        Signatures {
            tempclock: hmac(self.0.as_bytes(), &[body]),
            standard: hmac(standard_key.as_ref(), &[prefix.as_bytes(), body]),
        }
    }
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
        let mut digits = [0; 64];
        // Twice as many digits as bytes, so that it cannot fail.
        let _ = hex::encode_to_slice(self.tempclock, &mut digits);
        fmt::from_fn(move |f| f.write_str(str::from_utf8(&digits).unwrap_or_default()))
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn standard_header(&self) -> impl fmt::Display {
        fmt::from_fn(|f| write!(f, "v1,{}", Base64Display::new(&self.standard, &STANDARD)))
    }
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
    fn each_part_of_what_is_signed_changes_the_standard_signature() {
        let secret = SigningSecret::from_random(&[1; 32]);
        let base = secret.sign(EventId(1), 10, b"body");
        assert_ne!(base.standard, secret.sign(EventId(2), 10, b"body").standard);
        assert_ne!(base.standard, secret.sign(EventId(1), 11, b"body").standard);
        assert_ne!(base.standard, secret.sign(EventId(1), 10, b"bodz").standard);
        assert_eq!(base.tempclock, secret.sign(EventId(2), 11, b"body").tempclock);
    }
}
