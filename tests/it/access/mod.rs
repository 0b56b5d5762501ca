//! Accounts, keys and secrets.

pub(super) mod accounts_and_keys;
pub(super) mod keys_guarded;
pub(super) mod secrets;
