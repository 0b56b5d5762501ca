//! The writer: its queue, what shares a commit, and the space guard. One thread owns every write transaction (I2).

pub(super) mod batching;
pub mod queue;
pub(super) mod space;
pub mod writer;
