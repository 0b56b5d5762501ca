//! The words of `subscriptions`.

use clap::Subcommand;

use super::{AccountArgs, words};

/// What can be done with subscriptions.
#[derive(Debug, Subcommand)]
pub enum SubscriptionsCommand {
    /// Make a subscription; its signing secret is shown this once
    #[command(
        after_help = "Example:\n  tempclock-webhooks subscriptions create \\\n    --url https://crm.example.com/hook --events clock_in,clock_out"
    )]
    Create {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Where events are sent to
        #[arg(long)]
        url: String,
        /// Which event types, or * for all
        #[arg(long, value_name = "TYPE,…", value_delimiter = ',', value_parser = words::Names::of_event_types(), required = true)]
        events: Vec<String>,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Hold its deliveries until it is resumed
        #[arg(long)]
        paused: bool,
    },
    /// List the subscriptions
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions list --json")]
    List {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = words::count)]
        limit: u64,
    },
    /// Show one with its last attempts
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions show 1")]
    Show {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Its number
        #[arg(value_parser = words::subscription)]
        id: u32,
    },
    /// Change one; what is not named stays as it is
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions update 1 --events '*' --description CRM")]
    Update {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Its number
        #[arg(value_parser = words::subscription)]
        id: u32,
        /// Where events are sent to; what is pending goes there too
        #[arg(long)]
        url: Option<String>,
        /// Which event types, or * for all
        #[arg(long, value_name = "TYPE,…", value_delimiter = ',', value_parser = words::Names::of_event_types())]
        events: Option<Vec<String>>,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Send one ping now and tell how it went
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions test 1")]
    Test {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Its number
        #[arg(value_parser = words::subscription)]
        id: u32,
    },
    /// Hold its deliveries until it is resumed
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions pause 1")]
    Pause {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Its number
        #[arg(value_parser = words::subscription)]
        id: u32,
    },
    /// Send again, first what was held; also when it was switched off after failures
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions resume 1")]
    Resume {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Its number
        #[arg(value_parser = words::subscription)]
        id: u32,
    },
    /// Delete one with its delivery history; what is pending is not sent any more
    #[command(after_help = "Example:\n  tempclock-webhooks subscriptions delete 1 --yes")]
    Delete {
        /// Account and output.
        #[command(flatten)]
        account: AccountArgs,
        /// Its number
        #[arg(value_parser = words::subscription)]
        id: u32,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}
