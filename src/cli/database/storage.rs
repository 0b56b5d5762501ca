//! Arguments of `storage`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::ConfigArgs;

/// Subcommands of `storage`.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Copy the store from one engine to the other and compare the two; the server must be stopped
    #[command(
        after_help = "Example, from the file of config.toml to the PostgreSQL of postgres.toml:\n  tempclock-webhooks storage copy --config config.toml --to postgres.toml\n\nAn existing store is never replaced, and an interrupted copy starts over.\nEnvironment variables apply only to the first configuration."
    )]
    Copy {
        /// Configuration of the store that is copied.
        #[command(flatten)]
        config: ConfigArgs,
        /// The configuration file of the new store, with the other storage.engine
        #[arg(long, value_name = "CONFIG")]
        to: PathBuf,
    },
}
