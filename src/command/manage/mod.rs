//! Commands on accounts' subscriptions, events, deliveries and keys, and on servers. Runs on the main thread.

pub(super) mod alerts;
pub(super) mod audit;
pub(super) mod clock;
pub(super) mod dashboard;
pub(super) mod deliveries;
pub(super) mod events;
pub(super) mod evidence;
pub(super) mod jobs;
pub(super) mod keys;
pub(super) mod nodes;
pub(super) mod publish;
pub(super) mod subscription_options;
pub(super) mod subscriptions;
pub(super) mod tail;
