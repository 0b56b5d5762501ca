//! Limits concurrent test pings. Each holds a thread for as long as the endpoint takes, so an account gets a share
//! only. Shared by the HTTP workers; the lock is held briefly.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::AccountId;
use crate::http::request::error::ApiError;

/// Maximum over all accounts.
const PINGS: usize = 16;
/// Maximum per account.
const PINGS_OF_ACCOUNT: usize = 4;

/// Pings in progress, by account.
#[derive(Debug, Default)]
pub struct PingLimit(Mutex<HashMap<AccountId, usize>>);

/// A permit for one ping, released when dropped.
#[derive(Debug)]
pub struct PingPermit {
    pings: Arc<PingLimit>,
    account: AccountId,
}

impl PingLimit {
    /// Acquires a permit for that account.
    pub fn try_acquire(self: &Arc<Self>, account: AccountId) -> Result<PingPermit, ApiError> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&account).is_some_and(|count| *count >= PINGS_OF_ACCOUNT) {
            return Err(ApiError::too_many_pings_of_account(PINGS_OF_ACCOUNT));
        }
        if under_way.values().sum::<usize>() >= PINGS {
            return Err(ApiError::too_many_pings());
        }
        *under_way.entry(account).or_default() += 1;
        Ok(PingPermit { pings: Arc::clone(self), account })
    }
}

impl Drop for PingPermit {
    fn drop(&mut self) {
        let mut under_way = self.pings.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = under_way.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_share_and_all_together_have_a_limit() {
        let pings = Arc::new(PingLimit::default());
        let accounts = || (1..10).map(AccountId);
        let under_way: Vec<_> = accounts()
            .flat_map(|account| std::iter::repeat_n(account, 9))
            .filter_map(|one| pings.try_acquire(one).ok())
            .collect();
        assert_eq!(under_way.len(), PINGS);
        assert_eq!(under_way.iter().filter(|permit| permit.account == AccountId(1)).count(), PINGS_OF_ACCOUNT);
        assert_eq!(pings.try_acquire(AccountId(1)).unwrap_err().status(), 429);
        assert_eq!(pings.try_acquire(AccountId(9)).unwrap_err().status(), 503);
        drop(under_way);
        assert!(pings.0.lock().unwrap().is_empty());
        assert!(accounts().all(|account| pings.try_acquire(account).is_ok()));
    }
}
