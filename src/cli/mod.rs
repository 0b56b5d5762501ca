//! The definition of the command line, one file per group of commands. Types only; the implementation is in `command`.

mod alerts;
mod audit;
mod clock;
mod config;
mod dashboard;
mod database;
mod deliveries;
mod events;
mod evidence;
mod jobs;
mod keys;
mod nodes;
mod subscription_options;
mod subscriptions;

mod api;
mod args;
mod doctor;
mod man_pages;
mod receive;
mod value_parsers;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use self::alerts::AlertsCommand;
pub use self::audit::AuditCommand;
pub use self::clock::ClockCommand;
pub use self::config::ConfigCommand;
pub use self::dashboard::DashboardArgs;
pub use self::database::secrets::SecretsCommand;
pub use self::database::storage::StorageCommand;
pub use self::deliveries::{DeliveriesCommand, DeliveryFilter};
pub use self::events::{EventsCommand, PublishArgs};
pub use self::evidence::EvidenceArgs;
pub use self::jobs::JobsCommand;
pub use self::keys::KeysCommand;
pub use self::nodes::NodesCommand;
pub use self::subscription_options::SubscriptionOptions;
pub use self::subscriptions::SubscriptionsCommand;
pub use crate::cli::man_pages::{CompletionsArgs, ManArgs, Shell};
pub use crate::cli::value_parsers::Point;
pub use api::ApiArgs;
pub use args::{AccountArgs, ConfigArgs, FindArgs};
pub use doctor::DoctorArgs;
pub use receive::listen::ListenArgs;
pub use receive::sign::{SecretArgs, SignArgs, VerifyArgs};

/// Delivers staffing time-clock events as signed webhooks.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// Accepted by every command.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tempclock-webhooks demo
  tempclock-webhooks init --config /etc/tempclock-webhooks/config.toml
  tempclock-webhooks keys create --name crm \\
    --scopes webhooks:read,webhooks:write
  tempclock-webhooks subscriptions create \\
    --url https://crm.example.com/hook --events clock_in,clock_out
  tempclock-webhooks deliveries list --status exhausted
  tempclock-webhooks doctor

While the server runs, commands reach it over its control socket. While it is stopped, they open
the database directly.";

/// What the program's exit codes mean, for help and man page.
pub const EXIT_CODES: &str = "\
Exit codes:
  0   success; for verify and doctor: no problem found
  1   failure; for verify and doctor: a problem was found
  2   wrong usage
  3   invalid configuration
  5   not found
  74  the store failed
  130 interrupted twice";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    #[command(after_help = "Example:\n  tempclock-webhooks serve --config config.toml --listen 127.0.0.1:8080")]
    Serve {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Address to listen on; port 0 uses a free port
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
        /// The folder of the database
        #[arg(long, value_name = "DIR")]
        data_dir: Option<String>,
    },
    /// Run a demo on loopback: a server, a receiver and a morning of clock-ins
    #[command(after_help = "Example:\n  tempclock-webhooks demo")]
    Demo {
        /// Address to listen on [default: 127.0.0.1:8080, or a free port if that is in use]
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
    /// Create the database and a first key with every scope but events:erase
    #[command(
        after_help = "Example:\n  tempclock-webhooks init --config config.toml\n\nA second run changes nothing, shows no key and exits with 1, or with 0 if --if-missing is given."
    )]
    Init {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The folder of the database
        #[arg(long, value_name = "DIR")]
        data_dir: Option<String>,
        /// Succeed if the database already exists
        #[arg(long)]
        if_missing: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Create, list and revoke API keys
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks keys list")]
    Keys(KeysCommand),
    /// Create, show, change, test, pause and delete subscriptions
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks subscriptions list")]
    Subscriptions(SubscriptionsCommand),
    /// Publish and show events
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks events list")]
    Events(EventsCommand),
    /// Show, follow and retry deliveries
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks deliveries list --status exhausted")]
    Deliveries(DeliveriesCommand),
    /// Show and stop jobs, such as a redelivery of many
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks jobs list")]
    Jobs(JobsCommand),
    /// Export the events of a worker with every delivery attempt
    #[command(after_help = "Example:\n  tempclock-webhooks evidence --worker 52 --since 30d --format csv")]
    Evidence(EvidenceArgs),
    /// Print a link that signs in to the dashboard of the running server
    Dashboard(DashboardArgs),
    /// List who changed what
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks audit list")]
    Audit(AuditCommand),
    /// Send a test alert
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks alerts test")]
    Alerts(AlertsCommand),
    /// Check and show the configuration
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks config check")]
    Config(ConfigCommand),
    /// Create and rotate the key that encrypts signing secrets on disk
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks secrets make-key secrets.key")]
    Secrets(SecretsCommand),
    /// Move the store between the embedded engine and PostgreSQL
    #[command(
        subcommand,
        after_help = "Example:\n  tempclock-webhooks storage copy --config config.toml --to postgres.toml"
    )]
    Storage(StorageCommand),
    /// Write a consistent backup, with the server running or stopped; replaces an earlier backup of that name
    #[command(after_help = "Example:\n  tempclock-webhooks backup --output /var/backups/tempclock-2026-03-02.bak")]
    Backup {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Output file; - for stdout
        #[arg(long, value_name = "FILE")]
        output: String,
    },
    /// Restore a backup; the server must be stopped; the old database is kept as a copy
    #[command(
        after_help = "Example, which replaces the database without asking:\n  tempclock-webhooks restore --yes /var/backups/tempclock-2026-03-02.bak"
    )]
    Restore {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The backup
        file: PathBuf,
        /// Replace an existing database without asking
        #[arg(long)]
        yes: bool,
    },
    /// Show the servers over one database
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks nodes list")]
    Nodes(NodesCommand),
    /// Confirm that the machine's clock is right
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks clock confirm")]
    Clock(ClockCommand),
    /// Check a backup or a stopped server's database for damage, or check the signature of a body
    Verify(VerifyArgs),
    /// Return unused space to the disk; the server must be stopped
    #[command(after_help = "Example:\n  tempclock-webhooks compact")]
    Compact {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Sign a body as the server does, and print the headers
    Sign(SignArgs),
    /// Receive deliveries on this machine and check their signatures
    Listen(ListenArgs),
    /// Check the installation and suggest a fix for each problem
    Doctor(DoctorArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
    /// Print the manual page, or write one per command
    Man(ManArgs),
}
