//! API keys and their scopes. Pure; any thread. A key's text exists only from its creation to the one response that
//! shows it; after that only its hash.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::field_error::nearest;
use super::{AccountId, KeyId, Timestamp};

/// A permission of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Read subscriptions and deliveries.
    WebhooksRead = 1,
    /// Change subscriptions, send tests, redeliver.
    WebhooksWrite = 2,
    /// Publish events.
    EventsWrite = 4,
    /// Read events.
    EventsRead = 8,
    /// Create and revoke keys.
    KeysAdmin = 16,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 5] =
        [Self::WebhooksRead, Self::WebhooksWrite, Self::EventsWrite, Self::EventsRead, Self::KeysAdmin];

    /// The name used in `--scopes` and in a 403.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WebhooksRead => "webhooks:read",
            Self::WebhooksWrite => "webhooks:write",
            Self::EventsWrite => "events:write",
            Self::EventsRead => "events:read",
            Self::KeysAdmin => "keys:admin",
        }
    }
}

/// The scopes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(u8);

const EVERY_SCOPE: u8 = 0x80;

impl Scopes {
    /// Every scope, including future ones.
    pub const EVERY: Self = Self(EVERY_SCOPE);

    /// Parses names, `*` for all; the error is a sentence that lists them.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let known = Scope::ALL.map(Scope::name);
        let mut set = 0;
        for name in names {
            if name == "*" {
                set |= EVERY_SCOPE;
                continue;
            }
            if let Some(scope) = Scope::ALL.into_iter().find(|scope| scope.name() == name) {
                set |= scope as u8;
            } else {
                let hint =
                    nearest(name, &known).map_or_else(|| ".".to_owned(), |near| format!(", did you mean \"{near}\"?"));
                return Err(format!(
                    "unknown scope \"{name}\"{hint} The scopes are {}, or * for all",
                    known.join(", ")
                ));
            }
        }
        if set == 0 {
            return Err(format!("a key needs at least one scope; scopes are {}, or * for all", known.join(", ")));
        }
        Ok(Self(set))
    }

    /// Whether the scope is included.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (EVERY_SCOPE | scope as u8) != 0
    }

    /// The names; `*` alone for all.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        if self.0 & EVERY_SCOPE != 0 {
            return vec!["*"];
        }
        Scope::ALL.into_iter().filter(|scope| self.contains(*scope)).map(Scope::name).collect()
    }
}

/// A key's text. Zeroized when dropped; has no `Display`.
pub struct KeyText(Zeroizing<String>);

/// SHA-256 of a key's text. 160 random bits need no slow hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its number.
    pub id: KeyId,
    /// Its account.
    pub account: AccountId,
    /// Its display name.
    pub name: String,
    /// The visible prefix.
    pub prefix: String,
    /// The hash of its text.
    pub hash: KeyHash,
    /// What it may do.
    pub scopes: Scopes,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Networks that it may be used from; empty: any.
    pub networks: Vec<IpNet>,
    /// Creation time.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the precision of [`USE_NOTED_EVERY`].
    pub last_used_at: Option<Timestamp>,
}

/// Precision of a key's last use.
pub const USE_NOTED_EVERY: Duration = Duration::from_hours(1);

impl ApiKey {
    /// Whether a caller from that address may use it now. A caller on the control socket has no address.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp, from: Option<IpAddr>) -> bool {
        let is_from_allowed = self.networks.is_empty()
            || from
                .is_some_and(|address| self.networks.iter().any(|network| network.contains(&address.to_canonical())));
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end) && is_from_allowed
    }

    /// When it was revoked or is to expire, whichever comes first. Nobody can use it from then on.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.revoked_at.into_iter().chain(self.expires_at).min()
    }

    /// Whether a use now has to be recorded.
    #[must_use]
    pub fn is_use_news(&self, now: Timestamp) -> bool {
        self.last_used_at.is_none_or(|last| last.plus(USE_NOTED_EVERY) <= now)
    }
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
    fn no_scope_and_an_unknown_scope_are_errors_that_list_them() {
        assert!(Scopes::parse([]).unwrap_err().contains("webhooks:read"));
        assert!(Scopes::parse(["webhook:read"]).unwrap_err().contains("did you mean \"webhooks:read\""));
        assert!(Scopes::parse(["*"]).unwrap().contains(Scope::KeysAdmin));
        assert!(!Scopes::parse(["events:write"]).unwrap().contains(Scope::EventsRead));
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

    #[test]
    fn a_key_ends_with_its_time_its_revocation_and_outside_its_networks() {
        let key = ApiKey {
            id: KeyId(1),
            account: AccountId(1),
            name: String::new(),
            prefix: String::new(),
            hash: KeyHash::of(""),
            scopes: Scopes::parse(["*"]).unwrap(),
            expires_at: Some(Timestamp::from_ms(10)),
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            created_at: Timestamp::from_ms(0),
            revoked_at: None,
            last_used_at: None,
        };
        let inside = Some("10.1.2.3".parse().unwrap());
        assert!(key.is_usable(Timestamp::from_ms(9), inside));
        assert!(key.is_usable(Timestamp::from_ms(9), Some("::ffff:10.1.2.3".parse().unwrap())));
        assert!(!key.is_usable(Timestamp::from_ms(10), inside));
        assert!(!key.is_usable(Timestamp::from_ms(9), Some("11.1.2.3".parse().unwrap())));
        let revoked = ApiKey { revoked_at: Some(Timestamp::from_ms(1)), ..key };
        assert!(!revoked.is_usable(Timestamp::from_ms(9), inside));
    }
}
