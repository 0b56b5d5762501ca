//! The words of `clock`.

use clap::Subcommand;

use super::args::ConfigArgs;

const CONFIRM_HELP: &str = "\
Example:
  tempclock-webhooks clock confirm

What is stored is kept for retention.events by the time in which the server was at work: while it is
down, and when the clock leaps, nothing grows older. This says that the clock is right and that all
that time has passed. What is older by the calendar is then removed, and cannot be brought back.";

/// What can be done about the clock.
#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Say that the machine's clock is right: time that was left out counts for retention
    #[command(after_help = CONFIRM_HELP)]
    Confirm {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
