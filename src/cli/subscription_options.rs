//! Arguments for the options of a subscription, for `subscriptions create` and `update`.

use std::path::PathBuf;

use clap::Args;

const FILTER: &str = r#"Which events to deliver, by their data: {"location_id": [3, 4]}"#;
const WINDOW: &str =
    r#"When attempts may start: {"days": ["mon"], "from": "06:00", "to": "20:00", "time_zone": "Europe/London"}"#;

/// The options of a subscription. Each value but a secret's file is text, JSON, `@FILE` or `none`.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Options of the subscription (@FILE reads the value from a file; none restores the default)"
)]
pub struct SubscriptionOptions {
    /// Whether deliveries are sent (push) or read by the receiver (pull); cannot be changed later
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// Custom headers: {"X-Site": "north"}
    #[arg(long, value_name = "JSON")]
    pub headers: Option<String>,
    /// Credentials for the receiver (basic, bearer, OAuth2): {"type": "bearer", "token": "…"}; visible to other users
    /// of this machine unless read from a file
    #[arg(long, value_name = "JSON")]
    pub auth: Option<String>,
    /// Name of a declared client certificate to present to the endpoint
    #[arg(long, value_name = "NAME")]
    pub client_certificate: Option<String>,
    /// Format of the body: json, form or cloudevents
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Other names of headers and envelope keys: {"signature": "X-Hub-Signature-256"}
    #[arg(long, value_name = "JSON")]
    pub names: Option<String>,
    /// Signatures to send: tempclock, standard, ed25519
    #[arg(long, value_name = "KINDS")]
    pub signatures: Option<String>,
    /// Which events it gets.
    #[arg(long, value_name = "JSON", help = FILTER)]
    pub filter: Option<String>,
    /// Which deliveries wait for one another: none, worker or subscription
    #[arg(long, value_name = "ORDER")]
    pub order: Option<String>,
    /// Several events in one request: {"max": 100, "wait": "5s"}
    #[arg(long, value_name = "JSON")]
    pub batch: Option<String>,
    /// How often attempts may start: 10/s, 600/m
    #[arg(long, value_name = "RATE")]
    pub rate_limit: Option<String>,
    /// Maximum number of attempts at the same time
    #[arg(long, value_name = "N")]
    pub max_in_flight: Option<String>,
    /// Time limit of one attempt, such as 10s
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Waits before each retry: 10s,5m,1h
    #[arg(long, value_name = "DURATIONS")]
    pub retry_schedule: Option<String>,
    /// When attempts may start.
    #[arg(long, value_name = "JSON", help = WINDOW)]
    pub delivery_window: Option<String>,
}

/// The secret of a new subscription.
#[derive(Debug, Args)]
pub struct GivenSecret {
    /// A file with your own signing secret, instead of a new one
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}
