//! Arguments of `config`.

use clap::Subcommand;

use super::args::ConfigArgs;

/// Subcommands of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and report every error at once
    #[command(after_help = "Example:\n  tempclock-webhooks config check --config config.toml")]
    Check {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Show each value and where it comes from
    #[command(after_help = "Example:\n  tempclock-webhooks config show --config config.toml --json")]
    Show {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
