//! Ways in which a secret can be corrupted, and ways in which a key can be derived from it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::command::receive::diagnosis::verdict::{Cause, Claim, Header};
use crate::domain::Timestamp;

/// A candidate key and prefix, and in what they deviate from the correct ones.
pub struct KeyCandidate {
    /// The key's bytes.
    pub key: Zeroizing<Vec<u8>>,
    /// What is signed before the body.
    pub prefix: Vec<u8>,
    /// The deviations.
    pub causes: Vec<Cause>,
}

/// A signing recipe; the first of each list is the correct one.
struct Recipe {
    key: fn(&str) -> Option<Vec<u8>>,
    prefix: Vec<u8>,
    cause: Option<Cause>,
}

/// Every candidate key for the claim's secret, including the correct one.
pub fn candidates(claim: &Claim<'_>) -> Vec<KeyCandidate> {
    let recipes = match claim.header {
        Header::TempClock { .. } => tempclock_recipes(),
        Header::Standard { id, timestamp, .. } => standard_recipes(id, timestamp, claim.body),
    };
    let mut candidates = Vec::new();
    for (secret, causes) in secrets(claim.secret) {
        for recipe in &recipes {
            let Some(key) = (recipe.key)(&secret) else { continue };
            let causes = causes.iter().chain(&recipe.cause).cloned().collect();
            candidates.push(KeyCandidate { key: Zeroizing::new(key), prefix: recipe.prefix.clone(), causes });
        }
    }
    candidates
}

fn base64(secret: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret).ok()
}

/// Not for a secret that was encoded once more, where decoding is correct.
fn base64_of_shown(secret: &str) -> Option<Vec<u8>> {
    base64(secret).filter(|decoded| !looks_right(&String::from_utf8_lossy(decoded).to_lowercase()))
}

fn hexadecimal(secret: &str) -> Option<Vec<u8>> {
    hex::decode(secret).ok()
}

fn tempclock_recipes() -> Vec<Recipe> {
    let of = |key, cause| Recipe { key, prefix: Vec::new(), cause };
    let as_text = "The key of X-TempClock-Signature is the secret's text as it was shown, 64 bytes: do not decode it";
    vec![
        of(|secret| Some(secret.as_bytes().to_vec()), None),
        of(hexadecimal, Some(Cause::new("key_hex_decoded", "the signer decoded the secret from hexadecimal", as_text))),
        of(
            base64_of_shown,
            Some(Cause::new("key_base64_decoded", "the signer decoded the secret from base64", as_text)),
        ),
        of(
            |secret| Some(secret.to_uppercase().into_bytes()),
            Some(Cause::new(
                "key_upper_case",
                "the signer used the secret in upper case",
                "The secret is lower case, as it was shown",
            )),
        ),
        of(
            |secret| Some(format!("{secret}\n").into_bytes()),
            Some(Cause::new(
                "key_with_newline",
                "the signer's key has a newline at its end, as a file or echo adds it",
                "Take the newline off before the secret is used",
            )),
        ),
        of(
            |secret| Some(format!("whsec_{secret}").into_bytes()),
            Some(Cause::new(
                "key_with_prefix",
                "the signer's key has whsec_ in front",
                "The key of X-TempClock-Signature is the secret without a prefix",
            )),
        ),
    ]
}

fn standard_recipes(id: &str, timestamp: &str, body: &[u8]) -> Vec<Recipe> {
    let prefix = |id: &str, timestamp: &str| format!("{id}.{timestamp}.").into_bytes();
    let of = |key, cause| Recipe { key, prefix: prefix(id, timestamp), cause };
    let as_base64 =
        "The key of webhook-signature is the secret read as base64, 48 bytes; give it to the library as it is";
    let mut recipes = vec![
        of(base64, None),
        of(
            |secret| Some(secret.as_bytes().to_vec()),
            Some(Cause::new("key_as_text", "the signer used the secret's text as the key", as_base64)),
        ),
        of(
            hexadecimal,
            Some(Cause::new("key_hex_decoded", "the signer decoded the secret from hexadecimal", as_base64)),
        ),
        Recipe {
            key: |secret| Some(secret.as_bytes().to_vec()),
            prefix: Vec::new(),
            cause: Some(Cause::new(
                "wrong_header",
                "this is the value of X-TempClock-Signature, checked as if it were webhook-signature",
                "Check it without webhook-id and webhook-timestamp, or take webhook-signature",
            )),
        },
        Recipe {
            key: base64,
            prefix: Vec::new(),
            cause: Some(Cause::new(
                "id_and_timestamp_not_signed",
                "the body alone was signed, without webhook-id and webhook-timestamp",
                "Sign webhook-id, a dot, webhook-timestamp, a dot, and the body",
            )),
        },
    ];
    let in_body = serde_json::from_slice::<serde_json::Value>(body).ok();
    let in_body = in_body.as_ref().and_then(|body| body["id"].as_str()).filter(|in_body| *in_body != id);
    if let Some(in_body) = in_body {
        recipes.push(Recipe {
            key: base64,
            prefix: prefix(in_body, timestamp),
            cause: Some(Cause::new(
                "wrong_id",
                "the id is not the one that was signed",
                "Take the value of webhook-id, which is the event's id; X-TempClock-Delivery is another",
            )),
        });
    }
    if let Some(seconds) = other_timestamp(timestamp) {
        recipes.push(Recipe {
            key: base64,
            prefix: prefix(id, &seconds),
            cause: Some(Cause::new(
                "timestamp_not_in_seconds",
                "the timestamp is not written as it was signed, in whole seconds since 1970",
                "Take the value of webhook-timestamp as it is",
            )),
        });
    }
    recipes
}

