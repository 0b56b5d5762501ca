//! Housekeeping: removes what is no longer needed, in short steps inside the open write transaction. The rows of deleted
//! subscriptions go first; then a pass goes through what retention has come to. Runs on the writer thread, in a server and
//! in no command.

mod held;
pub(in crate::storage) mod look;
mod receivers;

use std::time::Duration;

use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, SubscriptionId, Timestamp};
use crate::storage::engine::Tx;
use crate::storage::error::StorageError;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::budget::Budget;
use crate::storage::rules::kept::Cutoffs;
use crate::storage::rules::settings::RetentionRule;

/// Longest interval between passes, and the part of the shortest retention that it is otherwise.
const PASS_EVERY_MAX: Duration = Duration::from_mins(10);
const PASS_EVERY_MIN: Duration = Duration::from_secs(1);
const PASSES_IN_A_RETENTION: u32 = 10;
/// What a pass does, in this order, and behind which account or subscription it goes on.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Attempts(AccountId),
    LateAttempts,
    Events(AccountId),
    LateEvents,
    Held(SubscriptionId),
}

const FIRST: Stage = Stage::Attempts(AccountId(0));

/// Progress of housekeeping.
pub struct Housekeeping {
    has_purges: bool,
    /// The pass that is under way.
    stage: Option<Stage>,
    /// When the next pass begins, by the steady clock.
    next_pass: Timestamp,
}

impl Default for Housekeeping {
    /// The state at start-up, when it is unknown what is left to do.
    fn default() -> Self {
        Self { has_purges: true, stage: None, next_pass: Timestamp::default() }
    }
}

impl Housekeeping {
    /// Notes that a subscription was deleted.
    pub fn subscription_deleted(&mut self) {
        self.has_purges = true;
    }

    /// Begins a pass at once.
    pub fn pass_now(&mut self) {
        self.stage = None;
        self.next_pass = Timestamp::default();
    }

    /// Time until there is something to do. `now` is the steady clock's time here.
    pub fn due_in(&self, now: Timestamp) -> Duration {
        if self.has_purges || self.stage.is_some() {
            return Duration::ZERO;
        }
        self.next_pass.since(now)
    }

    /// One step.
    pub(in crate::storage) fn step(
        &mut self,
        batch: &mut Batch<impl Tx>,
        state: &mut State,
        mut budget: Budget,
    ) -> Result<(), StorageError> {
        if self.has_purges {
            self.has_purges = batch.purge(state, &mut budget)?;
        }
        let now = state.clock.monotonic();
        if budget.is_spent() || (self.stage.is_none() && self.next_pass > now) {
            return Ok(());
        }
        let RetentionRule { events, attempts, held, .. } = state.rules.retention;
        if self.stage.is_none() {
            batch.wipe_ended_secrets(state)?;
            state.time.forget_gaps(events.max(attempts).max(held).max(state.rules.health.disable_after));
        }
        let before = Cutoffs::now(state);
        let mut next = self.stage.or(Some(FIRST));
        while let Some(present) = next.filter(|_| !budget.is_spent()) {
            next = batch.advance(present, state, before, &mut budget)?;
        }
        self.stage = next;
        if self.stage.is_none() {
            let every = events.min(attempts).min(held) / PASSES_IN_A_RETENTION;
            self.next_pass = now.plus(every.clamp(PASS_EVERY_MIN, PASS_EVERY_MAX));
        }
        Ok(())
    }
}

impl<T: Tx> Batch<T> {
    /// Removes some rows of deleted subscriptions. Returns whether there are more.
    fn purge(&mut self, state: &State, budget: &mut Budget) -> Result<bool, StorageError> {
        loop {
            let purged = self.tx.purge_some(budget.rows())?;
            for (account, event) in purged.events {
                self.settled_of_kept(state, account, event, state.time.now())?;
            }
            budget.spend(purged.rows.max(1));
            if !purged.has_more || budget.is_spent() {
                return Ok(purged.has_more);
            }
        }
    }

    /// Does some of a stage. Gives where the pass goes on; none at its end.
    fn advance(
        &mut self,
        present: Stage,
        state: &mut State,
        before: Cutoffs,
        budget: &mut Budget,
    ) -> Result<Option<Stage>, StorageError> {
        Ok(Some(match present {
            // Otherwise they go with their events.
            Stage::Attempts(_) if before.attempts <= before.events => Stage::LateAttempts,
            Stage::Attempts(done) => match self.tx.account_after(done)? {
                None => Stage::LateAttempts,
                Some(account) if self.forget_attempts(state, account, before, budget)? => Stage::Attempts(account),
                Some(_) => present,
            },
            Stage::LateAttempts if self.forget_late_attempts(before, budget)? => Stage::Events(AccountId(0)),
            Stage::Events(done) => match self.tx.account_after(done)? {
                None => Stage::LateEvents,
                Some(account) if self.remove_old_events(state, account, before, budget)? => Stage::Events(account),
                Some(_) => present,
            },
            Stage::LateEvents if self.remove_late_events(state, before, budget)? => Stage::Held(SubscriptionId(0)),
            Stage::LateAttempts | Stage::LateEvents => present,
            Stage::Held(done) => {
                let holds = |found: &Subscription| !found.state.is_active() || found.is_pull();
                let holding = state.registry.subscriptions_after(done).find(|found| holds(found)).cloned();
                match holding {
                    None => return Ok(None),
                    Some(found) if self.expire_held(state, &found, before, budget)? => Stage::Held(found.id),
                    Some(_) => present,
                }
            }
        }))
    }
}
