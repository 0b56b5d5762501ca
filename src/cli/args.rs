//! Arguments that several commands have. Types only.

use std::path::PathBuf;

use clap::Args;

const CONFIG_HELP: &str = "The configuration file [default: $TEMPCLOCK_WEBHOOKS_CONFIG, else /etc/tempclock-webhooks/config.toml if it exists]";

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

/// Which ids and tags the events have that are looked for.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// Only events of the worker with this id
    #[arg(long, value_name = "ID")]
    pub worker: Option<String>,
    /// Only events of the clock entry with this id
    #[arg(long, value_name = "ID")]
    pub entry: Option<String>,
    /// Only events of the shift with this id
    #[arg(long, value_name = "ID")]
    pub shift: Option<String>,
    /// Only events of the document with this id
    #[arg(long, value_name = "ID")]
    pub document: Option<String>,
    /// Only events of the location with this id
    #[arg(long, value_name = "ID")]
    pub location: Option<String>,
    /// Only events with this tag
    #[arg(long)]
    pub tag: Option<String>,
}

impl FindArgs {
    /// Names and values as the API takes them.
    #[must_use]
    pub fn parameters(self) -> [(&'static str, Option<String>); 6] {
        let Self { worker, entry, shift, document, location, tag } = self;
        [
            ("worker_id", worker),
            ("entry_id", entry),
            ("shift_id", shift),
            ("document_id", document),
            ("location_id", location),
            ("tag", tag),
        ]
    }
}
