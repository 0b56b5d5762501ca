//! tempclock-webhooks: accepts staffing time-clock events, stores them with their pending deliveries in one embedded
//! file, and delivers each event, signed, with retries, to every subscriber.
//!
//! The layers, lowest first; each imports its own level and below, never above: [`domain`] decides, [`storage`]
//! persists, [`delivery`] sends, [`http`] serves the API, [`notify`] tells those who run the server, [`control`] serves it to the command line, [`app`] wires
//! everything together, [`command`] implements the commands. [`clock`], [`descriptors`], [`metrics`] and
//! [`tuning`] are leaves beside them, and [`config`] is read by [`app`] and [`command`] alone.

pub mod clock;
pub mod descriptors;
pub mod domain;
pub mod metrics;
pub mod storage;
pub mod tuning;

pub mod delivery;
pub mod http;

pub mod notify;

pub mod control;

pub mod config;

pub mod app;

pub mod cli;
pub mod command;
