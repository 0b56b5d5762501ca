//! Links that sign the operator in: valid once and for five minutes, in memory only. The lock is held briefly. Shared by
//! the HTTP workers and the control socket.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::AccountId;
use crate::domain::access::SessionId;

/// How long a link is valid.
pub const VALID_FOR: Duration = Duration::from_mins(5);
/// Maximum number of links that were not used; beyond it the oldest one ends.
const LINKS: usize = 100;

/// Whom a link signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The account whose pages are shown.
    pub account: AccountId,
    /// The name of the user of the server's machine who asked for it.
    pub user: String,
}

/// The links that can be used.
#[derive(Debug, Default)]
pub struct SignInLinks(Mutex<HashMap<SessionId, (Instant, Invitation)>>);

impl SignInLinks {
    /// Adds a link by the digest of its text.
    pub fn add(&self, id: SessionId, invitation: Invitation) {
        self.add_at(id, invitation, Instant::now());
    }

    fn add_at(&self, id: SessionId, invitation: Invitation, now: Instant) {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, (made, _)| now.saturating_duration_since(*made) < VALID_FOR);
        if links.len() >= LINKS
            && let Some(oldest) = links.iter().min_by_key(|(_, (made, _))| *made).map(|(id, _)| *id)
        {
            links.remove(&oldest);
        }
        links.insert(id, (now, invitation));
    }

    /// Whom the link signs in, which is not valid any more then.
    pub fn take(&self, id: SessionId) -> Option<Invitation> {
        self.take_at(id, Instant::now())
    }

    fn take_at(&self, id: SessionId, now: Instant) -> Option<Invitation> {
        let (made, invitation) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        (now.saturating_duration_since(made) < VALID_FOR).then_some(invitation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_valid_once_and_for_five_minutes_and_there_are_not_too_many() {
        let links = SignInLinks::default();
        let made = Instant::now();
        let anna = Invitation { account: AccountId(1), user: "anna".to_owned() };
        let add = |text: &str, now| links.add_at(SessionId::of(text), anna.clone(), now);
        add("a", made);
        add("b", made);
        assert_eq!(links.take_at(SessionId::of("a"), made + Duration::from_secs(299)), Some(anna.clone()));
        assert_eq!(links.take_at(SessionId::of("a"), made), None);
        assert_eq!(links.take_at(SessionId::of("b"), made + VALID_FOR), None);
        for number in 0..=LINKS {
            add(&number.to_string(), made + Duration::from_millis(number as u64));
        }
        assert_eq!(links.0.lock().unwrap().len(), LINKS);
        assert_eq!(links.take_at(SessionId::of("0"), made), None, "the oldest one made room");
    }
}
