//! The codes that the program exits with, as `--help` lists them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// It should have worked and did not.
    Failed,
    /// The command line was wrong.
    Usage,
    /// The configuration is not valid.
    Configuration,
    /// There is no such thing.
    NotFound,
    /// The store failed; the service manager should start the server again.
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
