//! What all callers share and no account may take for itself alone: threads that read, and memory for answers. Whoever
//! finds nothing left waits for a while, and is then asked to come again. Runs on the HTTP workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, MessageBody as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::AccountId;
use crate::http::request::error::ApiError;
use crate::http::transport::{PIECE_BYTES, PiecewiseBody};

/// How much memory answers may take from before they are read until they are sent, and those of one account.
pub const ANSWERS_BYTES: usize = 64 * 1024 * 1024;
pub const ANSWERS_BYTES_OF_ONE: usize = ANSWERS_BYTES / 4;
/// How long a caller waits for its part.
pub const WAIT: Duration = Duration::from_secs(5);

/// Something of which there is so much for all, and so much for one account.
pub struct Shares {
    all: Arc<Semaphore>,
    all_units: usize,
    of_one: usize,
    accounts: Mutex<HashMap<AccountId, Arc<Semaphore>>>,
    wait: Duration,
}

impl Shares {
    /// So much for all, and for one account.
    pub fn new(all_units: usize, of_one: usize, wait: Duration) -> Self {
        Self { all: Arc::new(Semaphore::new(all_units)), all_units, of_one, accounts: Mutex::default(), wait }
    }

    /// Takes so much for an account, which waits for it in turn; more than there is for one counts as that much. The
    /// operator, who is no account, takes nothing away.
    pub async fn take(&self, account: Option<AccountId>, units: usize) -> Result<Share, ApiError> {
        let Some(account) = account.filter(|_| units > 0) else { return Ok(Share::default()) };
        let own = Arc::clone(self.lock().entry(account).or_insert_with(|| Arc::new(Semaphore::new(self.of_one))));
        // Its own part first, so that who waits for that takes nothing from others.
        let take =
            async { Some(Share { own: permits(own, units.min(self.of_one)).await, all: self.of_all(units).await }) };
        timeout(self.wait, take).await.ok().flatten().ok_or_else(ApiError::too_many_reads)
    }

    async fn of_all(&self, units: usize) -> Option<OwnedSemaphorePermit> {
        permits(Arc::clone(&self.all), units.min(self.all_units)).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AccountId, Arc<Semaphore>>> {
        // Whole even if a thread died while it held the lock.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Never closed, so that only a number beyond all bounds gives none.
async fn permits(of: Arc<Semaphore>, units: usize) -> Option<OwnedSemaphorePermit> {
    of.acquire_many_owned(u32::try_from(units).ok()?).await.ok()
}

/// What somebody has taken; given back when dropped.
#[derive(Default)]
pub struct Share {
    own: Option<OwnedSemaphorePermit>,
    all: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Gives back all but so much.
    fn keep(&mut self, units: usize) {
        for permit in [&mut self.own, &mut self.all].into_iter().flatten() {
            drop(permit.split(permit.num_permits().saturating_sub(units)));
        }
    }

    /// Keeps of the memory that was taken as much as the answer needs, until it is sent.
    pub fn until_sent(mut self, response: HttpResponse) -> HttpResponse {
        response.map_body(|_, body| match body.try_into_bytes() {
            Ok(bytes) if bytes.len() > PIECE_BYTES => {
                self.keep(bytes.len());
                BoxBody::new(PiecewiseBody::new(bytes, self))
            }
            // What is copied in one go is no longer here while it is sent.
            Ok(bytes) => BoxBody::new(bytes),
            Err(body) => body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<AccountId> = Some(AccountId(1));
    const OTHER: Option<AccountId> = Some(AccountId(2));

    #[actix_web::test]
    async fn one_account_waits_for_itself_and_takes_nothing_from_another() {
        let shares = Shares::new(10, 4, Duration::from_millis(10));
        let mut first = shares.take(ONE, 3).await.unwrap();
        assert_eq!(shares.take(ONE, 2).await.err().unwrap().status(), 503);
        let second = shares.take(ONE, 1).await.unwrap();
        let other = shares.take(OTHER, 4).await.unwrap();
        drop(second);
        // What is more than one may have is given as that much.
        assert!(shares.take(ONE, 100).await.is_err());
        first.keep(1);
        assert!(shares.take(ONE, 3).await.is_ok());
        drop((first, other));
        assert!(shares.take(ONE, 100).await.is_ok());
        assert_eq!(shares.all.available_permits(), 10);
    }

    #[actix_web::test]
    async fn all_accounts_together_have_so_much_and_the_operator_is_not_counted() {
        let shares = Shares::new(4, 4, Duration::from_millis(10));
        let held = shares.take(ONE, 4).await.unwrap();
        assert!(shares.take(OTHER, 1).await.is_err());
        assert!(shares.take(None, 100).await.is_ok());
        assert!(shares.take(OTHER, 0).await.is_ok());
        drop(held);
        assert!(shares.take(OTHER, 1).await.is_ok());
    }

    #[actix_web::test]
    async fn memory_is_given_back_when_a_long_answer_is_sent_and_at_once_for_a_short_one() {
        let shares = Shares::new(1 << 20, 1 << 20, Duration::from_millis(10));
        let share = shares.take(ONE, 1 << 20).await.unwrap();
        let response = share.until_sent(HttpResponse::Ok().body(vec![b' '; 100_000]));
        assert_eq!(shares.all.available_permits(), (1 << 20) - 100_000);
        let sent = actix_web::body::to_bytes(response.into_body()).await.ok().unwrap();
        assert_eq!((sent.len(), shares.all.available_permits()), (100_000, 1 << 20));
        let share = shares.take(ONE, 1 << 20).await.unwrap();
        let _response = share.until_sent(HttpResponse::Ok().body("short"));
        assert_eq!(shares.all.available_permits(), 1 << 20);
    }
}
