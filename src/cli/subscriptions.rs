//! Arguments of `subscriptions`.

use std::path::PathBuf;

use clap::Subcommand;

use super::args::AccountArgs;
use super::subscription_options::{GivenSecret, SubscriptionOptions};
use crate::cli::value_parsers;

/// Subcommands of `subscriptions`.
#[derive(Debug, Subcommand)]
pub enum SubscriptionsCommand {
    /// Create a subscription; its signing secret is shown only once
    #[command(
        after_help = "Example:\n  tempclock-webhooks subscriptions create \\\n    --url https://crm.example.com/hook --events clock_in,clock_out"
    )]
    Create {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// URL to deliver to
        #[arg(long)]
        url: Option<String>,
        /// Event types, or * for all
        #[arg(long, value_name = "TYPE,…", value_delimiter = ',', value_parser = value_parsers::Names::of_event_types(), required = true)]
        events: Vec<String>,
        /// Description
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Disable a subscription: its deliveries are held until it is resumed
        #[arg(long)]
        paused: bool,
        /// Its secret.
        #[command(flatten)]
        secret: GivenSecret,
        /// Its options.
        #[command(flatten)]
        options: Box<SubscriptionOptions>,
    },
    /// List the subscriptions
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions list --json")]
    List {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Maximum number of subscriptions
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parsers::count)]
        limit: u64,
    },
    /// Show a subscription with its recent attempts
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions show 1")]
    Show {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Subscription number
        #[arg(value_parser = value_parsers::subscription)]
        id: u32,
    },
    /// Change a subscription; omitted options keep their values, pending deliveries of removed event types are cancelled
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions update 1 --events '*' --description CRM")]
    Update {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Subscription number
        #[arg(value_parser = value_parsers::subscription)]
        id: u32,
        /// URL to deliver to; pending deliveries go there too
        #[arg(long)]
        url: Option<String>,
        /// Event types, or * for all
        #[arg(long, value_name = "TYPE,…", value_delimiter = ',', value_parser = value_parsers::Names::of_event_types())]
        events: Option<Vec<String>>,
        /// Description
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Its options.
        #[command(flatten)]
        options: Box<SubscriptionOptions>,
    },
    /// Set a new signing secret; the current one stays valid for the overlap
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions rotate-secret 1 --overlap 48h")]
    RotateSecret {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Subscription number
        #[arg(value_parser = value_parsers::subscription)]
        id: u32,
        /// How long the current secret stays valid, up to 7d; 0s invalidates it at once
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        overlap: String,
        /// Your own secret.
        #[command(flatten)]
        secret: GivenSecret,
    },
    /// Show whether a subscription would get an event, and why
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions match 1 --event clock_in --file data.json")]
    Match {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Subscription number
        #[arg(value_parser = value_parsers::subscription)]
        id: u32,
        /// Event type
        #[arg(long, value_name = "TYPE", value_parser = value_parsers::Names::of_event_types())]
        event: String,
        /// The data of the event, as JSON [default: stdin]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Send a test ping now and show the result; after a success pending deliveries are due now
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions test 1")]
    Test {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Subscription number
        #[arg(value_parser = value_parsers::subscription)]
        id: u32,
        /// Also send a ping with a wrong signature, which must be refused
        #[arg(long)]
        verify: bool,
    },
    /// Disable a subscription: its deliveries are held until it is resumed
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions pause 1")]
    Pause {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Subscription number
        #[arg(value_parser = value_parsers::subscription)]
        id: u32,
    },
    /// Enable a subscription, also one that the server disabled; its pending deliveries are due now
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions resume 1")]
    Resume {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Subscription number
        #[arg(value_parser = value_parsers::subscription)]
        id: u32,
    },
    /// Delete a subscription with its delivery history; pending deliveries are dropped
    #[command(
        after_help = "Example, which deletes it without asking:\n  tempclock-webhooks subscriptions delete 1 --yes"
    )]
    Delete {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Subscription number
        #[arg(value_parser = value_parsers::subscription)]
        id: u32,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}
