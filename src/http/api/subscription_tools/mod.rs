//! What can be asked of one subscription beside reading and changing it. Runs on the HTTP workers.

pub(in crate::http) mod matching;
pub(in crate::http) mod rotation;
