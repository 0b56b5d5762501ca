//! The pages, one file each. A page calls handlers of the API, reads their JSON and fills a template; it holds no rules.
//! Runs on the HTTP workers.

pub mod audit;
pub mod deliveries;
pub mod delivery;
pub mod events;
mod filters;
pub mod jobs;
pub mod keys;
pub mod live;
mod look;
mod option_form;
pub mod overview;
pub mod replay;
pub mod subscription_form;
pub mod subscriptions;
pub mod system;
pub mod verify;
pub mod worker;
