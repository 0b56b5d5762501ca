//! The pages for people: who may sign in, what they see and do, and what a page of another site cannot do.

mod browser;
mod deliveries;
mod signing_in;

pub use browser::Browser;
