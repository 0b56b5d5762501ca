//! Tells those who run the server, and looks after endpoints that were turned off. Consumers of what is committed, on threads
//! of their own; nothing here delays a commit or a delivery.

pub mod bell;
pub mod mail;
pub mod notifier;
pub mod probe;
pub mod program;
mod smtp_session;
pub mod status;
pub mod watch;
pub mod way;
pub mod webhook;
