//! Options of a subscription: how requests are built, who gets what, and when.

mod filters;
mod pace;
mod refusals;
mod requests;
mod rotation;
mod sealed;
mod tools;
