//! Arguments that several commands have. Types only.

use std::path::PathBuf;

use clap::Args;

const CONFIG_HELP: &str =
    "The configuration file [default: $TEMPCLOCK_WEBHOOKS_CONFIG, else /etc/tempclock-webhooks/config.toml if there]";

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", global = true, help = CONFIG_HELP)]
    pub config: Option<PathBuf>,
}

/// The account and output format of a command.
#[derive(Debug, Args)]
pub struct AccountArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Account whose subscriptions, events and deliveries to use
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub account: String,
    /// Print JSON, as the API returns it
    #[arg(long)]
    pub json: bool,
}
