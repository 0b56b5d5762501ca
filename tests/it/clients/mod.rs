//! Clients of the API that are hostile, many, slow or wrong.

pub(super) mod bodies;
pub(super) mod errors;
pub(super) mod fuzzed_requests;
pub(super) mod hostile;
pub(super) mod hostile_data;
pub(super) mod large_answers;
pub(super) mod many;
pub(super) mod pipelining;
pub(super) mod rate_limit;
pub(super) mod sources;
