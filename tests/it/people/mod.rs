//! What concerns people: those whose data passes through, and those who run the server.

pub(super) mod erasure;
