//! Connections to the database: where it is, how it is asked, and what it says when something goes wrong.

pub(super) mod fault;
pub(super) mod line;
pub(super) mod place;
pub(super) mod pool;
pub(in crate::storage) mod reach;
pub(super) mod runtime;
pub(super) mod session;
pub(super) mod url;
