//! Where lanes stand while they have a job that may go, and how many of the threads each ring may hold. Pure; lives
//! inside the schedule.

use std::collections::BTreeMap;

use crate::domain::SubscriptionId;

/// What is known of the endpoints of the lanes in it; see the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    First = 0,
    Further = 1,
    Failing = 2,
    New = 3,
    Slow = 4,
    Suspect = 5,
}

const RINGS: [Ring; 6] = [Ring::First, Ring::Further, Ring::Failing, Ring::New, Ring::Slow, Ring::Suspect];

/// The rings and the threads that they hold.
pub(super) struct Rings {
    threads: usize,
    /// Lanes by their places; whoever came first goes first.
    lanes: [BTreeMap<u64, SubscriptionId>; 6],
    next_place: u64,
    held: [usize; 6],
    taken: usize,
}

/// Of so many jobs one goes to the ring whose turn it is; the others go to endpoints that answer well first, so that in a
/// burst nobody healthy waits behind the sick.
const TURN: usize = 4;

impl Rings {
    /// Empty rings for that many threads.
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, lanes: Default::default(), next_place: 0, held: [0; 6], taken: 0 }
    }

    /// The rings, in the order in which they may have the next job.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = Ring> + use<> {
        let is_turn = self.taken % TURN == TURN - 1;
        let first = if is_turn { self.taken / TURN } else { 0 } % RINGS.len();
        RINGS.into_iter().cycle().skip(first).take(RINGS.len())
    }

    /// Puts a lane at the end of a ring, and gives its place there.
    pub(super) fn join(&mut self, ring: Ring, id: SubscriptionId) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.ring_mut(ring).insert(place, id);
        place
    }

    /// Takes a lane out of its place.
    pub(super) fn leave(&mut self, ring: Ring, place: u64) {
        self.ring_mut(ring).remove(&place);
    }

    /// Takes out the lane that stands first.
    pub(super) fn pop(&mut self, ring: Ring) -> Option<SubscriptionId> {
        self.ring_mut(ring).pop_first().map(|(_, id)| id)
    }

    /// A thread has taken a job from that ring.
    pub(super) fn hold(&mut self, ring: Ring) {
        if let Some(held) = self.held.get_mut(ring as usize) {
            *held += 1;
        }
        self.taken = self.taken.wrapping_add(1);
    }

    /// A thread has ended such a job.
    pub(super) fn release(&mut self, ring: Ring) {
        if let Some(held) = self.held.get_mut(ring as usize) {
            *held = held.saturating_sub(1);
        }
    }

    /// How many threads have a job.
    pub(super) fn held(&self) -> usize {
        self.held.iter().sum()
    }

    /// Is there a lane from which one more thread may take a job?
    pub(super) fn has_job(&self) -> bool {
        RINGS.iter().zip(&self.lanes).any(|(ring, lanes)| !lanes.is_empty() && self.may_take(*ring))
    }

    /// May one more thread take a job from that ring?
    pub(super) fn may_take(&self, ring: Ring) -> bool {
        let [_, _, _, new, slow, suspect] = self.held;
        let threads = self.threads;
        let all_but = |part: usize| (threads - threads / part).max(1);
        // Each of them may turn out to be silent, and holds its thread until that is known.
        let spares_the_last = new + slow + suspect < all_but(8);
        match ring {
            Ring::First => true,
            // Only a thread that is not needed for somebody's first attempt.
            Ring::Further => self.held() < all_but(4),
            // They answer quickly, so what hanging ones leave is theirs too, but for a few threads.
            Ring::Failing => self.held() < all_but(16),
            Ring::New => spares_the_last,
            Ring::Slow => spares_the_last && slow + suspect < all_but(4),
            Ring::Suspect => spares_the_last && suspect < (threads / 4).max(1) && slow + suspect < all_but(4),
        }
    }

    fn ring_mut(&mut self, ring: Ring) -> &mut BTreeMap<u64, SubscriptionId> {
        let [first, further, failing, new, slow, suspect] = &mut self.lanes;
        match ring {
            Ring::First => first,
            Ring::Further => further,
            Ring::Failing => failing,
            Ring::New => new,
            Ring::Slow => slow,
            Ring::Suspect => suspect,
        }
    }
}
