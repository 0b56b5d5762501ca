//! Arguments of `deliveries`.

use clap::{Args, Subcommand};

use super::args::{AccountArgs, FindArgs};
use crate::cli::value_parsers;

/// Subcommands of `deliveries`.
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
        /// Which events.
        #[command(flatten)]
        find: FindArgs,
        /// Only deliveries with this HTTP status in the last response
        #[arg(long, value_name = "STATUS")]
        response_code: Option<u16>,
        /// Maximum number of deliveries
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parsers::count)]
        limit: u64,
    },
    /// Show a delivery with its attempts: what happened, what to do, when the next is due
    #[command(
        after_help = "Example:\n  tempclock-webhooks deliveries show \\\n    dlv_019cadc7b1c07ad1ea45cf36ac5ac54300000001"
    )]
    Show {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Delivery id
        id: String,
    },
    /// Follow the attempts of the running server, until Ctrl-C
    #[command(
        after_help = "Example:\n  tempclock-webhooks deliveries tail --subscription 1\n\nPress Ctrl-C to stop; the exit code is then 0."
    )]
    Tail {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Only deliveries of this subscription
        #[arg(long, value_name = "NUMBER")]
        subscription: Option<u32>,
    },
    /// Deliver stored events to a subscription, including those from before it was created
    #[command(after_help = REPLAY_HELP)]
    Replay {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Number of the subscription
        #[arg(long, value_name = "NUMBER", value_parser = value_parsers::subscription)]
        subscription: u32,
        /// At or after this time, such as 2026-03-02 (UTC) or 2026-03-02T08:00:00Z, or this long ago, such as 2h
        #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
        since: value_parsers::Point,
        /// Before this time, or longer ago than this
        #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
        until: Option<value_parsers::Point>,
        /// Only events of these types, separated by commas
        #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = value_parsers::Names::of_event_types())]
        events: Option<Vec<String>>,
        /// Which events: missing (never had a delivery), failed (exhausted or expired), all
        #[arg(long, value_name = "WHICH", default_value = "missing")]
        only: String,
        /// Only print the number of events
        #[arg(long)]
        dry_run: bool,
    },
    /// Redeliver one delivery by id, or all that match a filter, with the full retry schedule
    #[command(after_help = RETRY_HELP)]
    Retry {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Id of a single delivery
        #[arg(conflicts_with_all = ["subscription", "status", "event", "since", "until"])]
        id: Option<String>,
        /// Which.
        #[command(flatten)]
        filter: DeliveryFilter,
        /// Only print the number of matching deliveries
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// Filter of deliveries.
#[derive(Debug, Args)]
pub struct DeliveryFilter {
    /// Only deliveries of this subscription
    #[arg(long, value_name = "NUMBER")]
    pub subscription: Option<u32>,
    /// Only deliveries with this status; pending includes those waiting for a retry and those held for a disabled
    /// subscription
    #[arg(long, value_parser = value_parsers::Names::of_statuses())]
    pub status: Option<String>,
    /// Only deliveries of this event type
    #[arg(long, value_name = "TYPE", value_parser = value_parsers::Names::of_event_types())]
    pub event: Option<String>,
    /// At or after this time, such as 2026-03-02 (UTC) or 2026-03-02T08:00:00Z, or this long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
    pub since: Option<value_parsers::Point>,
    /// Before this time, or longer ago than this
    #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
    pub until: Option<value_parsers::Point>,
}

const REPLAY_HELP: &str = "\
Examples:
  tempclock-webhooks deliveries replay --subscription 1 --since 30d --dry-run
  tempclock-webhooks deliveries replay --subscription 1 --since 30d

A job creates the deliveries, a few at a time and after those of new events, and the command waits
for it. If the command is interrupted, the job continues; see: tempclock-webhooks jobs list";

const RETRY_HELP: &str = "\
Examples:
  tempclock-webhooks deliveries retry \\
    dlv_019cadc7b1c07ad1ea45cf36ac5ac54300000001
  tempclock-webhooks deliveries retry --subscription 1 --since 1d --dry-run
  tempclock-webhooks deliveries retry --subscription 1 --since 1d --yes

Without --status, a filter selects exhausted deliveries. Test pings are never redelivered.
Receivers recognize a redelivery by its webhook-id. A filter creates a job, which the command waits
for; if the command is interrupted, the job continues; see: tempclock-webhooks jobs list";
