//! Arguments of `listen`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{ArgGroup, Args};

use crate::cli::api::ApiArgs;
use crate::cli::args::ConfigArgs;
use crate::cli::receive::sign::SecretArgs;
use crate::cli::subscription_options::SubscriptionOptions;
use crate::cli::value_parsers::{self, Names};

/// `listen`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("source").required(true).multiple(true).args(["api_key", "api_key_file", "secret", "secret_file", "public_key"]),
    after_help = "\
Examples:
  tempclock-webhooks listen --api-key-file key.txt
  tempclock-webhooks listen --api-key-file key.txt --events clock_in \\
    --secret-file secret.txt --forward-to http://127.0.0.1:3000/hook
  tempclock-webhooks listen --secret-file secret.txt --listen 127.0.0.1:9090 \\
    --status 500 --delay 3s
  tempclock-webhooks listen --api-key-file key.txt --format cloudevents \\
    --signatures standard,ed25519

With an API key (scope webhooks:write), listen creates a subscription while it runs and deletes it
at the end. If a secret is also given, that subscription uses it, so that the program at
--forward-to can keep the secret that it already has. The server must be allowed to send to this
machine: delivery.allow_http, delivery.allow_networks.

Without an API key, listen checks every request with the given secrets, public key and --names."
)]
pub struct ListenArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to subscribe.
    #[command(flatten)]
    pub api: ApiArgs,
    /// What deliveries are signed with; with an API key the secret of the subscription [default: a new one].
    #[command(flatten)]
    pub secret: SecretArgs,
    /// Public key (whpk_…) of an existing subscription, for Ed25519 signatures
    #[arg(long, value_name = "KEY", conflicts_with_all = ["api_key", "api_key_file"])]
    pub public_key: Option<String>,
    /// Event types to subscribe to
    #[arg(long, value_name = "TYPES", value_delimiter = ',', default_value = "*", value_parser = Names::of_event_types())]
    pub events: Vec<String>,
    /// Address to listen on; port 0 uses a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// URL to subscribe if it differs from --listen, such as that of a tunnel
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Forward each request with a valid signature to this URL and return its response
    #[arg(long, value_name = "URL", conflicts_with = "status")]
    pub forward_to: Option<String>,
    /// Status to respond with
    #[arg(long, value_name = "CODE", default_value = "200", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: u16,
    /// Delay before responding, such as 3s
    #[arg(long, value_name = "DURATION", value_parser = value_parsers::duration)]
    pub delay: Option<Duration>,
    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
    /// What shapes the deliveries.
    #[command(flatten)]
    pub options: Box<SubscriptionOptions>,
}
