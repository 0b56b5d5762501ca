//! The question and the result of a diagnosis. Types only.

use std::borrow::Cow;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::domain::options::names::Names;
use crate::domain::signing_keys::Ed25519PublicKey;

/// What a receiver knows of the subscription whose deliveries it gets. No `Debug`, as it has secrets.
#[derive(Clone, Default)]
pub struct Expected {
    /// The secrets that are valid, newest first.
    pub secrets: Vec<Zeroizing<String>>,
    /// The key of its Ed25519 signatures.
    pub public_key: Option<Ed25519PublicKey>,
    /// The names of headers and of the envelope's keys.
    pub names: Names,
}

/// A request whose signature is to be checked.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// The received body.
    pub body: &'a [u8],
    /// The signature header.
    pub header: Header<'a>,
    /// What it is to be signed with.
    pub expected: &'a Expected,
}

/// The signature header, with what it covers besides the body.
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

/// The result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These signatures match, at least one.
    Matches(Vec<Fit>),
    /// It does not match because of these causes.
    Explained(Vec<Cause>),
    /// It does not match and no cause was found; what looks odd.
    Unexplained(Vec<Cause>),
}

/// A signature that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// Its kind, as in the option `signatures`.
    pub kind: &'static str,
    /// Which of the secrets made it, counted from 1; none for a key pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<usize>,
}

/// A cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// A short stable code for programs.
    pub code: &'static str,
    /// What is wrong.
    pub message: Cow<'static, str>,
    /// What to do.
    pub fix: Cow<'static, str>,
}

impl Cause {
    /// A cause.
    pub fn new(code: &'static str, message: impl Into<Cow<'static, str>>, fix: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), fix: fix.into() }
    }
}
