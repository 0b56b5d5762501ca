//! The words of `keys`.

use std::time::Duration;

use clap::Subcommand;

use super::{ConfigArgs, words};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key; its text is shown this once
    #[command(
        override_usage = "tempclock-webhooks keys create --name <NAME> --scopes <SCOPE,…> [OPTIONS]",
        after_help = "Example:\n  tempclock-webhooks keys create --name crm --scopes webhooks:read --expires 90d"
    )]
    Create {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// What to call it
        #[arg(long)]
        name: String,
        /// What it may do, or * for all
        #[arg(long, value_name = "SCOPE,…", value_delimiter = ',', value_parser = words::Names::of_scopes())]
        scopes: Vec<String>,
        /// Whose it is; made if new
        #[arg(long, default_value = "default")]
        account: String,
        /// For how long it is good, such as 90d
        #[arg(long, value_name = "DURATION", value_parser = words::lifetime)]
        expires: Option<Duration>,
        /// From which networks it may be used, such as 10.0.0.0/8 [default: from all]
        #[arg(long, value_name = "CIDR", value_delimiter = ',')]
        networks: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the keys, without their texts
    #[command(after_help = "Example:\n  tempclock-webhooks keys list --json")]
    List {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Only those of this account
        #[arg(long)]
        account: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; it is refused at once
    #[command(after_help = "Example:\n  tempclock-webhooks keys revoke 3")]
    Revoke {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Its number, visible prefix or name; id:3 is always the number
        key: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
