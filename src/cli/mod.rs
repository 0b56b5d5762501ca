//! The command line's words, one file a group of them. Types only; what they do is in `command`.

mod clock;
mod config;
mod deliveries;
mod events;
mod keys;
mod secrets;
mod subscriptions;

mod api;
mod doctor;
mod listen;
mod pages;
mod sign;
mod words;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::clock::ClockCommand;
pub use self::config::ConfigCommand;
pub use self::deliveries::{DeliveriesCommand, DeliveryFilter};
pub use self::events::{EventsCommand, PublishArgs};
pub use self::keys::KeysCommand;
pub use self::secrets::SecretsCommand;
pub use self::subscriptions::SubscriptionsCommand;
pub use api::ApiArgs;
pub use doctor::DoctorArgs;
pub use listen::ListenArgs;
pub use pages::{CompletionsArgs, ManArgs, Shell};
pub use sign::{SecretArgs, SignArgs, VerifyArgs};
pub use words::Point;

/// Delivers staffing time-clock events as signed webhooks.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// Every command takes it, also those that need no configuration.
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

While the server runs, commands go to it over its control socket; while it is down they open the
database themselves.";

/// What the program's exit codes mean, for help and man page.
pub const EXIT_CODES: &str = "\
Exit codes:
  0   done; for verify and doctor: all is right
  1   failed; for verify and doctor: something is wrong
  2   wrong usage
  3   the configuration is not valid
  5   not found
  74  the store failed
  130 interrupted twice";

const CONFIG_HELP: &str =
    "The configuration file [default: $TEMPCLOCK_WEBHOOKS_CONFIG, else /etc/tempclock-webhooks/config.toml if there]";

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", global = true, help = CONFIG_HELP)]
    pub config: Option<PathBuf>,
}

/// For which account a command works, and how it answers.
#[derive(Debug, Args)]
pub struct AccountArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Whose subscriptions, events and deliveries
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub account: String,
    /// Print JSON, as the API answers it
    #[arg(long)]
    pub json: bool,
}

/// One word a thing that can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    #[command(after_help = "Example:\n  tempclock-webhooks serve --config config.toml --listen 127.0.0.1:8080")]
    Serve {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Where to listen; port 0 takes a free one
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
        /// The folder of the database
        #[arg(long, value_name = "DIR")]
        data_dir: Option<String>,
    },
    /// Show it all at work on loopback: server, receiver, a morning of clock-ins
    #[command(after_help = "Example:\n  tempclock-webhooks demo")]
    Demo {
        /// Where the server listens [default: 127.0.0.1:8080, or a free port if that is taken]
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
    /// Make the database and a first key that may do everything
    #[command(
        after_help = "Example:\n  tempclock-webhooks init --config config.toml\n\nRun again, it changes nothing, shows no key, and ends with 1."
    )]
    Init {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make, list and revoke API keys
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks keys list")]
    Keys(KeysCommand),
    /// Make, look at, change, test, pause and delete subscriptions
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks subscriptions list")]
    Subscriptions(SubscriptionsCommand),
    /// Publish events and look at them
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks events list")]
    Events(EventsCommand),
    /// Look at deliveries, follow them, send them again
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks deliveries list --status exhausted")]
    Deliveries(DeliveriesCommand),
    /// Look at the configuration
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks config check")]
    Config(ConfigCommand),
    /// Make and change the key that signing secrets are encrypted with on disk
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks secrets make-key secrets.key")]
    Secrets(SecretsCommand),
    /// Write a backup of one moment, while the server runs or not
    #[command(after_help = "Example:\n  tempclock-webhooks backup --output /var/backups/tempclock-2026-03-02.bak")]
    Backup {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Where to; - for stdout
        #[arg(long, value_name = "FILE")]
        output: String,
    },
    /// Put a backup in the place of the database, which is kept; the server must not run
    #[command(after_help = "Example:\n  tempclock-webhooks restore --yes /var/backups/tempclock-2026-03-02.bak")]
    Restore {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The backup
        file: PathBuf,
        /// Go on although there is a database already
        #[arg(long)]
        yes: bool,
    },
    /// Say whether the machine's clock is right
    #[command(subcommand, after_help = "Example:\n  tempclock-webhooks clock confirm")]
    Clock(ClockCommand),
    /// Look for damage in a backup or in a database that no server has open, or check the signature of a body
    Verify(VerifyArgs),
    /// Give unused space of the database back to the disk; the server must not run
    #[command(after_help = "Example:\n  tempclock-webhooks compact")]
    Compact {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Sign a body as the server does, and print the headers
    Sign(SignArgs),
    /// Receive deliveries on this machine, check their signatures, and say why one is wrong
    Listen(ListenArgs),
    /// Look for whatever keeps the server from working, with a fix for each finding
    Doctor(DoctorArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(ManArgs),
}
