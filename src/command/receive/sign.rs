//! `sign`: prints the signature headers for a body.

use serde_json::{Map, Value, json};

use crate::cli::SignArgs;
use crate::clock::Clock;
use crate::command::console::input;
use crate::command::console::output::{put, put_json};
use crate::command::{Exit, Outcome};
use crate::domain::signing::SigningSecret;

pub fn run(args: &SignArgs) -> Outcome {
    let usage = |message: &str| (Exit::Usage, message.to_owned());
    let secret = input::text(args.secret.secret.as_deref(), args.secret.secret_file.as_deref())?
        .ok_or_else(|| usage("give the signing secret with --secret-file or --secret"))?;
    let secret = SigningSecret::parse(&secret).ok_or_else(|| {
        usage("this is no signing secret of the server, which is 64 characters of 0-9 and a-f with nothing around it")
    })?;
    if args.id.as_deref().is_some_and(|id| id.is_empty() || id.chars().any(|c| c.is_control() || c.is_whitespace())) {
        return Err(usage("--id cannot be empty or have spaces or control characters in it: it goes into a header"));
    }
    let body = input::body(args.file.as_deref())?;
    let timestamp_s = args.timestamp.unwrap_or_else(|| Clock::start().wall().as_seconds());
    let signatures = secret.sign(args.id.as_deref().unwrap_or_default(), timestamp_s, &body);
    let mut headers = vec![("X-TempClock-Signature", signatures.tempclock_header().to_string())];
    if let Some(id) = &args.id {
        headers.push(("webhook-id", id.clone()));
        headers.push(("webhook-timestamp", timestamp_s.to_string()));
        headers.push(("webhook-signature", signatures.standard_header().to_string()));
    }
    if args.json {
        let headers: Map<String, Value> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return put_json(&json!({"data": {"headers": headers}}));
    }
    headers.iter().try_for_each(|(name, value)| put(&format!("{name}: {value}\n")))
}
