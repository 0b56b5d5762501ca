//! Diagnoses a signature that does not match: tries the usual mistakes, alone and combined, until the signature
//! matches, and reports them. Pure; any thread. It never reveals a secret: a cause only names the kind of mistake.

mod body;
mod json;
mod key;
mod signature;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

pub use self::verdict::{Cause, Claim, Header, Verdict};
use crate::domain::Timestamp;
use crate::domain::signing::hmac;

/// Up to this body size causes are also tried in combination; for larger bodies that takes too long.
const TOGETHER_BYTES: usize = 64 * 1024;
/// Maximum number of combined causes.
const MOST_CAUSES: usize = 3;

/// Checks the claim. `tolerance` is how far the timestamp may be from `now`.
#[must_use]
pub fn diagnose(claim: &Claim<'_>, now: Timestamp, tolerance: Duration) -> Verdict {
    let signatures = signature::candidates(&claim.header);
    let keys = key::candidates(claim);
    let fits = |body: &[u8], key: &key::KeyCandidate| {
        let found = hmac(&key.key, &[&key.prefix, body]);
        signatures.iter().find(|signature| signature.mac == found)
    };
    if signatures.is_empty() {
        return Verdict::Unexplained(oddities(claim, true));
    }
    let is_large = claim.body.len() > TOGETHER_BYTES;
    let most = if is_large { 1 } else { MOST_CAUSES };
    let json_changes = body::json_changes(is_large);
    for wanted in 0..=most {
        // Causes in the signature's spelling are parsed, not searched for, so they do not count.
        for key in keys.iter().filter(|key| key.causes.len() == wanted) {
            if let Some(signature) = fits(claim.body, key) {
                let causes = [&key.causes[..], &signature.causes[..]].concat();
                return if causes.is_empty() { judge_age(claim, now, tolerance) } else { Verdict::Explained(causes) };
            }
        }
        for change in body::CHANGES.iter().chain(&json_changes) {
            let Some((changed, cause)) = wanted.checked_sub(1).and_then(|_| change.undo(claim.body)) else { continue };
            for key in keys.iter().filter(|key| key.causes.len() + 1 == wanted) {
                if let Some(signature) = fits(&changed, key) {
                    return Verdict::Explained([&[cause][..], &key.causes, &signature.causes].concat());
                }
            }
        }
    }
    Verdict::Unexplained(oddities(claim, false))
}

fn judge_age(claim: &Claim<'_>, now: Timestamp, tolerance: Duration) -> Verdict {
    let Header::Standard { timestamp, .. } = claim.header else { return Verdict::Matches };
    let Ok(seconds) = timestamp.parse::<u64>() else { return Verdict::Matches };
    let sent = Timestamp::from_ms(seconds.saturating_mul(1000));
    let (age, lead) = (now.since(sent), sent.since(now));
    let shown = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs())).to_string();
    if age > tolerance {
        return Verdict::Explained(vec![Cause::new(
            "timestamp_too_old",
            format!("the signature is right, but its timestamp is {} old", shown(age)),
            "A receiver refuses it as a replay, by default after 5 minutes. Check the clock of this machine; to look at \
             a stored request, allow its age with --tolerance",
        )]);
    }
    if lead > tolerance {
        return Verdict::Explained(vec![Cause::new(
            "timestamp_in_the_future",
            format!("the signature is right, but its timestamp lies {} in the future", shown(lead)),
            "One of the two clocks is wrong; keep both right with NTP",
        )]);
    }
    Verdict::Matches
}

/// Oddities to report when no cause was found.
fn oddities(claim: &Claim<'_>, is_unreadable: bool) -> Vec<Cause> {
    let mut found = key::oddities(claim.secret);
    if is_unreadable {
        found.push(signature::malformed(&claim.header));
    }
    if let Some(cause) = signature::wrong_header(&claim.header) {
        found.push(cause);
    }
    found.extend(body::oddity(claim.body));
    if found.is_empty() {
        found.push(Cause::new(
            "unknown",
            "neither the secret as it is nor any usual change of the body makes the signature match",
            "Check that the secret is this subscription's (each has its own), and that the body is byte for byte what \
             came, before anything parsed it",
        ));
    }
    found
}
