//! The words after `secrets`.

use std::path::PathBuf;

use clap::Subcommand;

use super::ConfigArgs;

/// What can be done with the key of signing secrets.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Write a new key to a file that is not there yet
    #[command(after_help = "Example:\n  tempclock-webhooks secrets make-key secrets.key")]
    MakeKey {
        /// Where to; the configuration names it as the encryption key file
        file: PathBuf,
    },
    /// Encrypt all signing secrets with another key; the server must not run
    #[command(after_help = "Example:\n  tempclock-webhooks secrets rotate --new-key-file new.key")]
    Rotate {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The file with the new key
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
    },
    /// Store signing secrets as they are from now on; the server must not run
    #[command(after_help = "Example:\n  tempclock-webhooks secrets decrypt --yes")]
    Decrypt {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Go on
        #[arg(long)]
        yes: bool,
    },
}
