//! Executes the commands on the dashboard's sessions inside the open write transaction. Runs on the writer thread and
//! follows the same rules as `apply`: check first, then write, never commit.

use std::sync::Arc;

use crate::domain::access::{Session, SessionId};
use crate::storage::engine::Tx;
use crate::storage::error::StorageError;
use crate::storage::rules::apply::{Batch, CommandResult, State};

/// Maximum number of sessions of one key, or of one operator: all of them are in memory.
const SESSIONS_OF_ONE: usize = 20;

impl<T: Tx> Batch<T> {
    /// Stores a session. Those that have ended are removed, and of its holder's the one that was not used for longest if
    /// there are too many.
    pub fn open_session(&mut self, state: &mut State, session: Session) -> CommandResult<()> {
        let now = state.clock.wall();
        let mut over = state.registry.ended_sessions(now);
        let siblings =
            state.registry.sessions().filter(|other| other.holder == session.holder && !over.contains(&other.id));
        let mut siblings: Vec<_> = siblings.map(|other| (other.last_used_at, other.id)).collect();
        siblings.sort_unstable();
        let excess = (siblings.len() + 1).saturating_sub(SESSIONS_OF_ONE);
        over.extend(siblings.into_iter().take(excess).map(|(_, id)| id));
        for id in over {
            self.remove_session(state, id)?;
        }
        self.put_session(state, session)?;
        Ok(Ok(()))
    }

    /// Ends a session; one that has ended stays so.
    pub fn close_session(&mut self, state: &mut State, id: SessionId) -> CommandResult<()> {
        self.remove_session(state, id)?;
        Ok(Ok(()))
    }

    /// Records that a session was used, unless that was recorded recently.
    pub fn record_session_use(&mut self, state: &mut State, id: SessionId) -> Result<(), StorageError> {
        let now = state.clock.wall();
        match state.registry.session(id).cloned() {
            Some(session) if session.is_usable(now) && session.is_use_news(now) => {
                self.put_session(state, Session { last_used_at: now, ..(*session).clone() })
            }
            _ => Ok(()),
        }
    }

    fn put_session(&mut self, state: &mut State, session: Session) -> Result<(), StorageError> {
        self.tx.put_session(&session)?;
        Arc::make_mut(&mut state.registry).put_session(session);
        Ok(())
    }

    fn remove_session(&mut self, state: &mut State, id: SessionId) -> Result<(), StorageError> {
        self.tx.remove_session(id)?;
        Arc::make_mut(&mut state.registry).remove_session(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::access::{Holder, KeyHash, Scopes};
    use crate::domain::{AccountId, KeyId, Timestamp};
    use crate::storage::Store;
    use crate::storage::command::{Command, NewKey};
    use crate::storage::test_store::{ask, close, open};

    fn sign_in(store: &Store, token: &str, holder: Holder, last_used_at: Timestamp) -> SessionId {
        let id = SessionId::of(token);
        let session = Box::new(Session { id, account: AccountId(1), holder, last_used_at });
        ask(store, |reply| Command::OpenSession { session, reply });
        id
    }

    fn known(store: &Store, id: SessionId) -> bool {
        store.reader.registry().session(id).is_some()
    }

    #[test]
    fn sessions_outlive_a_restart_and_end_with_their_key_their_time_and_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), Duration::from_hours(24));
        let new = Box::new(NewKey {
            account: "own".to_owned(),
            name: "key".to_owned(),
            prefix: String::new(),
            hash: KeyHash::of("key"),
            scopes: Scopes::OPERATOR,
            expires_at: None,
            networks: Vec::new(),
            subscriptions: Vec::new(),
        });
        let (key, _) = ask(&store, |reply| Command::CreateKey { new, reply });
        let now = store.reader.registry().key(key).unwrap().created_at;
        let operator = || Holder::Operator { user: "anna".to_owned() };
        let first = sign_in(&store, "first", Holder::Key(key), now);
        let idle = sign_in(&store, "idle", operator(), Timestamp::from_ms(1));
        assert!(known(&store, first) && known(&store, idle));
        let unknown = sign_in(&store, "unknown", Holder::Key(KeyId(99)), now);
        let second = sign_in(&store, "second", operator(), now);
        assert!(!known(&store, idle) && !known(&store, unknown), "they have ended, and go with the next one");
        close(store);
        let store = open(folder.path(), Duration::from_hours(24));
        assert!(known(&store, first) && known(&store, second), "as stored");
        for number in 0..SESSIONS_OF_ONE {
            sign_in(&store, &number.to_string(), operator(), now.plus(Duration::from_millis(1)));
        }
        assert!(!known(&store, second) && known(&store, first), "the oldest of one holder makes room");
        ask(&store, |reply| Command::RevokeKey { id: key, reply });
        assert!(store.reader.registry().signed_in(first, now, None).is_none(), "at once, whatever is stored");
        sign_in(&store, "last", operator(), now);
        assert!(!known(&store, first));
        ask(&store, |reply| Command::CloseSession { id: SessionId::of("last"), reply });
        assert!(!known(&store, SessionId::of("last")));
        close(store);
    }
}
