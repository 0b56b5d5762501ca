//! The text of an API key, and its hash. The text exists only from its creation to the one response that shows it; after
//! that only its hash. Pure; any thread.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A key's text. Zeroized when dropped; has no `Display`.
pub struct KeyText(Zeroizing<String>);

/// SHA-256 of a key's text. 160 random bits need no slow hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

const KEY_PREFIX: &str = "tc_live_";
const KEY_DIGITS: usize = 40;
const VISIBLE_CHARS: usize = 12;
const SHOWN_DIGITS: usize = VISIBLE_CHARS - KEY_PREFIX.len();

impl KeyText {
    /// A key of 20 random bytes.
    #[must_use]
    pub fn from_random(bytes: &[u8; 20]) -> Self {
        Self(Zeroizing::new(format!("{KEY_PREFIX}{}", hex::encode(bytes))))
    }

    /// The text, for the one response that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The prefix that lists show.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.0.chars().take(VISIBLE_CHARS).collect()
    }

    /// The hash, which is what is stored.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl KeyHash {
    /// The hash of a text presented as a key.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The bytes, for the store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(hidden)")
    }
}

/// Whether the text has the form of a key.
#[must_use]
pub fn is_key_shaped(text: &str) -> bool {
    text.strip_prefix(KEY_PREFIX).is_some_and(|digits| {
        digits.len() == KEY_DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The text with every key in it cut to the prefix that lists show.
#[must_use]
pub fn without_keys(text: &str) -> Cow<'_, str> {
    let mut parts = text.split(KEY_PREFIX);
    let first = parts.next().unwrap_or_default();
    let mut shown = Cow::Borrowed(first);
    for part in parts {
        let rest = part.trim_start_matches(|character: char| character.is_ascii_alphanumeric());
        let digits = part.get(..part.len() - rest.len()).unwrap_or_default();
        let shown = shown.to_mut();
        shown.push_str(KEY_PREFIX);
        shown.push_str(digits.get(..SHOWN_DIGITS).unwrap_or(digits));
        if digits.len() > SHOWN_DIGITS {
            shown.push('…');
        }
        shown.push_str(rest);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_published_shape_and_hides_its_text() {
        let key = KeyText::from_random(&[0xa1; 20]);
        assert!(is_key_shaped(key.expose()));
        assert_eq!(key.prefix(), "tc_live_a1a1");
        assert!(!format!("{key:?}").contains("a1a1"));
        assert!(key.hash().matches(&KeyHash::of(key.expose())));
        assert!(!is_key_shaped("tc_live_A1"));
    }

    #[test]
    fn no_text_shows_more_of_a_key_than_its_beginning() {
        let key = format!("{KEY_PREFIX}{}", "a1b2".repeat(10));
        let text = format!("POST /{key}/x answered 404: {key}");
        assert_eq!(without_keys(&text), "POST /tc_live_a1b2…/x answered 404: tc_live_a1b2…");
        for same in ["", "key 3 (tc_live_a1b2) made", "tc_live_", "tc_live_é"] {
            assert_eq!(without_keys(same), same);
        }
    }
}
