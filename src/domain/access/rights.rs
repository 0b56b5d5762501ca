//! What a key allows, and whether it covers what another key is to allow: nobody gives what they do not have. Pure; any
//! thread.

use ipnet::IpNet;

use crate::domain::access::scope::Scopes;
use crate::domain::{SubscriptionId, Timestamp};

/// What a key allows.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'a> {
    /// Its scopes.
    pub scopes: Scopes,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Networks that it may be used from; empty: any.
    pub networks: &'a [IpNet],
    /// The subscriptions that it sees; empty: all of its account.
    pub subscriptions: &'a [SubscriptionId],
}

/// What of the wanted rights goes beyond one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// A scope.
    #[error("the creating key lacks the scope {0}")]
    Scope(&'static str),
    /// A later end, or none.
    #[error("the other key would be valid after {0}, when the creating key expires")]
    Expiry(Timestamp),
    /// Other networks, or all.
    #[error("the other key could be used from networks that the creating key cannot be used from")]
    Networks,
    /// Other subscriptions, or all.
    #[error("the other key could access subscriptions that the creating key cannot")]
    Subscriptions,
}

impl Rights<'_> {
    /// What of `wanted` goes beyond these rights, if anything does.
    #[must_use]
    pub fn excess_of(&self, wanted: &Rights<'_>) -> Option<Excess> {
        if let Some(scope) = self.scopes.lacks(wanted.scopes) {
            return Some(Excess::Scope(scope));
        }
        if let Some(end) = self.expires_at
            && wanted.expires_at.is_none_or(|wanted| wanted > end)
        {
            return Some(Excess::Expiry(end));
        }
        let is_within = |network: &IpNet| self.networks.iter().any(|own| own.contains(network));
        let all_within = non_empty(wanted.networks) && wanted.networks.iter().all(is_within);
        if !self.networks.is_empty() && !all_within {
            return Some(Excess::Networks);
        }
        let is_seen = |id: &SubscriptionId| self.subscriptions.contains(id);
        let all_seen = non_empty(wanted.subscriptions) && wanted.subscriptions.iter().all(is_seen);
        (!self.subscriptions.is_empty() && !all_seen).then_some(Excess::Subscriptions)
    }
}

/// An empty list stands for everything.
fn non_empty<T>(list: &[T]) -> bool {
    !list.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_a_keys_own_rights_is_named_and_nothing_else_is() {
        let at = Timestamp::from_ms;
        let (office, desk): (IpNet, IpNet) = ("10.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap());
        let (one, two) = (SubscriptionId(1), SubscriptionId(2));
        let scopes = |names: &[&str]| Scopes::parse(names.iter().copied()).unwrap();
        let admin = scopes(&["keys:admin", "events:write"]);
        let limited =
            Rights { scopes: admin, expires_at: Some(at(10)), networks: &[office], subscriptions: &[one, two] };
        let wanted = Rights {
            scopes: scopes(&["events:write"]),
            expires_at: Some(at(10)),
            networks: &[desk],
            subscriptions: &[two],
        };
        assert_eq!(limited.excess_of(&wanted), None);
        assert_eq!(limited.excess_of(&limited), None);
        let beyond = |wanted: Rights<'_>| limited.excess_of(&wanted);
        let read = scopes(&["events:read"]);
        assert_eq!(beyond(Rights { scopes: read, ..wanted }), Some(Excess::Scope("events:read")));
        assert_eq!(beyond(Rights { scopes: scopes(&["*"]), ..wanted }), Some(Excess::Scope("*")));
        assert_eq!(beyond(Rights { expires_at: Some(at(11)), ..wanted }), Some(Excess::Expiry(at(10))));
        assert_eq!(beyond(Rights { expires_at: None, ..wanted }), Some(Excess::Expiry(at(10))));
        let elsewhere = ["11.0.0.0/8".parse().unwrap()];
        assert_eq!(beyond(Rights { networks: &elsewhere, ..wanted }), Some(Excess::Networks));
        assert_eq!(beyond(Rights { networks: &[], ..wanted }), Some(Excess::Networks));
        assert_eq!(beyond(Rights { subscriptions: &[SubscriptionId(3)], ..wanted }), Some(Excess::Subscriptions));
        assert_eq!(beyond(Rights { subscriptions: &[], ..wanted }), Some(Excess::Subscriptions));
        let free = Rights { scopes: admin, expires_at: None, networks: &[], subscriptions: &[] };
        assert_eq!(free.excess_of(&limited), None);
    }
}
