//! Priority classes: queues of lanes that have a job to run, and the share of threads for each class. Pure; part of the
//! schedule.

use std::collections::BTreeMap;

use crate::domain::SubscriptionId;
use crate::tuning::schedule::{
    ROUND_ROBIN_EVERY, SPARED_BY_ACTIVE, SPARED_BY_FAILING, SPARED_BY_SLOW, SPARED_BY_UNPROVEN, SUSPECT_PART,
};

/// The class of a lane; see the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum PriorityClass {
    Idle = 0,
    Active = 1,
    Failing = 2,
    New = 3,
    Slow = 4,
    Suspect = 5,
}

const PRIORITY_CLASSES: [PriorityClass; 6] = [
    PriorityClass::Idle,
    PriorityClass::Active,
    PriorityClass::Failing,
    PriorityClass::New,
    PriorityClass::Slow,
    PriorityClass::Suspect,
];

/// The queue of each class and the threads it uses.
pub(in crate::delivery) struct PriorityQueues {
    threads: usize,
    /// Lanes by position, first come, first served.
    lanes: [BTreeMap<u64, SubscriptionId>; 6],
    next_position: u64,
    held: [usize; 6],
    taken: usize,
}

impl PriorityQueues {
    /// Empty queues for that many threads.
    pub(in crate::delivery) fn new(threads: usize) -> Self {
        Self { threads, lanes: Default::default(), next_position: 0, held: [0; 6], taken: 0 }
    }

    /// The classes in the order in which they may have the next job.
    pub(in crate::delivery) fn in_order(&self) -> impl Iterator<Item = PriorityClass> + use<> {
        let is_round_robin = self.taken % ROUND_ROBIN_EVERY == ROUND_ROBIN_EVERY - 1;
        let first = if is_round_robin { self.taken / ROUND_ROBIN_EVERY } else { 0 } % PRIORITY_CLASSES.len();
        PRIORITY_CLASSES.into_iter().cycle().skip(first).take(PRIORITY_CLASSES.len())
    }

    /// Appends a lane to a class's queue, and returns its position.
    pub(in crate::delivery) fn push(&mut self, class: PriorityClass, id: SubscriptionId) -> u64 {
        let position = self.next_position;
        self.next_position += 1;
        self.queue_mut(class).insert(position, id);
        position
    }

    /// Removes a lane from its position.
    pub(in crate::delivery) fn remove(&mut self, class: PriorityClass, position: u64) {
        self.queue_mut(class).remove(&position);
    }

    /// Removes and returns the first lane.
    pub(in crate::delivery) fn pop(&mut self, class: PriorityClass) -> Option<SubscriptionId> {
        self.queue_mut(class).pop_first().map(|(_, id)| id)
    }

    /// Notes that a thread has taken a job of that class.
    pub(in crate::delivery) fn acquire(&mut self, class: PriorityClass) {
        if let Some(held) = self.held.get_mut(class as usize) {
            *held += 1;
        }
        self.taken = self.taken.wrapping_add(1);
    }

    /// Notes that a thread has finished such a job.
    pub(in crate::delivery) fn release(&mut self, class: PriorityClass) {
        if let Some(held) = self.held.get_mut(class as usize) {
            debug_assert!(*held > 0, "a job of a class ended that had none");
            *held = held.saturating_sub(1);
        }
    }

    /// Number of busy threads.
    pub(in crate::delivery) fn busy_threads(&self) -> usize {
        self.held.iter().sum()
    }

    /// Whether there is a lane from which one more thread may take a job.
    pub(in crate::delivery) fn has_job(&self) -> bool {
        PRIORITY_CLASSES.iter().zip(&self.lanes).any(|(class, lanes)| !lanes.is_empty() && self.may_take(*class))
    }

    /// Whether one more thread may take a job of that class.
    pub(in crate::delivery) fn may_take(&self, class: PriorityClass) -> bool {
        let [_, _, _, new, slow, suspect] = self.held;
        let threads = self.threads;
        let all_but = |part: usize| (threads - threads / part).max(1);
        // Each of them may turn out to be unresponsive, and holds its thread until then.
        let spares_the_last = new + slow + suspect < all_but(SPARED_BY_UNPROVEN);
        match class {
            PriorityClass::Idle => true,
            // Leaves threads free for idle endpoints.
            PriorityClass::Active => self.busy_threads() < all_but(SPARED_BY_ACTIVE),
            // They respond quickly, so they may use nearly all threads that hanging ones leave.
            PriorityClass::Failing => self.busy_threads() < all_but(SPARED_BY_FAILING),
            PriorityClass::New => spares_the_last,
            PriorityClass::Slow => spares_the_last && slow + suspect < all_but(SPARED_BY_SLOW),
            PriorityClass::Suspect => {
                spares_the_last && suspect < (threads / SUSPECT_PART).max(1) && slow + suspect < all_but(SPARED_BY_SLOW)
            }
        }
    }

    fn queue_mut(&mut self, class: PriorityClass) -> &mut BTreeMap<u64, SubscriptionId> {
        let [first, further, failing, new, slow, suspect] = &mut self.lanes;
        match class {
            PriorityClass::Idle => first,
            PriorityClass::Active => further,
            PriorityClass::Failing => failing,
            PriorityClass::New => new,
            PriorityClass::Slow => slow,
            PriorityClass::Suspect => suspect,
        }
    }
}
