//! What concerns people: those whose data passes through, and those who run the server.

pub(super) mod alert_kinds;
pub(super) mod alerts;
pub(super) mod erasure;
pub(super) mod mail;
mod mail_server;
pub(super) mod probe;
