//! The API's resources, one file each, with the bodies they read and the JSON they return. Runs on the HTTP workers;
//! handlers hold no rules.

pub(super) mod audit;
pub(super) mod compat;
pub(super) mod deliveries;
pub mod event_body;
pub(super) mod event_types;
pub(super) mod events;
pub(super) mod evidence;
pub(super) mod feeds;
pub mod fields;
pub mod follow;
pub(super) mod health;
pub(super) mod jobs;
pub mod key_body;
pub mod keys;
pub(super) mod option_schemas;
pub mod subscription_body;
pub(super) mod subscription_tools;
pub(super) mod subscriptions;
pub(super) mod test_ping;
pub(super) mod view;
