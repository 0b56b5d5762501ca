//! What the commands on a database file say where there is none. Runs on the main thread.

use crate::command::Failure;
use crate::command::failure::failed;
use crate::config::{Config, StorageEngine};

/// Fails where the store is in PostgreSQL; `instead` says what does the same there.
pub fn require_embedded(config: &Config, command: &str, instead: &str) -> Result<(), Failure> {
    if config.storage.engine == StorageEngine::Embedded {
        return Ok(());
    }
    Err(failed(format!("{command} is for the embedded engine, and storage.engine is \"postgres\": {instead}")))
}
