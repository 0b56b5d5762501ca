//! Arguments of `jobs`.

use clap::Subcommand;

use super::args::AccountArgs;
use crate::cli::value_parsers;

/// Subcommands of `jobs`.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List jobs, newest first
    #[command(after_help = "Example:\n  tempclock-webhooks jobs list")]
    List {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Maximum number of jobs
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parsers::count)]
        limit: u64,
    },
    /// Show a job and its progress
    #[command(after_help = "Example:\n  tempclock-webhooks jobs show job_019cadc7b1c07ad1ea45cf36ac5ac543")]
    Show {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Job id
        id: String,
    },
    /// Stop a job; what it has already done is kept
    #[command(after_help = "Example:\n  tempclock-webhooks jobs stop job_019cadc7b1c07ad1ea45cf36ac5ac543")]
    Stop {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Job id
        id: String,
    },
}
