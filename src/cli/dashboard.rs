//! Arguments of `dashboard`. Types only.

use clap::Args;

use super::args::AccountArgs;

/// Arguments of `dashboard`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tempclock-webhooks dashboard")]
pub struct DashboardArgs {
    /// Account and output.
    #[command(flatten)]
    pub account: AccountArgs,
}
