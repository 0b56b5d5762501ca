//! Arguments of `events`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::{AccountArgs, ConfigArgs, FindArgs};
use crate::cli::value_parsers;

/// Subcommands of `events`.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Publish one event or many, from --data, a file or stdin
    #[command(after_help = PUBLISH_HELP)]
    Publish(PublishArgs),
    /// List events, newest first
    #[command(
        after_help = "Examples:\n  tempclock-webhooks events list --event clock_in --since 2h\n  tempclock-webhooks events list --worker 52"
    )]
    List {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Which.
        #[command(flatten)]
        find: FindArgs,
        /// Only events of this type
        #[arg(long, value_name = "TYPE", value_parser = value_parsers::Names::of_event_types())]
        event: Option<String>,
        /// At or after this time, such as 2026-03-02 (UTC) or 2026-03-02T08:00:00Z, or this long ago, such as 2h
        #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
        since: Option<value_parsers::Point>,
        /// Before this time, or longer ago than this
        #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
        until: Option<value_parsers::Point>,
        /// Maximum number of events
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parsers::count)]
        limit: u64,
    },
    /// Show an event with its data and deliveries
    #[command(after_help = "Example:\n  tempclock-webhooks events show evt_019cadc7b1c07ad1ea45cf36ac5ac543")]
    Show {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Event id
        id: String,
    },
    /// Erase what is stored about a worker: the data of each event, its tags, and the receivers' responses
    #[command(after_help = ERASE_HELP)]
    Erase {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// The worker's id
        #[arg(long, value_name = "ID")]
        worker: String,
        /// Keep each event until its pending deliveries are settled, instead of cancelling them
        #[arg(long)]
        deliver_pending: bool,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// List the event types with the required fields of their data
    #[command(after_help = "Example:\n  tempclock-webhooks events types")]
    Types {
        /// Configuration, which can declare types.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON, as the API returns it
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `events publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Account and output.
    #[command(flatten)]
    pub account: AccountArgs,
    /// Event type; the input is then only the data, otherwise whole events
    #[arg(long, value_name = "TYPE", value_parser = value_parsers::Names::of_event_types())]
    pub event: Option<String>,
    /// JSON text to publish
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    pub data: Option<String>,
    /// JSON file: one object, an array, or a sequence of objects; - for stdin
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Your own event id, for idempotent retries
    #[arg(long, requires = "event")]
    pub id: Option<String>,
    /// Time of the event, such as 2026-03-02T08:00:00Z
    #[arg(long, value_name = "TIME", requires = "event", value_parser = value_parsers::time)]
    pub occurred_at: Option<String>,
    /// Tag for finding the events; may be repeated
    #[arg(long = "tag", value_name = "TAG", requires = "event")]
    pub tags: Vec<String>,
    /// Publish the valid events of a batch even if others are refused, and report those
    #[arg(long)]
    pub partial: bool,
}

const ERASE_HELP: &str = "\
Example:
  tempclock-webhooks events erase --worker 52 --yes

The id, type, time and SHA-256 of each event and the outcome of its deliveries are kept. Earlier
backups keep everything. A job does the work, and the command waits for it; with --deliver-pending
the job continues in the background, see: tempclock-webhooks jobs list";

const PUBLISH_HELP: &str = "\
Examples:
  tempclock-webhooks events publish --event worker_created \\
    --data '{\"worker_id\": 52, \"worker_name\": \"Ana Kowalska\"}'
  tempclock-webhooks events publish --file morning.ndjson

Whole events look like {\"event\": \"worker_created\", \"data\": {…}}, optionally with \"id\",
\"occurred_at\" and \"tags\". They are published in batches of up to 1,000, each stored as a whole or
not at all. If each event has its own \"id\", you can publish the same file again after a failure,
and nothing is stored twice.";
