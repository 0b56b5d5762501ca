//! Delivering: subscriptions, attempts, retries, isolation of endpoints, signatures.

mod backlog;
pub(super) mod deliveries;
pub(super) mod descriptors;
pub(super) mod failure_words;
mod feed;
pub(super) mod isolation;
pub(super) mod jobs;
pub(super) mod pushback;
pub(super) mod replay;
pub(super) mod retries;
pub(super) mod signing;
pub(super) mod subscriptions;
pub(super) mod test_ping;
