//! Arguments of `nodes`.

use clap::Subcommand;

use super::args::ConfigArgs;

/// Subcommands of `nodes`.
#[derive(Debug, Subcommand)]
pub enum NodesCommand {
    /// List the servers that use the store, with the lease of the active one and how far deliveries are behind
    #[command(after_help = "Example:\n  tempclock-webhooks nodes list")]
    List {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
