//! Executes the commands on API keys inside the open write transaction. Runs on the writer thread and follows the same
//! rules as `apply`: check first, then write, never commit.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::access::{ApiKey, KeyHash};
use crate::domain::audit::Change;
use crate::domain::{AccountId, KeyId, Timestamp};
use crate::storage::command::NewKey;
use crate::storage::engine::{Numbered, Tx};
use crate::storage::error::{Rejection, StorageError};
use crate::storage::rules::apply::{Batch, CommandResult, State};

/// Maximum number of an account's keys, those that ended lately included: all of them are in memory.
pub const KEYS_PER_ACCOUNT: usize = 1000;

impl<T: Tx> Batch<T> {
    /// Creates an API key, and its account if there is none of that name.
    pub fn create_key(&mut self, state: &mut State, new: NewKey) -> CommandResult<(KeyId, AccountId)> {
        let known = state.registry.account_named(&new.account);
        let account = match known {
            Some(AccountId(number)) => Some(number),
            None => self.next_number(Numbered::Account)?,
        };
        let (Some(account), Some(number)) = (account.map(AccountId), self.next_number(Numbered::Key)?) else {
            return Ok(Err(Rejection::OutOfNumbers));
        };
        self.remove_ended_keys(state)?;
        if has_all_keys(state, account) {
            return Ok(Err(Rejection::TooManyKeys(KEYS_PER_ACCOUNT)));
        }
        if known.is_none() {
            self.use_number(Numbered::Account, account.0)?;
            self.tx.put_account(account, &new.account)?;
            Arc::make_mut(&mut state.registry).put_account(account, &new.account);
        }
        self.use_number(Numbered::Key, number)?;
        let key = ApiKey {
            id: KeyId(number),
            account,
            name: new.name,
            prefix: new.prefix,
            hash: new.hash,
            scopes: new.scopes,
            expires_at: new.expires_at,
            networks: new.networks,
            subscriptions: new.subscriptions,
            created_at: state.clock.wall(),
            revoked_at: None,
            last_used_at: None,
        };
        let id = key.id;
        self.note(Change::of_key("key.created", None, &key));
        self.put_key(state, key)?;
        Ok(Ok((id, account)))
    }

    /// Creates a key with the rights of another one, which ends after `overlap` unless it ends earlier.
    pub fn rotate_key(
        &mut self,
        state: &mut State,
        (account, id): (AccountId, KeyId),
        (prefix, hash): (String, KeyHash),
        overlap: Duration,
    ) -> CommandResult<KeyId> {
        let Some(key) = state.registry.key(id).filter(|key| key.account == account).cloned() else {
            return Ok(Err(Rejection::NotFound));
        };
        let now = state.clock.wall();
        if key.ends_at().is_some_and(|end| end <= now) {
            return Ok(Err(Rejection::KeyEnded));
        }
        let Some(number) = self.next_number(Numbered::Key)? else { return Ok(Err(Rejection::OutOfNumbers)) };
        self.remove_ended_keys(state)?;
        if has_all_keys(state, account) {
            return Ok(Err(Rejection::TooManyKeys(KEYS_PER_ACCOUNT)));
        }
        self.use_number(Numbered::Key, number)?;
        let successor = KeyId(number);
        let own = ApiKey { id: successor, prefix, hash, created_at: now, last_used_at: None, ..(*key).clone() };
        self.note(Change::of_key("key.created", None, &own));
        self.put_key(state, own)?;
        let end = now.plus(overlap);
        let expires_at = Some(key.expires_at.map_or(end, |earlier| earlier.min(end)));
        let ending = ApiKey { expires_at, ..(*key).clone() };
        self.note(Change::of_key("key.rotated", Some(&key), &ending));
        self.put_key(state, ending)?;
        Ok(Ok(successor))
    }

