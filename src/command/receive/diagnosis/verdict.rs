//! The question and the result of a diagnosis. Types only.

use std::borrow::Cow;

use serde::Serialize;

/// A request whose signature is to be checked.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The received body.
    pub body: &'a [u8],
    /// The expected secret.
    pub secret: &'a str,
    /// The signature header.
    pub header: Header<'a>,
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
    /// The signature matches.
    Matches,
    /// It does not match because of these causes.
    Explained(Vec<Cause>),
    /// It does not match and no cause was found; what looks odd.
    Unexplained(Vec<Cause>),
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
