//! The pages, one file each. A page calls handlers of the API, reads their JSON and fills a template; it holds no rules.
//! Runs on the HTTP workers.

pub mod deliveries;
pub mod delivery;
mod filters;
pub mod jobs;
pub mod overview;
