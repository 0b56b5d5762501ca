//! Ways in which a secret can be corrupted, and ways in which a key can be derived from it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::command::receive::diagnosis::verdict::{Cause, Claim, Header};
use crate::domain::Timestamp;
use crate::domain::signing::SigningSecret;

/// A candidate key and prefix, and in what they deviate from the correct ones.
pub struct KeyCandidate {
    /// The place of its secret.
    pub secret: usize,
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

/// Every candidate key for the claim's secrets, including the correct ones.
pub fn candidates(claim: &Claim<'_>) -> Vec<KeyCandidate> {
    let recipes = match claim.header {
        Header::TempClock { .. } => tempclock_recipes(),
        Header::Standard { .. } => standard_recipes(claim),
    };
    let mut candidates = Vec::new();
    for (place, given) in claim.expected.secrets.iter().enumerate() {
        for (secret, causes) in secrets(given) {
            for recipe in &recipes {
                let Some(key) = (recipe.key)(&secret) else { continue };
                let causes = causes.iter().chain(&recipe.cause).cloned().collect();
                let (key, prefix) = (Zeroizing::new(key), recipe.prefix.clone());
                candidates.push(KeyCandidate { secret: place, key, prefix, causes });
            }
        }
    }
    candidates
}

/// What is signed before the body.
pub fn prefix(header: &Header<'_>) -> Vec<u8> {
    match header {
        Header::TempClock { .. } => Vec::new(),
        Header::Standard { id, timestamp, .. } => format!("{id}.{timestamp}.").into_bytes(),
    }
}

/// What may have been signed before the body if id or timestamp are not the right ones.
pub fn other_prefixes(claim: &Claim<'_>) -> Vec<(Vec<u8>, Cause)> {
    let Header::Standard { id, timestamp, .. } = claim.header else { return Vec::new() };
    let prefix = |id: &str, timestamp: &str| format!("{id}.{timestamp}.").into_bytes();
    let mut others = Vec::new();
    let in_body = serde_json::from_slice::<serde_json::Value>(claim.body).ok();
    let [id_key, ..] = &claim.expected.names.envelope;
    let in_body = in_body.as_ref().and_then(|body| body[id_key].as_str()).filter(|in_body| *in_body != id);
    if let Some(in_body) = in_body {
        let cause = Cause::new(
            "wrong_id",
            "the id is not the one that was signed",
            "Use the value of webhook-id, which is the event's id; X-TempClock-Delivery has another id",
        );
        others.push((prefix(in_body, timestamp), cause));
    }
    if let Some(seconds) = other_timestamp(timestamp) {
        let cause = Cause::new(
            "timestamp_not_in_seconds",
            "the timestamp is not in the signed form, whole seconds since 1970",
            "Use the value of webhook-timestamp unchanged",
        );
        others.push((prefix(id, &seconds), cause));
    }
    others
}

/// As the libraries of Standard Webhooks read it.
fn standard_key(secret: &str) -> Option<Vec<u8>> {
    SigningSecret::parse(secret).map(|secret| secret.standard_key().to_vec())
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
                "Remove the newline before you use the secret",
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

fn standard_recipes(claim: &Claim<'_>) -> Vec<Recipe> {
    let of = |key, cause| Recipe { key, prefix: prefix(&claim.header), cause };
    let as_base64 = "The key of webhook-signature is the secret without whsec_, decoded as base64; pass the secret to the library unchanged";
    let mut recipes = vec![
        of(standard_key, None),
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
                "Check it without webhook-id and webhook-timestamp, or use webhook-signature",
            )),
        },
        Recipe {
            key: standard_key,
            prefix: Vec::new(),
            cause: Some(Cause::new(
                "id_and_timestamp_not_signed",
                "only the body was signed, without webhook-id and webhook-timestamp",
                "Sign webhook-id, a dot, webhook-timestamp, a dot, and the body",
            )),
        },
    ];
    let others = other_prefixes(claim).into_iter();
    recipes.extend(others.map(|(prefix, cause)| Recipe { key: standard_key, prefix, cause: Some(cause) }));
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
                "Remove them where the secret is read: files and copied lines often end with one",
            ),
        ),
        (
            |secret| Some(secret.trim_matches(['"', '\'', '`']).to_owned()),
            Cause::new("secret_quotes", "the secret has quotes around it", "Remove them where the secret is read"),
        ),
        (
            |secret| secret.strip_prefix("whsec_").map(str::to_owned),
            Cause::new(
                "secret_prefix",
                "the secret has whsec_ in front",
                "The secret is the 64 characters without it; only some Standard Webhooks libraries remove the prefix",
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
                "Decode it once where it is read, as Kubernetes secrets require",
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
            "Use the subscription's signing secret, which was shown when the subscription was created",
        )];
    }
    // A secret that was given to the subscription has another form; one that the server made may be cut off.
    let is_cut_off = cleaned.len().abs_diff(64) <= 8 && cleaned.bytes().all(|byte| byte.is_ascii_hexdigit());
    if looks_right(&cleaned) || (SigningSecret::parse(&cleaned).is_some() && !is_cut_off) {
        return Vec::new();
    }
    vec![Cause::new(
        "secret_malformed",
        format!(
            "the secret has {} characters; a generated secret has 64 of 0-9 and a-f, and your own has 16 to 128 without spaces",
            cleaned.chars().count()
        ),
        "Use the whole text that was shown when the subscription was created",
    )]
}
