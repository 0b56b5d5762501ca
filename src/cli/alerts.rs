//! Arguments of `alerts`.

use clap::Subcommand;

use super::args::ConfigArgs;

/// Subcommands of `alerts`.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Send a test alert over every configured channel and show the results
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
