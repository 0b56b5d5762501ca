//! Receivers of every kind: hostile ones, TLS, addresses, libraries of others.

pub(super) mod address_rule;
pub(super) mod addresses;
pub(super) mod answers;
mod bridges;
pub(super) mod certificates;
mod exact_names;
pub(super) mod hostile;
pub(super) mod interop;
pub(super) mod island;
mod openssl;
mod other_senders;
mod proxy;
pub(super) mod stray;
pub(super) mod tls;
