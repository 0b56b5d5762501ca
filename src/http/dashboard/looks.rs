//! Which live views show the same: each kind of view has one task that makes frames of rows for all who follow it, and there
//! are never more kinds than live views. Shared by the HTTP workers; the lock is held for one look into the map.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::web::Bytes;
use tokio::sync::watch::{self, Receiver, Sender};

use crate::domain::{AccountId, SubscriptionId};

/// The newest rows, as one look at the store has found them.
#[derive(Clone, Default)]
pub struct Frame {
    /// An event of the stream; empty if there are none.
    pub rows: Bytes,
    /// How many attempts came before these rows, those that are not shown included.
    pub before: u64,
    /// The same with these rows.
    pub counted: u64,
}

/// Everything that the rows of a view depend on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Whose deliveries.
    pub account: AccountId,
    /// Whose share of threads the looks take.
    pub counted: Option<AccountId>,
    /// The subscriptions that are seen; all if there are none.
    pub seen: Vec<SubscriptionId>,
    /// Only of this one.
    pub subscription: Option<SubscriptionId>,
    /// Only in this state, unless it is empty.
    pub status: String,
    /// Only of this type, unless it is empty.
    pub event: String,
}

/// The kinds of views that are followed.
#[derive(Default)]
pub struct Looks(Mutex<HashMap<Wanted, Sender<Frame>>>);

impl Looks {
    /// Follows the frames of a kind. Who follows first also gets the entry, and has to make them.
    pub fn follow(self: &Arc<Self>, wanted: Wanted) -> (Receiver<Frame>, Option<Entry>) {
        let mut kept = self.lock();
        if let Some(known) = kept.get(&wanted) {
            return (known.subscribe(), None);
        }
        let (sender, receiver) = watch::channel(Frame::default());
        kept.insert(wanted.clone(), sender.clone());
        (receiver, Some(Entry { looks: Arc::clone(self), wanted, sender }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Wanted, Sender<Frame>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kind in the map. It leaves when this is dropped, however the task ends: who still follows sees the end of the channel.
pub struct Entry {
    looks: Arc<Looks>,
    wanted: Wanted,
    sender: Sender<Frame>,
}

impl Entry {
    /// What is wanted.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Gives a frame to all who follow: so many attempts that are not shown, then so many rows.
    pub fn show(&self, missed: u64, count: u64, rows: Bytes) {
        self.sender.send_modify(|frame| {
            let before = frame.counted + missed;
            *frame = Frame { rows, before, counted: before + count };
        });
    }

    /// Leaves if nobody follows any more; under the same lock as somebody who comes.
    pub fn leave_if_alone(&self) -> bool {
        let mut kept = self.looks.lock();
        let is_alone = self.sender.is_closed();
        if is_alone {
            kept.remove(&self.wanted);
        }
        is_alone
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut kept = self.looks.lock();
        // Another one may have begun since it left.
        if kept.get(&self.wanted).is_some_and(|known| known.same_channel(&self.sender)) {
            kept.remove(&self.wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(status: &str) -> Wanted {
        Wanted {
            account: AccountId(1),
            counted: None,
            seen: Vec::new(),
            subscription: None,
            status: status.to_owned(),
            event: String::new(),
        }
    }

    #[test]
    fn those_who_want_the_same_follow_one_entry_until_the_last_one_has_gone() {
        let looks = Arc::new(Looks::default());
        let (mut first, entry) = looks.follow(wanted(""));
        let entry = entry.unwrap();
        assert!(looks.follow(wanted("exhausted")).1.is_some(), "other rows");
        let (mut second, none) = looks.follow(wanted(""));
        assert!(none.is_none());
        entry.show(7, 2, Bytes::from_static(b"rows"));
        entry.show(0, 1, Bytes::from_static(b"more"));
        for follower in [&mut first, &mut second] {
            let Frame { rows, before, counted } = follower.borrow_and_update().clone();
            assert_eq!(
                (&rows[..], before, counted),
                (&b"more"[..], 9, 10),
                "the newest frame, and what came before it"
            );
        }
        drop(first);
        assert!(!entry.leave_if_alone());
        drop(second);
        assert!(entry.leave_if_alone());
        let (_third, again) = looks.follow(wanted(""));
        let again = again.unwrap();
        drop(entry);
        assert!(looks.follow(wanted("")).1.is_none(), "an entry that has left takes no other with it");
        drop(again);
        assert!(looks.follow(wanted("")).1.is_some());
    }
}
