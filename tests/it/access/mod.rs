//! Accounts, keys and secrets.

pub(super) mod accounts_and_keys;
pub(super) mod audit;
pub(super) mod evidence;
pub(super) mod keys_guarded;
pub(super) mod keys_over_http;
pub(super) mod secrets;
