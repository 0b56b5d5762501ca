//! The stored form of an attempt's outcome. Pure; any thread. The order of the variants and of their fields is the form: new
//! ones are added at the end, whatever the domain calls them or in which order it has them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::delivery::outcome::{BodyError, HeadFault, Outcome, Phase};
use crate::domain::delivery::token_fault::TokenFault;

/// A text, borrowed while it is written.
type Text<'a> = Cow<'a, str>;

/// An [`Outcome`], variant for variant.
#[derive(Serialize, Deserialize)]
pub(super) enum OutcomeRow<'a> {
    Delivered(u16),
    HttpError(u16),
    Redirected(u16),
    NameNotFound(Text<'a>),
    AddressNotAllowed(Text<'a>),
    ConnectFailed(Text<'a>),
    ConnectionLost(Text<'a>),
    TimedOut(PhaseRow),
    TlsFailed(Text<'a>),
    BadResponse(Text<'a>),
    BodyDamaged,
    Internal(Text<'a>),
    HeadersTooLong,
    LookupsBusy,
    Incomplete(u16, BodyErrorRow),
    NameServerFailed(Text<'a>),
    PushedBack(u16),
    KeptConnectionClosed(Text<'a>),
    BadHead(u16, HeadFaultRow<'a>),
    TokenFailed(TokenFaultRow<'a>),
    TokenDropped,
    TokenRefused,
    ProxyFailed(Text<'a>),
}

/// A [`Phase`].
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum PhaseRow {
    Resolve,
    Connect,
    Send,
    Wait,
    Read,
    Handshake,
}

/// A [`BodyError`].
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum BodyErrorRow {
    TimedOut,
    ConnectionLost,
    BadResponse,
}

/// A [`HeadFault`].
#[derive(Serialize, Deserialize)]
pub(super) enum HeadFaultRow<'a> {
    TooLong,
    Invalid(Text<'a>),
}

/// A [`TokenFault`].
#[derive(Serialize, Deserialize)]
pub(super) enum TokenFaultRow<'a> {
    Unreachable(Text<'a>),
    Refused(u16, Option<Text<'a>>),
    Unusable(Text<'a>),
    Awaited,
}

impl<'a> From<&'a Outcome> for OutcomeRow<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Delivered(status) => Self::Delivered(*status),
            Outcome::HttpError(status) => Self::HttpError(*status),
            Outcome::Redirected(status) => Self::Redirected(*status),
            Outcome::NameNotFound(text) => Self::NameNotFound(text.into()),
            Outcome::AddressNotAllowed(text) => Self::AddressNotAllowed(text.into()),
            Outcome::ConnectFailed(text) => Self::ConnectFailed(text.into()),
            Outcome::ConnectionLost(text) => Self::ConnectionLost(text.into()),
            Outcome::TimedOut(phase) => Self::TimedOut((*phase).into()),
            Outcome::TlsFailed(text) => Self::TlsFailed(text.into()),
            Outcome::BadResponse(text) => Self::BadResponse(text.into()),
            Outcome::BodyDamaged => Self::BodyDamaged,
            Outcome::Internal(text) => Self::Internal(text.into()),
            Outcome::HeadersTooLong => Self::HeadersTooLong,
            Outcome::LookupsBusy => Self::LookupsBusy,
            Outcome::Incomplete(status, error) => Self::Incomplete(*status, (*error).into()),
            Outcome::NameServerFailed(text) => Self::NameServerFailed(text.into()),
            Outcome::PushedBack(status) => Self::PushedBack(*status),
            Outcome::KeptConnectionClosed(text) => Self::KeptConnectionClosed(text.into()),
            Outcome::BadHead(status, fault) => Self::BadHead(*status, fault.into()),
            Outcome::TokenFailed(fault) => Self::TokenFailed(fault.into()),
            Outcome::TokenDropped => Self::TokenDropped,
            Outcome::TokenRefused => Self::TokenRefused,
            Outcome::ProxyFailed(text) => Self::ProxyFailed(text.into()),
        }
    }
}

impl From<OutcomeRow<'_>> for Outcome {
    fn from(row: OutcomeRow<'_>) -> Self {
        match row {
            OutcomeRow::Delivered(status) => Self::Delivered(status),
            OutcomeRow::HttpError(status) => Self::HttpError(status),
            OutcomeRow::Redirected(status) => Self::Redirected(status),
            OutcomeRow::NameNotFound(text) => Self::NameNotFound(text.into()),
            OutcomeRow::AddressNotAllowed(text) => Self::AddressNotAllowed(text.into()),
            OutcomeRow::ConnectFailed(text) => Self::ConnectFailed(text.into()),
            OutcomeRow::ConnectionLost(text) => Self::ConnectionLost(text.into()),
            OutcomeRow::TimedOut(phase) => Self::TimedOut(phase.into()),
            OutcomeRow::TlsFailed(text) => Self::TlsFailed(text.into()),
            OutcomeRow::BadResponse(text) => Self::BadResponse(text.into()),
            OutcomeRow::BodyDamaged => Self::BodyDamaged,
            OutcomeRow::Internal(text) => Self::Internal(text.into()),
            OutcomeRow::HeadersTooLong => Self::HeadersTooLong,
            OutcomeRow::LookupsBusy => Self::LookupsBusy,
            OutcomeRow::Incomplete(status, error) => Self::Incomplete(status, error.into()),
            OutcomeRow::NameServerFailed(text) => Self::NameServerFailed(text.into()),
            OutcomeRow::PushedBack(status) => Self::PushedBack(status),
            OutcomeRow::KeptConnectionClosed(text) => Self::KeptConnectionClosed(text.into()),
            OutcomeRow::BadHead(status, fault) => Self::BadHead(status, fault.into()),
            OutcomeRow::TokenFailed(fault) => Self::TokenFailed(fault.into()),
            OutcomeRow::TokenDropped => Self::TokenDropped,
            OutcomeRow::TokenRefused => Self::TokenRefused,
            OutcomeRow::ProxyFailed(text) => Self::ProxyFailed(text.into()),
        }
    }
}

impl From<Phase> for PhaseRow {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Resolve => Self::Resolve,
            Phase::Connect => Self::Connect,
            Phase::Send => Self::Send,
            Phase::Wait => Self::Wait,
            Phase::Read => Self::Read,
            Phase::Handshake => Self::Handshake,
        }
    }
}

impl From<PhaseRow> for Phase {
    fn from(row: PhaseRow) -> Self {
        match row {
            PhaseRow::Resolve => Self::Resolve,
            PhaseRow::Connect => Self::Connect,
            PhaseRow::Send => Self::Send,
            PhaseRow::Wait => Self::Wait,
            PhaseRow::Read => Self::Read,
            PhaseRow::Handshake => Self::Handshake,
        }
    }
}

impl From<BodyError> for BodyErrorRow {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TimedOut => Self::TimedOut,
            BodyError::ConnectionLost => Self::ConnectionLost,
            BodyError::BadResponse => Self::BadResponse,
        }
    }
}

impl From<BodyErrorRow> for BodyError {
    fn from(row: BodyErrorRow) -> Self {
        match row {
            BodyErrorRow::TimedOut => Self::TimedOut,
            BodyErrorRow::ConnectionLost => Self::ConnectionLost,
            BodyErrorRow::BadResponse => Self::BadResponse,
        }
    }
}

impl<'a> From<&'a HeadFault> for HeadFaultRow<'a> {
    fn from(fault: &'a HeadFault) -> Self {
        match fault {
            HeadFault::TooLong => Self::TooLong,
            HeadFault::Invalid(text) => Self::Invalid(text.into()),
        }
    }
}

impl From<HeadFaultRow<'_>> for HeadFault {
    fn from(row: HeadFaultRow<'_>) -> Self {
        match row {
            HeadFaultRow::TooLong => Self::TooLong,
            HeadFaultRow::Invalid(text) => Self::Invalid(text.into()),
        }
    }
}

impl<'a> From<&'a TokenFault> for TokenFaultRow<'a> {
    fn from(fault: &'a TokenFault) -> Self {
        match fault {
            TokenFault::Unreachable(text) => Self::Unreachable(text.into()),
            TokenFault::Refused(status, code) => Self::Refused(*status, code.as_deref().map(Cow::Borrowed)),
            TokenFault::Unusable(text) => Self::Unusable(text.into()),
            TokenFault::Awaited => Self::Awaited,
        }
    }
}

impl From<TokenFaultRow<'_>> for TokenFault {
    fn from(row: TokenFaultRow<'_>) -> Self {
        match row {
            TokenFaultRow::Unreachable(text) => Self::Unreachable(text.into()),
            TokenFaultRow::Refused(status, code) => Self::Refused(status, code.map(Text::into_owned)),
            TokenFaultRow::Unusable(text) => Self::Unusable(text.into()),
            TokenFaultRow::Awaited => Self::Awaited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::rows::codec;

    const VERSION: u8 = 1;

    /// One of each variant, with the bytes behind the version that every store has for it.
    fn all() -> Vec<(Outcome, Vec<u8>)> {
        let text = || "why".to_owned();
        let why = [3, b'w', b'h', b'y'];
        let with = |front: &[u8]| [front, &why].concat();
        vec![
            (Outcome::Delivered(204), vec![0, 204]),
            (Outcome::HttpError(500), vec![1, 251, 0xf4, 0x01]),
            (Outcome::Redirected(200), vec![2, 200]),
            (Outcome::NameNotFound(text()), with(&[3])),
            (Outcome::AddressNotAllowed(text()), with(&[4])),
            (Outcome::ConnectFailed(text()), with(&[5])),
            (Outcome::ConnectionLost(text()), with(&[6])),
            (Outcome::TimedOut(Phase::Resolve), vec![7, 0]),
            (Outcome::TimedOut(Phase::Connect), vec![7, 1]),
            (Outcome::TimedOut(Phase::Send), vec![7, 2]),
            (Outcome::TimedOut(Phase::Wait), vec![7, 3]),
            (Outcome::TimedOut(Phase::Read), vec![7, 4]),
            (Outcome::TimedOut(Phase::Handshake), vec![7, 5]),
            (Outcome::TlsFailed(text()), with(&[8])),
            (Outcome::BadResponse(text()), with(&[9])),
            (Outcome::BodyDamaged, vec![10]),
            (Outcome::Internal(text()), with(&[11])),
            (Outcome::HeadersTooLong, vec![12]),
            (Outcome::LookupsBusy, vec![13]),
            (Outcome::Incomplete(200, BodyError::TimedOut), vec![14, 200, 0]),
            (Outcome::Incomplete(200, BodyError::ConnectionLost), vec![14, 200, 1]),
            (Outcome::Incomplete(200, BodyError::BadResponse), vec![14, 200, 2]),
            (Outcome::NameServerFailed(text()), with(&[15])),
            (Outcome::PushedBack(200), vec![16, 200]),
            (Outcome::KeptConnectionClosed(text()), with(&[17])),
            (Outcome::BadHead(200, HeadFault::TooLong), vec![18, 200, 0]),
            (Outcome::BadHead(200, HeadFault::Invalid(text())), with(&[18, 200, 1])),
            (Outcome::TokenFailed(TokenFault::Unreachable(text())), with(&[19, 0])),
            (Outcome::TokenFailed(TokenFault::Refused(200, None)), vec![19, 1, 200, 0]),
            (Outcome::TokenFailed(TokenFault::Refused(200, Some(text()))), with(&[19, 1, 200, 1])),
            (Outcome::TokenFailed(TokenFault::Unusable(text())), with(&[19, 2])),
            (Outcome::TokenFailed(TokenFault::Awaited), vec![19, 3]),
            (Outcome::TokenDropped, vec![20]),
            (Outcome::TokenRefused, vec![21]),
            (Outcome::ProxyFailed(text()), with(&[22])),
        ]
    }

    #[test]
    fn every_outcome_has_the_bytes_that_it_always_had_and_is_read_from_them() {
        for (outcome, bytes) in all() {
            let stored = [&[VERSION][..], &bytes].concat();
            assert_eq!(codec::encode(VERSION, &OutcomeRow::from(&outcome)).unwrap(), stored, "{outcome:?}");
            let read: OutcomeRow<'_> = codec::decode(VERSION, &stored).unwrap();
            assert_eq!(Outcome::from(read), outcome);
        }
    }
}
