//! The command line.

pub(super) mod config;
pub(super) mod control;
pub(super) mod deliveries;
pub(super) mod demo;
pub(super) mod doctor;
pub(super) mod events;
mod first_steps;
pub(super) mod listen;
pub(super) mod output;
pub(super) mod pages;
pub(super) mod sign_verify;
pub(super) mod subscriptions;
