//! A text that is never shown: a password, a token, the value of a header. Pure; any thread. It has no `Display`, its
//! `Debug` hides it, and it is wiped from memory at its end.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// What stands for a secret in an answer, and in a request for the stored one.
    pub const SHOWN: &str = "set";
    /// What stands for it in a request that is shown.
    pub const REDACTED: &str = "redacted";

    /// From the text itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text, for the request and for the store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(hidden)")
    }
}
