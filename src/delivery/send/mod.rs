//! Makes one attempt over the network and classifies its outcome. Runs on delivery threads; holds no lock while it sends.

pub(super) mod addresses;
pub(super) mod answer;
pub(super) mod budget;
pub(super) mod classify;
pub(super) mod connection;
pub mod dial;
pub(super) mod exchange;
pub(super) mod failed_addresses;
pub mod guard;
pub(super) mod kept;
pub mod look_up;
pub(super) mod phase;
pub(super) mod sessions;
pub(super) mod signatures;
pub(super) mod tcp;
pub mod tls;
pub mod tls_error;
pub(super) mod tls_stream;
pub mod transport;
pub(super) mod verifier;
