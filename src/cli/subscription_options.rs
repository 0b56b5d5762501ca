//! Arguments for the options of a subscription, for `subscriptions create` and `update`.

use std::path::PathBuf;

use clap::Args;

/// The options of a subscription. Each value but a secret's file is text, JSON, `@FILE` or `none`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of the subscription (@FILE reads the value from a file; none takes it back)")]
pub struct SubscriptionOptions {
    /// Own headers: {"X-Site": "north"}
    #[arg(long, value_name = "JSON")]
    pub headers: Option<String>,
    /// Login at the receiver: {"type": "bearer", "token": "…"}; other users of this machine can see it unless it is in a file
    #[arg(long, value_name = "JSON")]
    pub auth: Option<String>,
    /// Form of the body: json, form or cloudevents
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Other names of headers and envelope keys: {"signature": "X-Hub-Signature-256"}
    #[arg(long, value_name = "JSON")]
    pub names: Option<String>,
    /// Signatures to send: tempclock, standard, ed25519
    #[arg(long, value_name = "KINDS")]
    pub signatures: Option<String>,
}

/// The secret of a new subscription.
#[derive(Debug, Args)]
pub struct GivenSecret {
    /// A file with your own signing secret, instead of a new one
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}
