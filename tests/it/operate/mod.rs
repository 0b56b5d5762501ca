//! What an operator relies on: readiness, metrics, the service.

pub(super) mod doctor_disk;
pub(super) mod health;
pub(super) mod memory;
pub(super) mod metrics;
pub(super) mod service;
