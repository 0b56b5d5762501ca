//! `verify` without a file: checks a signature and explains a mismatch.

use serde_json::json;

use crate::cli::VerifyArgs;
use crate::clock::Clock;
use crate::command::console::input;
use crate::command::console::output::{put, put_json};
use crate::command::console::terminal::{Paint, Tone};
use crate::command::receive::diagnosis::{Cause, Claim, Header, Verdict, diagnose};
use crate::command::{Exit, Outcome};

pub fn run(args: &VerifyArgs) -> Outcome {
    let secret = input::text(args.secret.secret.as_deref(), args.secret.secret_file.as_deref())?
        .ok_or_else(|| (Exit::Usage, "give the signing secret with --secret-file or --secret".to_owned()))?;
    let signature = args.signature.as_deref().unwrap_or_default();
    let header = match (&args.id, &args.timestamp) {
        (Some(id), Some(timestamp)) => Header::Standard { id, timestamp, signature },
        _ => Header::TempClock { signature },
    };
    let body = input::body(args.file.as_deref())?;
    let verdict = diagnose(&Claim { body: &body, secret: &secret, header }, Clock::start().wall(), args.tolerance);
    let (name, causes, is_explained) = match verdict {
        Verdict::Matches => ("matches", Vec::new(), true),
        Verdict::Explained(causes) => ("does not match", causes, true),
        Verdict::Unexplained(causes) => ("does not match", causes, false),
    };
    let is_good = name == "matches";
    let printed = if args.json {
        put_json(&json!({"data": {"verified": is_good, "explained": is_explained, "causes": causes}}))
    } else {
        let tone = if is_good { Tone::Good } else { Tone::Bad };
        let verdict = Paint::for_stdout().word(tone, name);
        let lead = if is_explained { "" } else { "No common cause found. Check:\n" };
        put(&format!("The signature {verdict}.\n{lead}{}", causes.iter().map(lines).collect::<String>()))
    };
    // The result counts even if the output cannot be written.
    if is_good { printed } else { Err((Exit::Failed, String::new())) }
}

/// Two lines per cause: what is wrong, and what to do.
fn lines(Cause { code, message, fix }: &Cause) -> String {
    format!("  {code}: {message}.\n    {fix}.\n")
}
