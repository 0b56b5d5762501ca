//! The scopes of API keys: what a key may do. Pure; any thread.

use crate::domain::field_error::nearest;

/// A permission of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Scope {
    /// Read subscriptions and deliveries.
    WebhooksRead = 1,
    /// Change subscriptions, send tests, redeliver.
    WebhooksWrite = 2,
    /// Publish events.
    EventsWrite = 4,
    /// Read events.
    EventsRead = 8,
    /// Create, rotate and revoke keys.
    KeysAdmin = 16,
    /// Read who changed what.
    AuditRead = 32,
    /// Read the events of a subscription that pulls them.
    FeedRead = 64,
    /// Remove the events of a person. `*` does not include it.
    EventsErase = 256,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 8] = [
        Self::WebhooksRead,
        Self::WebhooksWrite,
        Self::EventsWrite,
        Self::EventsRead,
        Self::KeysAdmin,
        Self::AuditRead,
        Self::FeedRead,
        Self::EventsErase,
    ];

    /// The name used in `--scopes` and in a 403.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WebhooksRead => "webhooks:read",
            Self::WebhooksWrite => "webhooks:write",
            Self::EventsWrite => "events:write",
            Self::EventsRead => "events:read",
            Self::KeysAdmin => "keys:admin",
            Self::AuditRead => "audit:read",
            Self::FeedRead => "feed:read",
            Self::EventsErase => "events:erase",
        }
    }
}

/// The scopes of a key, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u16);

/// Stands for every scope but `events:erase`, also for scopes that come later.
const EVERY_SCOPE: u16 = 0x80;
const ERASE: u16 = Scope::EventsErase as u16;

impl Scopes {
    /// What the operator may do: everything.
    pub const OPERATOR: Self = Self(EVERY_SCOPE | ERASE);

    /// The bits, for the store.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    /// The scopes with these bits.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Parses names, `*` for all but `events:erase`; the error is a sentence that lists them.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let known = Scope::ALL.map(Scope::name);
        let mut set = 0;
        for name in names {
            if name == "*" {
                set |= EVERY_SCOPE;
                continue;
            }
            if let Some(scope) = Scope::ALL.into_iter().find(|scope| scope.name() == name) {
                set |= scope as u16;
            } else {
                let hint =
                    nearest(name, &known).map_or_else(|| ".".to_owned(), |near| format!(", did you mean \"{near}\"?"));
                return Err(format!(
                    "unknown scope \"{name}\"{hint} The scopes are {}, or * for all but events:erase",
                    known.join(", ")
                ));
            }
        }
        if set == 0 {
            return Err(format!(
                "a key needs at least one scope; scopes are {}, or * for all but events:erase",
                known.join(", ")
            ));
        }
        Ok(Self(set))
    }

    /// Whether the scope is included.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        let every = if scope == Scope::EventsErase { 0 } else { EVERY_SCOPE };
        self.0 & (every | scope as u16) != 0
    }

    /// The first of these scopes that is not included.
    #[must_use]
    pub fn lacks(self, wanted: Self) -> Option<&'static str> {
        let lacks_every = wanted.0 & EVERY_SCOPE != 0 && self.0 & EVERY_SCOPE == 0;
        let lacking = Scope::ALL.into_iter().find(|scope| wanted.contains(*scope) && !self.contains(*scope));
        if lacks_every { Some("*") } else { lacking.map(Scope::name) }
    }

    /// The names; `*` for all but `events:erase`.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let every = (self.0 & EVERY_SCOPE != 0).then_some("*");
        let named = |scope: &Scope| self.contains(*scope) && (every.is_none() || *scope == Scope::EventsErase);
        every.into_iter().chain(Scope::ALL.into_iter().filter(named).map(Scope::name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scope_and_an_unknown_scope_are_errors_that_list_them() {
        assert!(Scopes::parse([]).unwrap_err().contains("webhooks:read"));
        assert!(Scopes::parse(["webhook:read"]).unwrap_err().contains("did you mean \"webhooks:read\""));
        assert!(Scopes::parse(["*"]).unwrap().contains(Scope::KeysAdmin));
        assert!(!Scopes::parse(["*"]).unwrap().contains(Scope::EventsErase), "it is always named");
        assert!(!Scopes::parse(["events:write"]).unwrap().contains(Scope::EventsRead));
    }

    #[test]
    fn names_are_read_as_they_are_shown() {
        for names in [&["*"][..], &["*", "events:erase"], &["webhooks:read", "events:erase"]] {
            assert_eq!(Scopes::parse(names.iter().copied()).unwrap().names(), names);
        }
        assert_eq!(Scopes::OPERATOR.names(), ["*", "events:erase"]);
    }

    #[test]
    fn a_scope_that_is_lacking_is_named() {
        let read = Scopes::parse(["webhooks:read"]).unwrap();
        let both = Scopes::parse(["webhooks:read", "events:write"]).unwrap();
        let every = Scopes::parse(["*"]).unwrap();
        let erase = Scopes::parse(["events:erase"]).unwrap();
        assert_eq!((both.lacks(read), read.lacks(both)), (None, Some("events:write")));
        assert_eq!((every.lacks(both), both.lacks(every)), (None, Some("*")));
        assert_eq!((every.lacks(erase), Scopes::OPERATOR.lacks(erase)), (Some("events:erase"), None));
    }
}
