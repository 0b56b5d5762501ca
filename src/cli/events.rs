//! The words of `events`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{AccountArgs, words};

/// What can be done with events.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Publish one event or many, from --data, a file or stdin
    #[command(after_help = PUBLISH_HELP)]
    Publish(PublishArgs),
    /// List events, newest first
    #[command(after_help = "Example:\n  tempclock-webhooks events list --event clock_in --since 2h")]
    List {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Only of this type
        #[arg(long, value_name = "TYPE", value_parser = words::Names::of_event_types())]
        event: Option<String>,
        /// From this time on, such as 2026-03-02 (in UTC) or 2026-03-02T08:00:00Z, or so long ago, such as 2h
        #[arg(long, value_name = "TIME", value_parser = words::point)]
        since: Option<words::Point>,
        /// Before this time, or longer ago than this
        #[arg(long, value_name = "TIME", value_parser = words::point)]
        until: Option<words::Point>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = words::count)]
        limit: u64,
    },
    /// Show one with its data and deliveries
    #[command(after_help = "Example:\n  tempclock-webhooks events show evt_019cadc7b1c07ad1ea45cf36ac5ac543")]
    Show {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Its id
        id: String,
    },
    /// List the event types with the fields that their data needs
    #[command(after_help = "Example:\n  tempclock-webhooks events types")]
    Types {
        /// Print JSON, as the API answers it
        #[arg(long)]
        json: bool,
    },
}

/// What is published, and how.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Account and output.
    #[command(flatten)]
    pub account: AccountArgs,
    /// The event type; what is given is then the data alone, else whole events
    #[arg(long, value_name = "TYPE", value_parser = words::Names::of_event_types())]
    pub event: Option<String>,
    /// The JSON itself
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    pub data: Option<String>,
    /// A file of JSON: one object, an array, or one object after the other; - for stdin
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Your own id of the event: sent again with it, it is not stored twice
    #[arg(long, requires = "event")]
    pub id: Option<String>,
    /// When it happened, such as 2026-03-02T08:00:00Z
    #[arg(long, value_name = "TIME", requires = "event", value_parser = words::time)]
    pub occurred_at: Option<String>,
}

const PUBLISH_HELP: &str = "\
Examples:
  tempclock-webhooks events publish --event worker_created \\
    --data '{\"worker_id\": 52, \"worker_name\": \"Ana Kowalska\"}'
  tempclock-webhooks events publish --file morning.ndjson

Whole events look like {\"event\": \"worker_created\", \"data\": {…}}, with \"id\" and
\"occurred_at\" if you like. Many are published in batches of up to 1,000, each of them wholly or not
at all. Give each an \"id\" of your own, and the same file can be sent again after a failure without
anything being stored twice.";
