//! The stored form of everything as encoded rows. Pure but for random nonces; any thread. A stored
//! struct never changes: another shape is another version.

pub mod audit_record;
pub(super) mod codec;
pub mod delivery_record;
pub(super) mod digest;
pub(super) mod find_digest;
pub mod format_2;
pub mod history_record;
pub mod job_record;
pub mod key_record;
pub mod notice_record;
pub mod outbox_row;
mod outcome_record;
pub mod record;
pub mod session_record;
pub mod subscription_record;
