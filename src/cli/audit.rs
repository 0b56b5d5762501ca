//! Arguments of `audit`.

use clap::Subcommand;

use super::args::AccountArgs;
use crate::cli::value_parsers;

/// Subcommands of `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List who changed what, newest first
    #[command(after_help = "Example:\n  tempclock-webhooks audit list --since 7d")]
    List {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Only changes since this time: a date, a time, or an age such as 7d
        #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
        since: Option<value_parsers::Point>,
        /// Only changes before this time
        #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
        until: Option<value_parsers::Point>,
        /// Maximum number of changes
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parsers::count)]
        limit: u64,
    },
}