    /// Removes keys that were revoked or expired longer ago than events are kept, so that keys that come and go leave no
    /// more behind than a list can show. To a caller they are as unknown as they were unusable.
    fn remove_ended_keys(&mut self, state: &mut State) -> Result<(), StorageError> {
        let oldest = state.time.kept_from(state.rules.retention.events);
        let is_over = |key: &&Arc<ApiKey>| key.ends_at().is_some_and(|end| end < oldest);
        let over: Vec<KeyId> = state.registry.keys().filter(is_over).map(|key| key.id).collect();
        for id in over {
            self.tx.remove_key(id)?;
            Arc::make_mut(&mut state.registry).remove_key(id);
        }
        Ok(())
    }

    /// Revokes an API key; one that is revoked already stays as it is.
    pub fn revoke_key(&mut self, state: &mut State, id: KeyId) -> CommandResult<()> {
        let Some(key) = state.registry.key(id).cloned() else { return Ok(Err(Rejection::NotFound)) };
        if key.revoked_at.is_none() {
            let now: Timestamp = state.clock.wall();
            let revoked = ApiKey { revoked_at: Some(now), ..(*key).clone() };
            self.note(Change::of_key("key.revoked", Some(&key), &revoked));
            self.put_key(state, revoked)?;
        }
        Ok(Ok(()))
    }

    /// Records that an API key was used, unless that was recorded recently.
    pub fn record_key_use(&mut self, state: &mut State, id: KeyId) -> Result<(), StorageError> {
        let now = state.clock.wall();
        match state.registry.key(id).cloned() {
            Some(key) if key.is_use_news(now) => {
                self.put_key(state, ApiKey { last_used_at: Some(now), ..(*key).clone() })
            }
            _ => Ok(()),
        }
    }

    fn put_key(&mut self, state: &mut State, key: ApiKey) -> Result<(), StorageError> {
        self.tx.put_key(&key)?;
        Arc::make_mut(&mut state.registry).put_key(key);
        Ok(())
    }
}

fn has_all_keys(state: &State, account: AccountId) -> bool {
    state.registry.keys().filter(|key| key.account == account).count() >= KEYS_PER_ACCOUNT
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::clock::Clock;
    use crate::domain::access::{KeyText, Scopes};
    use crate::domain::{KeyId, Timestamp};
    use crate::storage::Store;
    use crate::storage::command::{Command, NewKey};
    use crate::storage::test_store::{ask, close, open};

    fn create(store: &Store, number: u8, expires_at: Option<Timestamp>) -> KeyId {
        let text = KeyText::from_random(&[number; 20]);
        let (name, prefix, hash) = (number.to_string(), text.prefix(), text.hash());
        let (account, scopes, networks) = ("own".to_owned(), Scopes::OPERATOR, Vec::new());
        let new =
            Box::new(NewKey { account, name, prefix, hash, scopes, expires_at, networks, subscriptions: Vec::new() });
        ask(store, |reply| Command::CreateKey { new, reply }).0
    }

    fn listed(store: &Store) -> Vec<u32> {
        store.reader.registry().keys().map(|key| key.id.0).collect()
    }

    #[test]
    fn a_key_that_ended_longer_ago_than_events_are_kept_goes_when_the_next_one_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), Duration::from_hours(24));
        let revoked = create(&store, 1, None);
        ask(&store, |reply| Command::RevokeKey { id: revoked, reply });
        create(&store, 2, Some(Timestamp::from_ms(1)));
        assert_eq!(listed(&store), [1, 2], "the second one expired long ago, and nothing was made since");
        create(&store, 3, None);
        assert_eq!(listed(&store), [1, 3], "the first one was revoked lately");
        close(store);
        // A rule that keeps nothing stands for the time that goes by, of which keys carry the milliseconds.
        let clock = Clock::start();
        let before = clock.wall();
        while clock.wall() == before {
            std::thread::yield_now();
        }
        let store = open(folder.path(), Duration::ZERO);
        create(&store, 4, None);
        assert_eq!(listed(&store), [3, 4]);
        let usable = |number| {
            let hash = KeyText::from_random(&[number; 20]).hash();
            store.reader.registry().usable_key(&hash, Timestamp::from_ms(0), None).is_some()
        };
        assert!(!usable(1) && !usable(2) && usable(3) && usable(4));
        close(store);
        let store = open(folder.path(), Duration::ZERO);
        assert_eq!(listed(&store), [3, 4], "as stored");
        close(store);
    }
}
