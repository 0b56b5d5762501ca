//! The access tokens of subscriptions that sign in by `OAuth2`: one each, in memory alone. Delivery threads take them here. One
//! request for a token is made at a time for a subscription, by the thread that needs one; others go on with the present
//! token as long as it is valid, or wait a moment. No lock is held while a request is made.

mod answer;
mod request;

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::answer::Given;
pub(in crate::delivery) use self::request::fetch;
use crate::domain::SubscriptionId;
use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::token_fault::TokenFault;
use crate::domain::options::auth::oauth2::ClientCredentials;
use crate::domain::secret_text::SecretText;

/// How long an attempt waits for the request of another one.
const WAIT_FOR_ANOTHER: Duration = Duration::from_secs(1);
/// While a token is still valid, it is not tried to renew it more often than this.
const RENEW_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A token, and for how long.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Token {
    text: SecretText,
    /// When to renew it, and when it ends; never, if that was not said.
    times: Option<(Instant, Instant)>,
}

impl Token {
    /// One that was given just now.
    pub(in crate::delivery) fn of(given: Given) -> Self {
        Self::new(given.token, given.life, Instant::now())
    }

    /// One that was given now for so long; it is renewed at four fifths of its life.
    fn new(text: SecretText, life: Option<Duration>, now: Instant) -> Self {
        let times = life.and_then(|life| Some((now.checked_add(life * 4 / 5)?, now.checked_add(life)?)));
        Self { text, times }
    }

    fn is_valid(&self, now: Instant) -> bool {
        self.times.is_none_or(|(_, end)| now < end)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.times.is_none_or(|(renew, _)| now < renew)
    }
}

/// What an attempt wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Wanted {
    /// Any that is valid.
    Valid,
    /// One that the token server gives now.
    New,
}

/// Why a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Need {
    /// There is none.
    Missing,
    /// The present one is valid for a while.
    Renewal,
}

/// The tokens.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Tokens(Mutex<HashMap<SubscriptionId, Arc<Slot>>>);

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whose token it is.
    credentials: Option<ClientCredentials>,
    token: Option<Token>,
    /// The number of the request that is being made.
    asking: Option<u64>,
    requests: u64,
    /// What came of the last request, if it gave no token.
    failure: Option<Outcome>,
    renew_not_before: Option<Instant>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a request, also if it panicked.
struct Asking<'a> {
    slot: &'a Slot,
    number: u64,
    fetched: Option<Result<Token, Outcome>>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        // With other credentials meanwhile, it is no longer of use.
        if state.asking == Some(self.number) {
            state.asking = None;
            state.failure = None;
            match self.fetched.take() {
                Some(Ok(token)) => state.token = Some(token),
                Some(Err(outcome)) => state.failure = Some(outcome),
                None => {}
            }
            state.renew_not_before = Instant::now().checked_add(RENEW_AGAIN_AFTER);
        }
        drop(state);
        self.slot.changed.notify_all();
    }
}

impl Tokens {
    fn slot(&self, id: SubscriptionId) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(id).or_default())
    }

    /// Forgets what there is of a subscription.
    pub(in crate::delivery) fn forget(&self, id: SubscriptionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Drops a token that the receiver has refused, unless another one has taken its place.
    pub(in crate::delivery) fn drop_token(&self, id: SubscriptionId, refused: &SecretText) {
        let slot = self.slot(id);
        let mut state = slot.lock();
        state.token.take_if(|token| token.text == *refused);
    }

    /// A token of the subscription for these credentials. `fetch` asks the token server for one.
    pub(in crate::delivery) fn get(
        &self,
        id: SubscriptionId,
        credentials: &ClientCredentials,
        wanted: Wanted,
        fetch: impl FnOnce(Need) -> Result<Token, Outcome>,
    ) -> Result<SecretText, Outcome> {
        let slot = self.slot(id);
        let mut state = slot.lock();
        if state.credentials.as_ref() != Some(credentials) {
            *state = State { credentials: Some(credentials.clone()), requests: state.requests, ..State::default() };
        }
        let begun = Instant::now();
        // What another attempt gets meanwhile is new as well.
        let mut takes_present = wanted == Wanted::Valid;
        let valid = loop {
            let now = Instant::now();
            let valid = state.token.as_ref().filter(|token| token.is_valid(now));
            if let Some(token) = valid.filter(|_| takes_present) {
                let waits = state.renew_not_before.is_some_and(|at| now < at);
                if token.is_fresh(now) || state.asking.is_some() || waits {
                    return Ok(token.text.clone());
                }
            }
            let Some(number) = state.asking else { break valid.cloned() };
            let Some(left) = WAIT_FOR_ANOTHER.checked_sub(begun.elapsed()) else {
                return Err(Outcome::TokenFailed(TokenFault::Awaited));
            };
            let is_under_way = |state: &mut State| state.asking == Some(number);
            let ended = slot.changed.wait_timeout_while(state, left, is_under_way);
            state = ended.unwrap_or_else(PoisonError::into_inner).0;
            takes_present = true;
            if state.asking.is_none()
                && let Some(failure) = &state.failure
            {
                return Err(failure.clone());
            }
        };
        state.requests += 1;
        let number = state.requests;
        state.asking = Some(number);
        drop(state);
        let mut asking = Asking { slot: &slot, number, fetched: None };
        let fetched = fetch(if valid.is_some() { Need::Renewal } else { Need::Missing });
        asking.fetched = Some(fetched.clone());
        drop(asking);
        match (fetched, valid) {
            (Ok(token), _) => Ok(token.text),
            (Err(_), Some(token)) if wanted == Wanted::Valid => Ok(token.text),
            (Err(outcome), _) => Err(outcome),
        }
    }
}

#[cfg(test)]
mod tests;
