//! How many test pings may be under way at once. Each holds a thread for as long as the endpoint takes, so one account
//! gets a share and no more. Shared by the HTTP workers; a lock is held only to count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::ApiError;
use crate::domain::AccountId;

/// Of all accounts together.
const PINGS: usize = 16;
/// Of one account.
const PINGS_OF_ACCOUNT: usize = 4;

/// The pings that are under way, by account.
#[derive(Debug, Default)]
pub struct Pings(Mutex<HashMap<AccountId, usize>>);

/// Leave for one ping; it ends with this value.
#[derive(Debug)]
pub struct Leave {
    pings: Arc<Pings>,
    account: AccountId,
}

impl Pings {
    /// Leave for one more ping of that account.
    pub fn begin(self: &Arc<Self>, account: AccountId) -> Result<Leave, ApiError> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&account).is_some_and(|count| *count >= PINGS_OF_ACCOUNT) {
            return Err(ApiError::too_many_pings_of_account(PINGS_OF_ACCOUNT));
        }
        if under_way.values().sum::<usize>() >= PINGS {
            return Err(ApiError::too_many_pings());
        }
        *under_way.entry(account).or_default() += 1;
        Ok(Leave { pings: Arc::clone(self), account })
    }
}

impl Drop for Leave {
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
        let pings = Arc::new(Pings::default());
        let accounts = || (1..10).map(AccountId);
        let under_way: Vec<_> = accounts()
            .flat_map(|account| std::iter::repeat_n(account, 9))
            .filter_map(|one| pings.begin(one).ok())
            .collect();
        assert_eq!(under_way.len(), PINGS);
        assert_eq!(under_way.iter().filter(|leave| leave.account == AccountId(1)).count(), PINGS_OF_ACCOUNT);
        assert_eq!(pings.begin(AccountId(1)).unwrap_err().status(), 429);
        assert_eq!(pings.begin(AccountId(9)).unwrap_err().status(), 503);
        drop(under_way);
        assert!(pings.0.lock().unwrap().is_empty());
        assert!(accounts().all(|account| pings.begin(account).is_ok()));
    }
}
