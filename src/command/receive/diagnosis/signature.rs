//! Interpretations of a signature's text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::command::receive::diagnosis::verdict::{Cause, Claim, Header};
use crate::domain::options::names::Names;

/// A candidate code and the deviations in its spelling.
pub struct SignatureCandidate {
    /// The code.
    pub mac: [u8; 32],
    /// The deviations.
    pub causes: Vec<Cause>,
}

/// Every candidate of the header's text; empty if it is not a signature.
pub fn candidates(header: &Header<'_>, names: &Names) -> Vec<SignatureCandidate> {
    match header {
        Header::TempClock { signature } => as_hex(signature, &names.signature_prefix).into_iter().collect(),
        // The header can hold several signatures while a secret is rotated; any may match.
        Header::Standard { signature, .. } => signature.split_whitespace().filter_map(as_standard).collect(),
    }
}

/// The signatures of a key pair in the header.
pub fn asymmetric<'a>(header: &Header<'a>) -> impl Iterator<Item = Vec<u8>> + use<'a> {
    let signature = match *header {
        Header::TempClock { .. } => "",
        Header::Standard { signature, .. } => signature,
    };
    signature.split_whitespace().filter_map(|text| STANDARD.decode(text.strip_prefix(ASYMMETRIC)?).ok())
}

/// Before a signature of a key pair.
const ASYMMETRIC: &str = "v1a,";

fn as_hex(text: &str, prefix: &str) -> Option<SignatureCandidate> {
    let mut causes = Vec::new();
    let bare = without_wrapping(text, &mut causes);
    let bare = bare.strip_prefix(prefix).unwrap_or_else(|| {
        causes.push(Cause::new(
            "signature_prefix_missing",
            format!("the signature lacks the prefix \"{prefix}\" that the option names sets"),
            "Pass the whole value of the header",
        ));
        bare
    });
    let (bare, is_marked) = match bare.strip_prefix("sha256=").or_else(|| bare.strip_prefix("v1,")) {
        Some(rest) => (rest, true),
        None => (bare, false),
    };
    if is_marked {
        causes.push(Cause::new(
            "signature_prefix",
            "the signature has a prefix such as sha256=, which it should only have if the option names sets one",
            "Compare only the 64 hexadecimal characters. If the subscription has names.signature_prefix, pass it with --names",
        ));
    }
    if let Some(mac) = hex_mac(bare) {
        if bare.bytes().any(|byte| byte.is_ascii_uppercase()) {
            causes.push(Cause::new(
                "signature_upper_case",
                "the signature is in upper case",
                "X-TempClock-Signature is lower-case hexadecimal: use lower case, or compare the bytes",
            ));
        }
        return Some(SignatureCandidate { mac, causes });
    }
    let mac = base64_mac(bare)?;
    causes.push(Cause::new(
        "signature_base64",
        "the signature is in base64",
        "X-TempClock-Signature is lower-case hexadecimal: use hexadecimal, or compare the bytes",
    ));
    Some(SignatureCandidate { mac, causes })
}

fn as_standard(text: &str) -> Option<SignatureCandidate> {
    if text.starts_with(ASYMMETRIC) {
        return None;
    }
    let mut causes = Vec::new();
    let bare = without_wrapping(text, &mut causes);
    let code = if let Some(code) = bare.strip_prefix("v1,") {
        code
    } else {
        causes.push(Cause::new(
            "signature_without_version",
            "the signature lacks the \"v1,\" that webhook-signature begins with",
            "Pass the whole value of the header",
        ));
        bare
    };
    // 64 hexadecimal characters are valid base64 too, but not of 32 bytes.
    if let Some(mac) = STANDARD.decode(code).ok().and_then(|bytes| bytes.try_into().ok()) {
        return Some(SignatureCandidate { mac, causes });
    }
    if let Some(mac) = hex_mac(code) {
        causes.push(Cause::new(
            "signature_hex",
            "the signature is in hexadecimal",
            "webhook-signature is base64 after \"v1,\": use base64, or compare the bytes",
        ));
        return Some(SignatureCandidate { mac, causes });
    }
    let mac = base64_mac(code)?;
    causes.push(Cause::new(
        "signature_base64_variant",
        "the signature is in another variant of base64 (for URLs, or without = at the end)",
        "webhook-signature is standard base64 with padding",
    ));
    Some(SignatureCandidate { mac, causes })
}

fn without_wrapping<'a>(text: &'a str, causes: &mut Vec<Cause>) -> &'a str {
    let bare = text.trim_matches(|character: char| character.is_whitespace() || character == '"' || character == '\'');
    if bare.len() != text.len() {
        causes.push(Cause::new(
            "signature_wrapped",
            "the signature has spaces or quotes around it",
            "Compare the value without them",
        ));
    }
    bare
}

fn hex_mac(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

fn base64_mac(text: &str) -> Option<[u8; 32]> {
    let bytes = STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .or_else(|_| URL_SAFE.decode(text))
        .or_else(|_| URL_SAFE_NO_PAD.decode(text));
    bytes.ok()?.try_into().ok()
}

/// The cause for a text that cannot be a signature.
pub fn malformed(header: &Header<'_>) -> Cause {
    let (signature, wanted) = match header {
        Header::TempClock { signature } => (signature, "64 hexadecimal characters"),
        Header::Standard { signature, .. } => (signature, "\"v1,\" and 44 characters of base64, or \"v1a,\" and 88"),
    };
    let length = signature.chars().count();
    Cause::new(
        "signature_malformed",
        format!("the signature has {length} characters and cannot be valid: {wanted} are expected"),
        "Check that you pass the whole value of the right header",
    )
}

/// The cause if one header has the other's form.
pub fn wrong_header(header: &Header<'_>) -> Option<Cause> {
    match header {
        Header::TempClock { signature } if signature.trim().starts_with("v1,") => Some(Cause::new(
            "wrong_header",
            "this looks like the value of webhook-signature, which also covers webhook-id and webhook-timestamp",
            "Pass these two as well (--id, --timestamp), or use X-TempClock-Signature",
        )),
        _ => None,
    }
}

/// The cause if nothing was given that made the signature.
pub fn other_key(claim: &Claim<'_>) -> Option<Cause> {
    let is_of_key_pair = asymmetric(&claim.header).next().is_some();
    let is_of_secret = !candidates(&claim.header, &claim.expected.names).is_empty();
    if is_of_key_pair && claim.expected.public_key.is_none() {
        return Some(Cause::new(
            "public_key_needed",
            "one of the signatures is Ed25519 (v1a), which a secret cannot verify",
            "Pass the subscription's public_key, which every API response shows, with --public-key",
        ));
    }
    (is_of_secret && claim.expected.secrets.is_empty()).then(|| {
        Cause::new(
            "secret_needed",
            "one of the signatures is HMAC-SHA256, which a public key cannot verify",
            "Pass the signing secret with --secret-file",
        )
    })
}
