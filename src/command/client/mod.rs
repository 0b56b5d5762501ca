//! How commands reach the API: over the control socket or over HTTP. Runs on the main thread.

pub(super) mod control_api;
pub(super) mod http_api;
pub(super) mod query;
pub(super) mod reply;
