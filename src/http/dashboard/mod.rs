//! The dashboard: pages for people, made on the server. It is a client of the API inside the process: a page calls the
//! very handlers of the API and shows their JSON, so it can never show or do what the API would not. Runs on the HTTP
//! workers; handlers hold no rules.
//!
//! Every page goes through `guard`: Origin, session, limit of pages, security headers, errors as pages. A form's body is
//! read by `form` alone, which checks the token against forged requests.

pub mod activity;
mod answers;
mod assets;
mod chart;
mod cookie;
mod form;
mod frame;
mod guard;
pub(super) mod links;
mod looks;
mod pages;
mod parts;
pub(super) mod routes;
pub mod settings;
mod sign_in;
pub(super) mod state;
mod theme;
mod visitor;

pub use sign_in::make_link;
