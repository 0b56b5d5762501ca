//! Accounts, keys and subscriptions in memory: few, read by every request, changed rarely. The writer owns the current
//! state and publishes immutable copies; readers on any thread never wait for the disk.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::access::{ApiKey, Holder, KeyHash, Session, SessionId};
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, KeyId, SubscriptionId, Timestamp};

/// All accounts, keys and subscriptions as of one commit. It is taken for what is stored, without a look at the disk,
/// because one process alone writes; an engine that several share has to keep it true.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    accounts: BTreeMap<AccountId, Arc<str>>,
    keys: BTreeMap<KeyId, Arc<ApiKey>>,
    keys_by_hash: HashMap<KeyHash, Arc<ApiKey>>,
    sessions: HashMap<SessionId, Arc<Session>>,
    subscriptions: BTreeMap<SubscriptionId, Arc<Subscription>>,
    by_account: HashMap<AccountId, Vec<Arc<Subscription>>>,
    /// Those of each account that have a filter.
    filtered: HashMap<AccountId, Vec<Arc<Subscription>>>,
}

impl Registry {
    /// Adds an account.
    pub fn put_account(&mut self, id: AccountId, name: &str) {
        self.accounts.insert(id, name.into());
    }

    /// Adds a key; replaces the one with the same number.
    pub fn put_key(&mut self, key: ApiKey) {
        let key = Arc::new(key);
        self.keys_by_hash.insert(key.hash, Arc::clone(&key));
        self.keys.insert(key.id, key);
    }

    /// Forgets a key.
    pub fn remove_key(&mut self, id: KeyId) {
        if let Some(gone) = self.keys.remove(&id) {
            self.keys_by_hash.remove(&gone.hash);
        }
    }

    /// Adds a session; replaces the one with the same id.
    pub fn put_session(&mut self, session: Session) {
        self.sessions.insert(session.id, Arc::new(session));
    }

    /// Forgets a session.
    pub fn remove_session(&mut self, id: SessionId) {
        self.sessions.remove(&id);
    }

    /// Adds a subscription; replaces the one with the same number.
    pub fn put_subscription(&mut self, subscription: Subscription) {
        let subscription = Arc::new(subscription);
        insert(self.by_account.entry(subscription.account).or_default(), &subscription);
        if subscription.options.filter.is_some() {
            insert(self.filtered.entry(subscription.account).or_default(), &subscription);
        } else {
            self.forget_filter(&subscription);
        }
        self.subscriptions.insert(subscription.id, subscription);
    }

    /// Removes a subscription.
    pub fn remove_subscription(&mut self, id: SubscriptionId) {
        let Some(gone) = self.subscriptions.remove(&id) else { return };
        self.forget_filter(&gone);
        if let Some(siblings) = self.by_account.get_mut(&gone.account) {
            siblings.retain(|sibling| sibling.id != id);
        }
    }

    fn forget_filter(&mut self, subscription: &Subscription) {
        if let Some(filtered) = self.filtered.get_mut(&subscription.account) {
            filtered.retain(|sibling| sibling.id != subscription.id);
        }
    }

    /// An account's subscriptions that have a filter, by number.
    #[must_use]
    pub fn filtered_of(&self, account: AccountId) -> &[Arc<Subscription>] {
        self.filtered.get(&account).map_or(&[], Vec::as_slice)
    }

    /// The account of that name.
    #[must_use]
    pub fn account_named(&self, name: &str) -> Option<AccountId> {
        self.accounts.iter().find(|(_, known)| known.as_ref() == name).map(|(id, _)| *id)
    }

    /// All accounts, by number.
    pub fn accounts(&self) -> impl Iterator<Item = AccountId> {
        self.accounts.keys().copied()
    }

    /// The subscriptions behind that one, by number.
    pub fn subscriptions_after(&self, id: SubscriptionId) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.range((Bound::Excluded(id), Bound::Unbounded)).map(|(_, subscription)| subscription)
    }

    /// The name of an account.
    #[must_use]
    pub fn account_name(&self, id: AccountId) -> &str {
        self.accounts.get(&id).map_or("", AsRef::as_ref)
    }

    /// The same, for as long as an attempt lasts.
    #[must_use]
    pub fn shared_account_name(&self, id: AccountId) -> Arc<str> {
        self.accounts.get(&id).map_or_else(|| "".into(), Arc::clone)
    }

    /// All keys, by number.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.keys.values()
    }

    /// The key with that number.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&Arc<ApiKey>> {
        self.keys.get(&id)
    }

    /// The key with that hash, if a caller from that address may use it now. For an unknown hash another key is
    /// checked, so that an unknown key takes as long to reject as a revoked one.
    #[must_use]
    pub fn usable_key(&self, hash: &KeyHash, now: Timestamp, from: Option<IpAddr>) -> Option<&Arc<ApiKey>> {
        let key = self.keys_by_hash.get(hash).or_else(|| self.keys.values().next())?;
        let (is_it, is_usable) = (key.hash.matches(hash), key.is_usable(now, from));
        (is_it & is_usable).then_some(key)
    }

    /// The session with that id, whether it can be used or not.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Arc<Session>> {
        self.sessions.get(&id)
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.values()
    }

    /// The session with that id, if a caller from that address may use it now, with its key; an operator has none.
    #[must_use]
    pub fn signed_in(
        &self,
        id: SessionId,
        now: Timestamp,
        from: Option<IpAddr>,
    ) -> Option<(&Arc<Session>, Option<&Arc<ApiKey>>)> {
        let session = self.session(id).filter(|session| session.is_usable(now))?;
        match session.holder {
            Holder::Key(id) => self.key(id).filter(|key| key.is_usable(now, from)).map(|key| (session, Some(key))),
            Holder::Operator { .. } => Some((session, None)),
        }
    }

    /// The sessions that nobody can use any more.
    #[must_use]
    pub fn ended_sessions(&self, now: Timestamp) -> Vec<SessionId> {
        let has_ended = |session: &Session| {
            let is_over = |id| self.key(id).is_none_or(|key| key.ends_at().is_some_and(|end| end <= now));
            !session.is_usable(now) || matches!(session.holder, Holder::Key(id) if is_over(id))
        };
        self.sessions.values().filter(|session| has_ended(session)).map(|session| session.id).collect()
    }

    /// The subscription with that number.
    #[must_use]
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(&id)
    }

    /// The subscription with that number, if it belongs to that account.
    #[must_use]
    pub fn subscription_of(&self, account: AccountId, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.subscription(id).filter(|subscription| subscription.account == account)
    }

    /// An account's subscriptions, by number.
    #[must_use]
    pub fn subscriptions_of(&self, account: AccountId) -> &[Arc<Subscription>] {
        self.by_account.get(&account).map_or(&[], Vec::as_slice)
    }

    /// All subscriptions, by number.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.values()
    }
}

/// Puts a subscription in its place by number, where there may be an earlier one.
fn insert(siblings: &mut Vec<Arc<Subscription>>, subscription: &Arc<Subscription>) {
    siblings.retain(|sibling| sibling.id != subscription.id);
    let place = siblings.partition_point(|sibling| sibling.id < subscription.id);
    siblings.insert(place, Arc::clone(subscription));
}
