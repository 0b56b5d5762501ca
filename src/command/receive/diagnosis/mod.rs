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

pub use self::verdict::{Cause, Claim, Expected, Fit, Header, Verdict};
use crate::domain::Timestamp;
use crate::domain::signing::hmac;

/// Up to this body size causes are also tried in combination; for larger bodies that takes too long.
const TOGETHER_BYTES: usize = 64 * 1024;
/// Maximum number of combined causes.
const MOST_CAUSES: usize = 3;

/// Checks the claim. `tolerance` is how far the timestamp may be from `now`.
#[must_use]
pub fn diagnose(claim: &Claim<'_>, now: Timestamp, tolerance: Duration) -> Verdict {
    let signatures = signature::candidates(&claim.header, &claim.expected.names);
    let keys = key::candidates(claim);
    let fits = exact_fits(claim, &keys, &signatures);
    if !fits.is_empty() {
        return judge_age(claim, fits, now, tolerance);
    }
    let is_readable = !signatures.is_empty() || signature::asymmetric(&claim.header).next().is_some();
    match usual_mistakes(claim, &keys, &signatures).or_else(|| asymmetric_mistake(claim)) {
        Some(causes) => Verdict::Explained(causes),
        None => Verdict::Unexplained(oddities(claim, is_readable)),
    }
}

/// The signatures that match without any mistake, in the order of the header.
fn exact_fits(claim: &Claim<'_>, keys: &[key::KeyCandidate], signatures: &[signature::SignatureCandidate]) -> Vec<Fit> {
    let (body, expected) = (claim.body, claim.expected);
    let kind = if matches!(claim.header, Header::Standard { .. }) { "standard" } else { "tempclock" };
    let right: Vec<_> = keys.iter().filter(|key| key.causes.is_empty()).collect();
    let right = right.into_iter().map(|key| (key.secret, hmac(&key.key, &[&key.prefix, body]))).collect::<Vec<_>>();
    let spelled_right = signatures.iter().filter(|signature| signature.causes.is_empty());
    let symmetric = spelled_right.filter_map(|signature| {
        let (secret, _) = right.iter().find(|(_, mac)| signature.mac == *mac)?;
        Some(Fit { kind, secret: Some(secret + 1) })
    });
    let asymmetric = signature::asymmetric(&claim.header).filter(|signature| {
        expected.public_key.as_ref().is_some_and(|key| key.verifies(signature, &key::prefix(&claim.header), body))
    });
    symmetric.chain(asymmetric.map(|_| Fit { kind: "ed25519", secret: None })).collect()
}

/// The fewest usual mistakes that explain one of the signatures.
fn usual_mistakes(
    claim: &Claim<'_>,
    keys: &[key::KeyCandidate],
    signatures: &[signature::SignatureCandidate],
) -> Option<Vec<Cause>> {
    if signatures.is_empty() {
        return None;
    }
    let fits = |body: &[u8], key: &key::KeyCandidate| {
        let found = hmac(&key.key, &[&key.prefix, body]);
        signatures.iter().find(|signature| signature.mac == found)
    };
    let is_large = claim.body.len() > TOGETHER_BYTES;
    let json_changes = body::json_changes(is_large);
    for wanted in 0..=if is_large { 1 } else { MOST_CAUSES } {
        // Causes in the signature's spelling are parsed, not searched for, so they do not count.
        for key in keys.iter().filter(|key| key.causes.len() == wanted) {
            if let Some(signature) = fits(claim.body, key) {
                return Some([&key.causes[..], &signature.causes[..]].concat());
            }
        }
        for change in body::CHANGES.iter().chain(&json_changes) {
            let Some((changed, cause)) = wanted.checked_sub(1).and_then(|_| change.undo(claim.body)) else { continue };
            for key in keys.iter().filter(|key| key.causes.len() + 1 == wanted) {
                if let Some(signature) = fits(&changed, key) {
                    return Some([&[cause][..], &key.causes, &signature.causes].concat());
                }
            }
        }
    }
    None
}

/// The one change of the body, or the wrong id or time, that explains a signature of the key pair.
fn asymmetric_mistake(claim: &Claim<'_>) -> Option<Vec<Cause>> {
    let key = claim.expected.public_key.as_ref()?;
    let fits = |prefix: &[u8], body: &[u8]| {
        signature::asymmetric(&claim.header).any(|signature| key.verifies(&signature, prefix, body))
    };
    let other = key::other_prefixes(claim).into_iter().find(|(prefix, _)| fits(prefix, claim.body));
    let prefix = key::prefix(&claim.header);
    let json_changes = body::json_changes(claim.body.len() > TOGETHER_BYTES);
    let mut changes = body::CHANGES.iter().chain(&json_changes).filter_map(|change| change.undo(claim.body));
    let cause = match other {
        Some((_, cause)) => cause,
        None => changes.find(|(changed, _)| fits(&prefix, changed))?.1,
    };
    Some(vec![cause])
}

fn judge_age(claim: &Claim<'_>, fits: Vec<Fit>, now: Timestamp, tolerance: Duration) -> Verdict {
    let Header::Standard { timestamp, .. } = claim.header else { return Verdict::Matches(fits) };
    let Ok(seconds) = timestamp.parse::<u64>() else { return Verdict::Matches(fits) };
    let sent = Timestamp::from_ms(seconds.saturating_mul(1000));
    let (age, lead) = (now.since(sent), sent.since(now));
    let shown = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs())).to_string();
    if age > tolerance {
        return Verdict::Explained(vec![Cause::new(
            "timestamp_too_old",
            format!("the signature is right, but its timestamp is {} old", shown(age)),
            "Receivers refuse it as a replay, by default after 5 minutes. Check the clock of this machine; to verify a stored request, allow its age with --tolerance",
        )]);
    }
    if lead > tolerance {
        return Verdict::Explained(vec![Cause::new(
            "timestamp_in_the_future",
            format!("the signature is right, but its timestamp is {} in the future", shown(lead)),
            "One of the two clocks is wrong; synchronize both with NTP",
        )]);
    }
    Verdict::Matches(fits)
}

/// Oddities to report when no cause was found.
fn oddities(claim: &Claim<'_>, is_readable: bool) -> Vec<Cause> {
    let mut found = Vec::new();
    for cause in claim.expected.secrets.iter().flat_map(|secret| key::oddities(secret)) {
        if !found.contains(&cause) {
            found.push(cause);
        }
    }
    if !is_readable {
        found.push(signature::malformed(&claim.header));
    }
    found.extend(signature::wrong_header(&claim.header));
    found.extend(signature::other_key(claim));
    found.extend(body::oddity(claim.body, &claim.expected.names));
    if found.is_empty() {
        found.push(Cause::new(
            "unknown",
            "neither the key nor any common change of the body makes the signature match",
            "Check that the secret or public key is this subscription's (each has its own), and that the body is byte for byte as received, before anything parsed it",
        ));
    }
    found
}
