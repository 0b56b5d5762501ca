//! Arguments of `keys`.

use std::time::Duration;

use clap::Subcommand;

use super::args::ConfigArgs;
use crate::cli::value_parsers;

/// Subcommands of `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key; its text is shown only once
    #[command(
        override_usage = "tempclock-webhooks keys create --name <NAME> --scopes <SCOPE,…> [OPTIONS]",
        after_help = "Example:\n  tempclock-webhooks keys create --name crm --scopes webhooks:read --expires 90d"
    )]
    Create {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Name of the key
        #[arg(long)]
        name: String,
        /// Scopes of the key, or * for all but events:erase
        #[arg(long, value_name = "SCOPE,…", value_delimiter = ',', value_parser = value_parsers::Names::of_scopes())]
        scopes: Vec<String>,
        /// Account; created if missing
        #[arg(long, default_value = "default")]
        account: String,
        /// Lifetime, such as 90d
        #[arg(long, value_name = "DURATION", value_parser = value_parsers::lifetime)]
        expires: Option<Duration>,
        /// Networks that the key may be used from, such as 10.0.0.0/8 [default: all]
        #[arg(long, value_name = "CIDR", value_delimiter = ',')]
        networks: Vec<String>,
        /// Numbers of the subscriptions that the key can access [default: all of the account]
        #[arg(long, value_name = "NUMBER,…", value_delimiter = ',', value_parser = value_parsers::subscription)]
        subscriptions: Vec<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the keys, without their text
    #[command(after_help = "Example:\n  tempclock-webhooks keys list --json")]
    List {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Only keys of this account
        #[arg(long)]
        account: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Replace a key by one with the same rights; the old key expires after the overlap
    #[command(after_help = "Example:\n  tempclock-webhooks keys rotate 3 --overlap 24h")]
    Rotate {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Number, visible prefix or name of the key; id:3 is always the number
        key: String,
        /// How long both keys are valid, up to 7d
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = value_parsers::duration)]
        overlap: Duration,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key with immediate effect
    #[command(after_help = "Example, after which its programs are refused:\n  tempclock-webhooks keys revoke 3")]
    Revoke {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Number, visible prefix or name of the key; id:3 is always the number
        key: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
