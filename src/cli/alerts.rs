//! Arguments of `alerts`.

use clap::Subcommand;

use super::args::ConfigArgs;

/// Subcommands of `alerts`.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Send a test alert by mail, webhook and command, as configured, and show what happened
    #[command(after_help = "Example:\n  tempclock-webhooks alerts test")]
    Test {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
