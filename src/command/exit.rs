//! Exit codes, as listed in `--help`.

use std::process::ExitCode;

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Done,
    /// Failure.
    Failed,
    /// Invalid command line.
    Usage,
    /// Invalid configuration.
    Configuration,
    /// Not found.
    NotFound,
    /// The store failed; the service manager should restart the server.
    StoreFailed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Configuration => 3,
            Exit::NotFound => 5,
            Exit::StoreFailed => 74,
        })
    }
}
