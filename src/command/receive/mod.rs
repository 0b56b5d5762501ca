//! The receiver's side: `listen`, `demo`, `sign`, `verify`, and the diagnosis of signatures that do not match.

pub(super) mod demo;
pub mod diagnosis;
pub(super) mod known;
pub(super) mod listen;
pub(super) mod receiver;
pub(super) mod sign;
pub(super) mod verify;
