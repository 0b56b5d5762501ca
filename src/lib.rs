//! tempclock-webhooks: takes staffing time-clock events, keeps them in one embedded file together with everything
//! that is still owed to its subscribers, and delivers each of them, signed, until it has arrived.
//!
//! The layers, lowest first; each imports its own level and below, never above:
//! [`domain`] decides, [`storage`] remembers, [`delivery`] sends, [`http`] answers, [`control`] serves the command
//! line, [`app`] puts them together, [`command`] is what a person types. [`clock`], [`disk`] and [`metrics`] are leaves beside them, and
//! [`config`] is read by [`app`] and [`command`] alone.

pub mod clock;
pub mod disk;
pub mod domain;
pub mod metrics;
pub mod storage;

pub mod delivery;
pub mod http;

pub mod control;

pub mod config;

pub mod app;

pub mod cli;
pub mod command;
