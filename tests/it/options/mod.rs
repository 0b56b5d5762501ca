//! Options of a subscription: how requests are built, who gets what, and when.

mod access_tokens;
mod batch;
mod client_certificate;
mod filters;
mod order;
mod pace;
mod refusals;
mod requests;
mod rotation;
mod sealed;
mod tools;
