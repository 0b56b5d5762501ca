//! The words of `deliveries`.

use clap::{Args, Subcommand};

use super::{AccountArgs, words};

/// What can be done with deliveries.
#[derive(Debug, Subcommand)]
pub enum DeliveriesCommand {
    /// List deliveries, newest first
    #[command(after_help = "Example:\n  tempclock-webhooks deliveries list --status exhausted --since 1d")]
    List {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Which.
        #[command(flatten)]
        filter: DeliveryFilter,
        /// Only with this HTTP status in the last answer
        #[arg(long, value_name = "STATUS")]
        response_code: Option<u16>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = words::count)]
        limit: u64,
    },
    /// Show one with its attempts: what happened, what to do, when the next comes
    #[command(
        after_help = "Example:\n  tempclock-webhooks deliveries show \\\n    dlv_019cadc7b1c07ad1ea45cf36ac5ac54300000001"
    )]
    Show {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Its id
        id: String,
    },
    /// Follow what the running server sends, until Ctrl-C
    #[command(
        after_help = "Example:\n  tempclock-webhooks deliveries tail --subscription 1\n\nCtrl-C ends it with exit code 0."
    )]
    Tail {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Only of this subscription
        #[arg(long, value_name = "NUMBER")]
        subscription: Option<u32>,
    },
    /// Send again, with the whole retry schedule: one by its id, or all that fit a filter
    #[command(after_help = RETRY_HELP)]
    Retry {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// The id of one delivery
        #[arg(conflicts_with_all = ["subscription", "status", "event", "since", "until"])]
        id: Option<String>,
        /// Which.
        #[command(flatten)]
        filter: DeliveryFilter,
        /// Only tell how many it would be
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which deliveries.
#[derive(Debug, Args)]
pub struct DeliveryFilter {
    /// Only of this subscription
    #[arg(long, value_name = "NUMBER")]
    pub subscription: Option<u32>,
    /// Only those that are this; pending are also those that were tried and are tried again
    #[arg(long, value_parser = words::Names::of_statuses())]
    pub status: Option<String>,
    /// Only of this event type
    #[arg(long, value_name = "TYPE", value_parser = words::Names::of_event_types())]
    pub event: Option<String>,
    /// From this time on, such as 2026-03-02 (in UTC) or 2026-03-02T08:00:00Z, or so long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = words::point)]
    pub since: Option<words::Point>,
    /// Before this time, or longer ago than this
    #[arg(long, value_name = "TIME", value_parser = words::point)]
    pub until: Option<words::Point>,
}

const RETRY_HELP: &str = "\
Examples:
  tempclock-webhooks deliveries retry \\
    dlv_019cadc7b1c07ad1ea45cf36ac5ac54300000001
  tempclock-webhooks deliveries retry --subscription 1 --since 1d --dry-run
  tempclock-webhooks deliveries retry --subscription 1 --since 1d --yes

A filter without --status means exhausted ones. Receivers know a repetition by its
X-TempClock-Delivery.";
