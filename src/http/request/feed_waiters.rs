//! Who waits for the next event of a feed. A request waits as a task, without a thread and without looking again; a commit
//! wakes those whose subscription got an event. Any thread.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::SubscriptionId;
use crate::storage::command::Committed;

/// All that wait.
#[derive(Debug, Default)]
pub struct FeedWaiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// With how many requests wait for each.
    feeds: HashMap<SubscriptionId, (Arc<Notify>, usize)>,
    is_closed: bool,
}

/// One request that waits, until it is dropped.
pub struct Waiter {
    all: Arc<FeedWaiters>,
    feed: SubscriptionId,
    /// Told of each event of the feed.
    pub told: Arc<Notify>,
}

impl FeedWaiters {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a feed from now on; what is read afterwards misses no event that this is not told of. None when the server
    /// stops.
    #[must_use]
    pub fn wait_for(self: &Arc<Self>, feed: SubscriptionId) -> Option<Waiter> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return None;
        }
        let (told, count) = waiting.feeds.entry(feed).or_default();
        *count += 1;
        Some(Waiter { all: Arc::clone(self), feed, told: Arc::clone(told) })
    }

    /// Wakes those whose feed has new events, after the commit that readers see.
    pub fn committed(&self, committed: &Committed) {
        let waiting = self.lock();
        if waiting.feeds.is_empty() {
            return;
        }
        for new in &committed.unattempted {
            if let Some((told, _)) = waiting.feeds.get(&new.subscription) {
                told.notify_waiters();
            }
        }
    }

    /// Wakes all, and lets nobody wait any more.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.feeds.values().for_each(|(told, _)| told.notify_waiters());
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.all.lock();
        if let Some((_, count)) = waiting.feeds.get_mut(&self.feed) {
            *count -= 1;
            if *count == 0 {
                waiting.feeds.remove(&self.feed);
            }
        }
    }
}
