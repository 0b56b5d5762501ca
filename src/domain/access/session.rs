//! A session of the dashboard: who signed in, and until when it can be used. Pure; any thread.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::domain::{AccountId, KeyId, Timestamp};

/// Digest of a session's token. Only the browser has the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl SessionId {
    /// The digest of a text presented as a token: half of its SHA-256, as a token is 256 random bits.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let (half, _) = digest.split_at(size_of::<u128>());
        Self(half.iter().fold(0, |number, byte| number << u8::BITS | u128::from(*byte)))
    }
}

/// Who has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The holder of an API key, for as long as the key can be used.
    Key(KeyId),
    /// A user of the server's machine, by a link that a command printed.
    Operator {
        /// The user's name there.
        user: String,
    },
}

/// A stored session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The digest of its token.
    pub id: SessionId,
    /// The account whose pages it shows.
    pub account: AccountId,
    /// Who has signed in.
    pub holder: Holder,
    /// When it was last used, to ten minutes.
    pub last_used_at: Timestamp,
}

/// A session ends when it was not used for so long.
const IDLE: Duration = Duration::from_hours(12);
/// Precision of the last use.
const USE_NOTED_EVERY: Duration = Duration::from_mins(10);

impl Session {
    /// Whether it can be used now, as far as its own time tells.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        now < self.last_used_at.plus(IDLE)
    }

    /// Whether a use now has to be recorded.
    #[must_use]
    pub fn is_use_news(&self, now: Timestamp) -> bool {
        self.last_used_at.plus(USE_NOTED_EVERY) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_after_twelve_hours_without_use() {
        let hours = |count: u64| Timestamp::from_ms(count * 3_600_000);
        let session = Session {
            id: SessionId::of("token"),
            account: AccountId(1),
            holder: Holder::Key(KeyId(1)),
            last_used_at: hours(1),
        };
        assert!(session.is_usable(hours(12)) && !session.is_usable(hours(13)));
        assert!(session.is_usable(hours(0)), "a clock that went back ends none");
        assert!(!session.is_use_news(hours(1)) && session.is_use_news(hours(2)));
        assert_ne!(session.id, SessionId::of("tokem"));
    }
}
