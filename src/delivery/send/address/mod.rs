//! To which addresses a connection may go ([`guard`], [`look_up`]), and which of them is tried first (`order`,
//! `failed`). Runs on delivery threads.

pub(in crate::delivery) mod failed;
pub mod guard;
pub mod look_up;
pub(in crate::delivery) mod order;