/// Seconds from milliseconds or from a calendar time.
fn other_timestamp(text: &str) -> Option<String> {
    let trimmed = text.trim();
    let seconds = match trimmed.parse::<u64>() {
        Ok(number) if number > 100_000_000_000 => number / 1000,
        Ok(number) if trimmed != text => number,
        Ok(_) => return None,
        Err(_) => Timestamp::parse(trimmed)?.as_seconds(),
    };
    Some(seconds.to_string())
}

type Secret = (Zeroizing<String>, Vec<Cause>);

/// The secret as given, then cleaned step by step.
fn secrets(given: &str) -> Vec<Secret> {
    let mut found: Vec<Secret> = vec![(Zeroizing::new(given.to_owned()), Vec::new())];
    for (clean, cause) in cleanings() {
        let Some((last, causes)) = found.last() else { break };
        if let Some(cleaned) = clean(last).filter(|cleaned| cleaned != last.as_str()) {
            let causes = causes.iter().cloned().chain([cause]).collect();
            found.push((Zeroizing::new(cleaned), causes));
        }
    }
    found
}

type Cleaning = fn(&str) -> Option<String>;

fn cleanings() -> [(Cleaning, Cause); 5] {
    [
        (
            |secret| {
                Some(
                    secret
                        .trim_matches(|character: char| character.is_whitespace() || character == '\u{feff}')
                        .to_owned(),
                )
            },
            Cause::new(
                "secret_spaces",
                "the secret has spaces or a line break around it",
                "Take them off where the secret is read: files and copied lines often end with one",
            ),
        ),
        (
            |secret| Some(secret.trim_matches(['"', '\'', '`']).to_owned()),
            Cause::new("secret_quotes", "the secret has quotes around it", "Take them off where the secret is read"),
        ),
        (
            |secret| secret.strip_prefix("whsec_").map(str::to_owned),
            Cause::new(
                "secret_prefix",
                "the secret has whsec_ in front",
                "The secret is the 64 characters without it; only some Standard Webhooks libraries take the prefix off",
            ),
        ),
        (
            |secret| {
                let decoded = String::from_utf8(STANDARD.decode(secret).ok()?).ok()?;
                looks_right(&decoded.to_lowercase()).then_some(decoded)
            },
            Cause::new(
                "secret_base64_encoded",
                "the secret was encoded in base64",
                "Decode it once where it is read, as a secret of Kubernetes has to be",
            ),
        ),
        (
            |secret| Some(secret.to_lowercase()),
            Cause::new("secret_upper_case", "the secret is in upper case", "Use it in lower case, as it was shown"),
        ),
    ]
}

fn looks_right(secret: &str) -> bool {
    secret.len() == 64 && secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Oddities of a secret that does not match.
pub fn oddities(secret: &str) -> Vec<Cause> {
    let cleaned = secrets(secret).pop().map(|(cleaned, _)| cleaned).unwrap_or_default();
    if cleaned.starts_with("tc_live_") {
        return vec![Cause::new(
            "secret_is_an_api_key",
            "the secret is an API key",
            "Take the subscription's signing secret, which was shown when the subscription was made",
        )];
    }
    if looks_right(&cleaned) {
        return Vec::new();
    }
    vec![Cause::new(
        "secret_malformed",
        format!(
            "the secret has {} characters and is none of this server's, which are 64 of 0-9 and a-f",
            cleaned.chars().count()
        ),
        "Take the whole text that was shown when the subscription was made",
    )]
}
