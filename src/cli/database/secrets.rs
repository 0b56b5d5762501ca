//! Arguments of `secrets`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::ConfigArgs;

/// Subcommands of `secrets`.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Write a new key to a new file
    #[command(after_help = "Example:\n  tempclock-webhooks secrets make-key secrets.key")]
    MakeKey {
        /// Key file to create; set `storage.encryption_key_file` to it
        file: PathBuf,
    },
    /// Encrypt all signing secrets with a new key; the server must be stopped
    #[command(after_help = "Example:\n  tempclock-webhooks secrets rotate --new-key-file new.key")]
    Rotate {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The file with the new key
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
    },
    /// Store signing secrets unencrypted from now on; the server must be stopped
    #[command(after_help = "Example, which asks for no confirmation:\n  tempclock-webhooks secrets decrypt --yes")]
    Decrypt {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}
