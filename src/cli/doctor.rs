//! Arguments of `doctor`.

use clap::Args;

use super::api::ApiArgs;
use super::args::ConfigArgs;

/// `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tempclock-webhooks doctor --config /etc/tempclock-webhooks/config.toml
  tempclock-webhooks doctor --api-key-file key.txt --host crm.example.com --json

Each line begins with ok, warning or problem. The exit code is 0 if there is no problem, else 1.
While the server runs, its queue is checked over the control socket or, on another machine, with
an API key (scope webhooks:read, and events:read for the newest event).")]
pub struct DoctorArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Which server to ask.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Host to resolve and connect to, or a URL [default: those of the subscriptions]
    #[arg(long, value_name = "HOST[:PORT]|URL")]
    pub host: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
