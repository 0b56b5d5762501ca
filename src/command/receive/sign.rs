//! `sign`: prints the signature headers for a body, and the body itself if options give it another form.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::cli::SignArgs;
use crate::clock::Clock;
use crate::command::console::input;
use crate::command::console::output::{put, put_json};
use crate::command::manage::subscription_options;
use crate::command::receive::known;
use crate::command::{Exit, Outcome};
use crate::domain::Timestamp;
use crate::domain::options::Options;
use crate::domain::signing::SigningSecret;
use crate::domain::signing_keys::{Ed25519Key, PreviousSecret, SigningKeys};

/// The account in the `source` of a `CloudEvents` event.
const ACCOUNT: &str = "default";

pub fn run(args: &SignArgs) -> Outcome {
    let keys = keys(args)?;
    let Options { format, names, mut signatures, .. } = known::options(&subscription_options::of_sign(args)?)?;
    if args.signatures.is_none() {
        signatures.ed25519 = keys.ed25519.is_some();
    }
    if signatures.ed25519 && keys.ed25519.is_none() {
        return Err(usage("pass the private key for ed25519 with --private-key-file"));
    }
    if args.id.as_deref().is_some_and(|id| id.is_empty() || id.chars().any(|c| c.is_control() || c.is_whitespace())) {
        return Err(usage(
            "--id must not be empty and must not have spaces or control characters, because it is sent in a header",
        ));
    }
    let given = input::body(args.file.as_deref())?;
    let body = format.body(&given, &names, ACCOUNT).ok_or_else(|| {
        usage("the body is not an envelope, which other formats need: JSON with id, event, timestamp and data, as in a delivery")
    })?;
    let is_shaped = args.format.is_some() || matches!(body, Cow::Owned(_));
    let now = Clock::start().wall();
    let now = args.timestamp.map_or(now, |seconds| Timestamp::from_ms(seconds.saturating_mul(1000)));
    let mut headers: Vec<(&str, String)> = Vec::new();
    if is_shaped {
        headers.push(("Content-Type", format.content_type().to_owned()));
    }
    let signed = keys.body_signature(&names, signatures, now, &body);
    if signed.is_none() && args.id.is_none() {
        return Err(usage("pass --id: webhook-signature covers it, and no other signature was requested"));
    }
    headers.extend(signed);
    if let Some(id) = &args.id {
        headers.extend(keys.standard_headers(signatures, id, now, &body));
    }
    if args.json {
        let headers: Map<String, Value> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut data = json!({"headers": headers});
        if is_shaped {
            data["body"] = String::from_utf8_lossy(&body).into();
        }
        return put_json(&json!({"data": data}));
    }
    headers.iter().try_for_each(|(name, value)| put(&format!("{name}: {value}\n")))?;
    if is_shaped { put(&format!("\n{}", String::from_utf8_lossy(&body))) } else { Ok(()) }
}

fn usage(message: &str) -> (Exit, String) {
    (Exit::Usage, message.to_owned())
}

/// What to sign with: the first secret is the newest, and the others are as valid as during a rotation.
fn keys(args: &SignArgs) -> Result<SigningKeys, (Exit, String)> {
    let mut secrets = Vec::new();
    for given in known::secrets(&args.secret)? {
        let secret = SigningSecret::parse(&given);
        secrets.push(
            secret.ok_or_else(|| {
                usage(&format!("this is not a valid signing secret, which {}", SigningSecret::WANTED))
            })?,
        );
    }
    let mut secrets = secrets.into_iter();
    let newest = secrets.next().ok_or_else(|| usage("pass the signing secret with --secret-file or --secret"))?;
    let always = Timestamp::from_ms(u64::MAX);
    let previous = secrets.map(|secret| PreviousSecret { secret, valid_until: always }).collect();
    let private = input::text(None, args.private_key_file.as_deref())?;
    let wanted = "the private key must be whsk_ and base64 of 32 or 64 bytes, as in Standard Webhooks";
    let ed25519 = private.map(|text| Ed25519Key::parse(&text).ok_or_else(|| usage(wanted))).transpose()?;
    Ok(SigningKeys { previous, ed25519, ..SigningKeys::of(newest) })
}
