//! Commands that run the server, and what it does towards the operating system. Runs on the main thread.

pub(super) mod allocator;
pub(super) mod init;
pub(super) mod log_output;
pub(super) mod log_pipe;
pub(super) mod serve;
pub(super) mod service_manager;
