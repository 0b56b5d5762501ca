//! The audit: each change is recorded in the transaction that makes it, so neither is there without the other. Runs on the
//! writer thread.

use serde_json::{Map, Value};

use crate::domain::AuditId;
use crate::domain::audit::{AuditRecord, Change, Origin};
use crate::storage::engine::Tx;
use crate::storage::error::StorageError;
use crate::storage::rules::apply::{Batch, State};

/// The object of a change of the whole server.
const SERVER: &str = "server";
/// How many records that are no longer kept go with each new one: more than come, so that they become fewer.
const REMOVED_AT_ONCE: usize = 10;

impl<T: Tx> Batch<T> {
    /// Notes a change of the command that is being executed.
    pub(in crate::storage) fn note(&mut self, change: impl Into<Option<Change>>) {
        self.noted.extend(change.into());
    }

    /// Notes a change that concerns every account.
    pub fn note_server_change(&mut self, state: &State, action: &str, after: &Map<String, Value>) {
        for account in state.registry.accounts() {
            let after = Some(after.clone()).filter(|after| !after.is_empty());
            self.note(Change { after, ..Change::of(account, action, SERVER.to_owned()) });
        }
    }

    /// Forgets what was noted: nobody asked for it.
    pub fn forget_changes(&mut self) {
        self.noted.clear();
    }

    /// Records what was noted.
    pub fn record_changes(&mut self, state: &mut State, origin: &Origin) -> Result<(), StorageError> {
        for change in std::mem::take(&mut self.noted) {
            let oldest = state.time.kept_from(state.rules.audit_kept);
            self.tx.trim_audit(change.account, oldest, REMOVED_AT_ONCE)?;
            let id = AuditId(state.ids.next(state.time.now(), state.random.next_u128()?).0);
            self.tx.put_audit(&AuditRecord { id, origin: origin.clone(), change })?;
        }
        Ok(())
    }
}
