//! The control socket, through which commands reach the store. The database file has one owner, which serves the API on
//! a Unix socket for its own user only, with additional routes for keys and backups. The owner is the running server
//! or, without one, the command itself.

mod alerts;
mod backup;
pub mod client;
mod clock;
mod dashboard;
mod keys;
mod nodes;
pub mod server;
mod socket;
