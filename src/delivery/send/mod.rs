//! Makes one attempt over the network and classifies its outcome. Runs on delivery threads; holds no lock while it sends.

pub mod address;
pub(super) mod answer;
pub(super) mod budget;
pub(super) mod classify;
pub(super) mod connect;
pub(super) mod connection;
pub mod dial;
pub(super) mod exchange;
mod input;
pub(super) mod kept;
pub(super) mod limit;
pub mod proxy;
pub(super) mod tcp;
pub mod tls;
pub(super) mod token;
pub mod transport;
