//! `verify` without a file: checks a signature and explains a mismatch.

use serde_json::json;

use crate::cli::VerifyArgs;
use crate::clock::Clock;
use crate::command::console::input;
use crate::command::console::output::{put, put_json};
use crate::command::console::terminal::{Paint, Tone};
use crate::command::manage::subscription_options;
use crate::command::receive::diagnosis::{Cause, Claim, Expected, Header, Verdict, diagnose};
use crate::command::receive::known;
use crate::command::{Exit, Outcome};

pub fn run(args: &VerifyArgs) -> Outcome {
    let names = args.names.as_deref().map(subscription_options::names).transpose()?;
    let expected = Expected {
        secrets: known::secrets(&args.secret)?,
        public_key: known::public_key(args.public_key.as_deref())?,
        names: known::options(&names.into_iter().collect())?.names,
    };
    if expected.secrets.is_empty() && expected.public_key.is_none() {
        let message = "pass the signing secret with --secret-file or --secret, or the key with --public-key";
        return Err((Exit::Usage, message.to_owned()));
    }
    let signature = args.signature.as_deref().unwrap_or_default();
    let header = match (&args.id, &args.timestamp) {
        (Some(id), Some(timestamp)) => Header::Standard { id, timestamp, signature },
        _ => Header::TempClock { signature },
    };
    let body = input::body(args.file.as_deref())?;
    let claim = Claim { body: &body, header, expected: &expected };
    let (fits, causes, is_explained) = match diagnose(&claim, Clock::start().wall(), args.tolerance) {
        Verdict::Matches(fits) => (fits, Vec::new(), true),
        Verdict::Explained(causes) => (Vec::new(), causes, true),
        Verdict::Unexplained(causes) => (Vec::new(), causes, false),
    };
    let is_good = causes.is_empty();
    let printed = if args.json {
        let result = json!({"verified": is_good, "explained": is_explained, "causes": causes, "signatures": fits});
        put_json(&json!({"data": result}))
    } else {
        let (tone, verdict) = if is_good { (Tone::Good, "matches") } else { (Tone::Bad, "does not match") };
        let verdict = Paint::for_stdout().word(tone, verdict);
        let lead = if is_explained { "" } else { "No common cause found. Check:\n" };
        let found: String = if is_good {
            format!("  {}\n", known::in_words(&fits, expected.secrets.len()))
        } else {
            causes.iter().map(lines).collect()
        };
        put(&format!("The signature {verdict}.\n{lead}{found}"))
    };
    // The result counts even if the output cannot be written.
    if is_good { printed } else { Err((Exit::Failed, String::new())) }
}

/// Two lines per cause: what is wrong, and what to do.
fn lines(Cause { code, message, fix }: &Cause) -> String {
    format!("  {code}: {message}.\n    {fix}.\n")
}
