//! How the operator's commands reach the store. The database file has one owner; whoever has it open serves the API
//! over a Unix socket that only its own user can connect to, with routes for keys and backups beside it. That is the
//! running server, or, while there is none, the command itself.

mod backup;
pub mod client;
mod clock;
mod keys;
pub mod server;
mod unix;
