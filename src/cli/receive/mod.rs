//! Arguments of the commands for receivers.

pub(super) mod listen;
pub(super) mod sign;
