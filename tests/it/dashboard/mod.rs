//! The pages for people: who may sign in, what they see and do, and what a page of another site cannot do.

mod account;
mod attacks;
mod browser;
mod charts;
mod deliveries;
mod live;
mod signing_in;
mod subscriptions;

pub use browser::Browser;
