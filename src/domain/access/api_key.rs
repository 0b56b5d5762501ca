//! A stored API key: when it can be used, and by whom. Pure; any thread.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::domain::access::key_text::KeyHash;
use crate::domain::access::rights::Rights;
use crate::domain::access::scope::Scopes;
use crate::domain::{AccountId, KeyId, SubscriptionId, Timestamp};

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
    /// The subscriptions that it sees; empty: all of its account.
    pub subscriptions: Vec<SubscriptionId>,
    /// Creation time.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<Timestamp>,
}

/// Precision of a key's last use.
const USE_NOTED_EVERY: Duration = Duration::from_hours(1);

impl ApiKey {
    /// Whether a caller from that address may use it now. A caller on the control socket has no address.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp, from: Option<IpAddr>) -> bool {
        let is_from_allowed = self.networks.is_empty()
            || from
                .is_some_and(|address| self.networks.iter().any(|network| network.contains(&address.to_canonical())));
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end) && is_from_allowed
    }

    /// Whether it sees this subscription of its account.
    #[must_use]
    pub fn sees(&self, id: SubscriptionId) -> bool {
        self.subscriptions.is_empty() || self.subscriptions.contains(&id)
    }

    /// What it allows.
    #[must_use]
    pub fn rights(&self) -> Rights<'_> {
        let Self { scopes, expires_at, networks, subscriptions, .. } = self;
        Rights { scopes: *scopes, expires_at: *expires_at, networks, subscriptions }
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
            subscriptions: Vec::new(),
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
