//! What a command that did not do what it was asked ends with. Pure; runs on the main thread.

use super::Exit;
use crate::app::StartError;

/// The result of a command: success, or an exit code and a message.
pub type Outcome = Result<(), Failure>;

/// The exit code and message of a command that failed.
pub type Failure = (Exit, String);

/// A failure with the general exit code.
pub fn failed(error: impl std::fmt::Display) -> Failure {
    (Exit::Failed, error.to_string())
}

/// The exit code and message of a start that failed.
pub fn start_failure(error: &StartError) -> Failure {
    let exit = match error {
        StartError::Certificate { .. } | StartError::SecretFile { .. } | StartError::Alerts { .. } => {
            Exit::Configuration
        }
        StartError::Store(error) if error.is_of_the_configuration() => Exit::Configuration,
        StartError::Store(error) if error.is_of_the_database_server() => Exit::StoreFailed,
        _ => Exit::Failed,
    };
    (exit, error.to_string())
}
