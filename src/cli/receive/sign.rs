//! Arguments of `sign` and `verify`, and how commands get a signing secret.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use crate::cli::value_parsers;

/// The signing secrets that are valid, newest first.
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// The signing secret; other users of this machine can see it while the command runs
    #[arg(long, value_name = "SECRET", conflicts_with = "secret_file")]
    pub secret: Vec<String>,
    /// A file with the signing secret; during a rotation, repeat for each valid secret, newest first
    #[arg(long, value_name = "FILE")]
    pub secret_file: Vec<PathBuf>,
}

/// `sign`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tempclock-webhooks sign --secret-file secret.txt < body.json
  tempclock-webhooks sign --secret-file secret.txt --file body.json \\
    --id evt_1 --json
  tempclock-webhooks sign --secret-file secret.txt --file body.json \\
    --format form --names '{\"signature\": \"X-Hub-Signature-256\"}'

With --format, or with other envelope keys in --names, the input must be an envelope, as in a
delivery. The resulting body is printed after the headers and an empty line.")]
pub struct SignArgs {
    /// What to sign with.
    #[command(flatten)]
    pub secret: SecretArgs,
    /// A file with a private key (whsk_…), to add an Ed25519 signature
    #[arg(long, value_name = "FILE", requires = "id")]
    pub private_key_file: Option<PathBuf>,
    /// The body [default: stdin]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Format of the body, as in the subscription's options: json, form or cloudevents
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Other names of headers and envelope keys, as in the subscription's options
    #[arg(long, value_name = "JSON")]
    pub names: Option<String>,
    /// Signatures to create: tempclock, standard, ed25519 [default: all that the other options allow]
    #[arg(long, value_name = "KINDS")]
    pub signatures: Option<String>,
    /// The webhook-id, to add a webhook-signature
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// The webhook-timestamp in seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS", requires = "id")]
    pub timestamp: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verify`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["database", "signature"]), after_help = "\
Examples:
  tempclock-webhooks verify /var/lib/tempclock-webhooks/tempclock.redb
  tempclock-webhooks verify --secret-file secret.txt \\
    --signature \"$SIGNATURE\" < body.json
  tempclock-webhooks verify --secret-file secret.txt \\
    --signature \"$WEBHOOK_SIGNATURE\" --id \"$WEBHOOK_ID\" \\
    --timestamp \"$WEBHOOK_TIMESTAMP\" --file body.json

The exit code is 0 if the signature matches, and the output names the matching signatures. It is 1
otherwise, with the cause if one was found. Pass the raw body as received, in whatever format.")]
pub struct VerifyArgs {
    /// Backup or database to verify
    #[arg(value_name = "FILE", conflicts_with_all = ["secret", "secret_file", "public_key", "names"])]
    pub database: Option<PathBuf>,
    /// The value of X-TempClock-Signature or, with --id and --timestamp, of webhook-signature
    #[arg(long, value_name = "VALUE")]
    pub signature: Option<String>,
    /// What it is to be signed with.
    #[command(flatten)]
    pub secret: SecretArgs,
    /// Public key of the subscription (whpk_…), for its Ed25519 signatures
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<String>,
    /// Other names, as in the subscription's options: {"signature": "X-Hub-Signature-256"}
    #[arg(long, value_name = "JSON")]
    pub names: Option<String>,
    /// The value of webhook-id
    #[arg(long, value_name = "VALUE", requires_all = ["timestamp", "signature"])]
    pub id: Option<String>,
    /// The value of webhook-timestamp
    #[arg(long, value_name = "VALUE", requires_all = ["id", "signature"])]
    pub timestamp: Option<String>,
    /// How far the timestamp may differ from now
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = value_parsers::duration)]
    pub tolerance: Duration,
    /// The raw body, exactly as received [default: stdin]
    #[arg(long, value_name = "FILE", requires = "signature")]
    pub file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
