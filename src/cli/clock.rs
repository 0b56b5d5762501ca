//! The words of `clock`.

use clap::Subcommand;

use super::args::ConfigArgs;

const CONFIRM_HELP: &str = "\
Example:
  tempclock-webhooks clock confirm

Retention counts the time in which the server was at work: while it is down, and when the clock
leaps, nothing grows older. This command says that the clock is right and that all that time has
passed. Events that are too old by the calendar are then deleted for good, so it shows how much time
that is, and asks first.";

/// What can be done about the clock.
#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Confirm that the machine's clock is right; time that was left out then counts for retention
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
