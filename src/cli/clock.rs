//! The words of `clock`.

use clap::Subcommand;

use super::args::ConfigArgs;

const CONFIRM_HELP: &str = "\
Example:
  tempclock-webhooks clock confirm

Retention only counts the time in which the server runs: downtime and jumps of the clock are
excluded. This command confirms that the clock is right and that the excluded time has passed.
Events that are then older than their retention are deleted for good, so the command first shows
how much time that is, and asks.";

/// What can be done about the clock.
#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Confirm that the machine's clock is right, so that excluded time counts for retention
    #[command(after_help = CONFIRM_HELP)]
    Confirm {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
