//! What commands read from and write to the terminal. Runs on the main thread.

pub(super) mod confirm;
pub(super) mod input;
pub(super) mod layout;
pub(super) mod output;
pub(super) mod progress;
pub(super) mod terminal;
