//! What every request goes through: shared state, authentication, limits, middleware, and the shape of responses and
//! errors. Runs on the HTTP workers.

mod body_text;
pub mod chunks;
pub mod error;
pub mod extract;
mod feed_error;
pub mod feed_waiters;
pub(super) mod free_space;
pub(super) mod json_body;
mod lease;
pub(super) mod middleware;
pub(super) mod ping_limit;
mod query;
pub(super) mod rate_limit;
pub mod recent_attempts;
pub mod respond;
pub mod served_catalogue;
pub(super) mod shares;
pub(super) mod state;
