//! Why a signature does not fit: tries what usually goes wrong, alone and together, until one of it makes the signature
//! fit, and names that. Pure; any thread. It never shows a secret: a cause says what kind of thing is wrong with it.

mod body;
mod json;
mod key;
mod signature;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use super::Timestamp;
use super::signing::hmac;

/// A request that somebody claims to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Its body, as it was received.
    pub body: &'a [u8],
    /// The secret that it is to be signed with.
    pub secret: &'a str,
    /// The header with the signature.
    pub header: Header<'a>,
}

/// The header that is looked at, with all that it covers besides the body.
#[derive(Clone, Copy, Debug)]
pub enum Header<'a> {
    /// `X-TempClock-Signature`.
    TempClock {
        /// Its value.
        signature: &'a str,
    },
    /// `webhook-signature`.
    Standard {
        /// The value of `webhook-id`.
        id: &'a str,
        /// The value of `webhook-timestamp`.
        timestamp: &'a str,
        /// Its value.
        signature: &'a str,
    },
}

/// What came of looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The signature is right.
    Fits,
    /// It is not, and it would be but for these.
    Explained(Vec<Cause>),
    /// It is not, and nothing that was tried makes it so; what looks odd.
    Unexplained(Vec<Cause>),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// A short stable word for programs.
    pub code: &'static str,
    /// What is wrong.
    pub message: Cow<'static, str>,
    /// What to do.
    pub fix: Cow<'static, str>,
}

impl Cause {
    fn new(code: &'static str, message: impl Into<Cow<'static, str>>, fix: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), fix: fix.into() }
    }
}

/// Up to this size of a body causes are also tried together; for a larger one that takes too long.
const TOGETHER_BYTES: usize = 64 * 1024;
/// So many things are hardly ever wrong at once.
const MOST_CAUSES: usize = 3;

/// Looks at the claim. `tolerance` is how far the timestamp may be from `now`.
#[must_use]
pub fn diagnose(claim: &Claim<'_>, now: Timestamp, tolerance: Duration) -> Verdict {
    let signatures = signature::readings(&claim.header);
    let keys = key::readings(claim);
    let fits = |body: &[u8], key: &key::Reading| {
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
        // A cause in the signature's spelling is read off it, not searched for, so it does not count.
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
    let Header::Standard { timestamp, .. } = claim.header else { return Verdict::Fits };
    let Ok(seconds) = timestamp.parse::<u64>() else { return Verdict::Fits };
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
    Verdict::Fits
}

/// What looks odd where nothing could be proven.
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
            "neither the secret as it is nor any usual change of the body makes the signature fit",
            "Check that the secret is this subscription's (each has its own), and that the body is byte for byte what \
             came, before anything parsed it",
        ));
    }
    found
}
