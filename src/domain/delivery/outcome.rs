//! Every outcome of an attempt and its consequences. Pure; any thread. The messages are in [`crate::domain::delivery::explanation`].

use crate::domain::delivery::token_fault::TokenFault;

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx, read to its end.
    Delivered(u16),
    /// A response with an error status.
    HttpError(u16),
    /// A redirect, which is not followed.
    Redirected(u16),
    /// The host name does not resolve.
    NameNotFound(String),
    /// The address rule does not allow the endpoint; the text names host and rule.
    AddressNotAllowed(String),
    /// The connection was refused, or there is no route.
    ConnectFailed(String),
    /// The connection was lost before the response was complete.
    ConnectionLost(String),
    /// Timed out; the phase in which it did.
    TimedOut(Phase),
    /// TLS failed; the text says why and what to do.
    TlsFailed(String),
    /// The response was not valid HTTP.
    BadResponse(String),
    /// The stored body does not match its digest, so it was not sent.
    BodyDamaged,
    /// The server itself could not make the attempt.
    Internal(String),
    /// The response's headers were too long or too many.
    HeadersTooLong,
    /// Look-ups for other endpoints left too little time.
    LookupsBusy,
    /// A 2xx whose body was not complete, so it is not a success.
    Incomplete(u16, BodyError),
    /// The name server did not say which address the host has: it failed, refused or was not reached.
    NameServerFailed(String),
    /// A 429 or 503 of an endpoint that takes other deliveries meanwhile: it asks to be sent to more slowly, and the
    /// attempt uses up no wait of the retry schedule.
    PushedBack(u16),
    /// The endpoint closed a connection that was kept open before a byte of a response came, most likely while it was
    /// idle; the text says how. The next attempt followed at once on a new connection.
    KeptConnectionClosed(String),
    /// The response began with this status, and the rest of its head could not be read.
    BadHead(u16, HeadFault),
    /// There was no access token for the endpoint.
    TokenFailed(TokenFault),
    /// The endpoint answered 401 to an access token, which was dropped. The next attempt followed at once with a new one.
    TokenDropped,
    /// The endpoint answered 401 to an access token, and no attempt followed at once.
    TokenRefused,
    /// The operator's proxy was not reached, or refused; the text says why and what to do.
    ProxyFailed(String),
}

/// What is wrong with a response's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// It is too long, or has too many headers.
    TooLong,
    /// It is not valid HTTP; the text says what of it.
    Invalid(String),
}

/// Why a response's body was not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It timed out.
    TimedOut,
    /// The connection was lost.
    ConnectionLost,
    /// It was not valid HTTP.
    BadResponse,
}

/// The phase of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Resolving the host name.
    Resolve,
    /// Connecting.
    Connect,
    /// Sending the request.
    Send,
    /// Waiting for the first byte of the response.
    Wait,
    /// Reading the response.
    Read,
    /// Setting up TLS.
    Handshake,
}

/// What [`Outcome::ConnectFailed`] says where nobody listens.
pub const REFUSED: &str = "connection refused";
/// What it says where this machine knows no route.
pub const NO_ROUTE: &str = "no way leads to its network";
/// What it says where this machine's network is down.
pub const NETWORK_DOWN: &str = "the network is down";

/// What one attempt says about the way out of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// Something outside has answered.
    Open,
    /// This machine has no route, no network or no name server that answers.
    Closed,
    /// Nothing has answered, which may be the endpoint's fault.
    Doubtful,
    /// Nothing: the attempt never got so far.
    Unknown,
}

/// What an attempt says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointSignal {
    /// It works.
    Healthy,
    /// It responds with errors.
    Failing,
    /// It did not respond: a suspect, one attempt at a time.
    Unresponsive,
    /// It responded 410 Gone.
    Gone,
    /// Nothing: the server itself could not make the attempt.
    Unknown,
}

impl Outcome {
    /// The outcome of a complete response with this status.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered(status),
            300..=399 => Self::Redirected(status),
            _ => Self::HttpError(status),
        }
    }

    /// Whether the event was delivered.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered(_))
    }

    /// The response status, if there was one.
    #[must_use]
    pub fn response_code(&self) -> Option<u16> {
        match self {
            Self::Delivered(status)
            | Self::HttpError(status)
            | Self::Redirected(status)
            | Self::Incomplete(status, _)
            | Self::BadHead(status, _)
            | Self::PushedBack(status) => Some(*status),
            Self::TokenDropped | Self::TokenRefused => Some(401),
            _ => None,
        }
    }

    /// Did the endpoint say that it gets too much?
    #[must_use]
    pub fn is_pushback(&self) -> bool {
        matches!(self, Self::HttpError(429 | 503) | Self::PushedBack(_))
    }

    /// Does it use up a wait of the retry schedule, if it is no success? A fault of the server's own does not, nor a
    /// push-back while other deliveries get through, nor an attempt that the next one followed at once.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.signal() != EndpointSignal::Unknown && !matches!(self, Self::PushedBack(_))
    }

    /// What it says about the endpoint.
    #[must_use]
    pub fn signal(&self) -> EndpointSignal {
        match self {
            Self::Delivered(_) => EndpointSignal::Healthy,
            Self::HttpError(410) => EndpointSignal::Gone,
            Self::BodyDamaged
            | Self::Internal(_)
            | Self::LookupsBusy
            | Self::KeptConnectionClosed(_)
            | Self::TokenFailed(TokenFault::Awaited)
            | Self::TokenDropped
            | Self::ProxyFailed(_) => EndpointSignal::Unknown,
            Self::NameNotFound(_)
            | Self::NameServerFailed(_)
            | Self::ConnectFailed(_)
            | Self::ConnectionLost(_)
            | Self::TimedOut(_)
            | Self::Incomplete(_, BodyError::TimedOut | BodyError::ConnectionLost)
            // The endpoint cannot be reached without its token server.
            | Self::TokenFailed(TokenFault::Unreachable(_)) => EndpointSignal::Unresponsive,
            _ => EndpointSignal::Failing,
        }
    }

    /// Did it fail at the name server, before there was an endpoint to judge? Its lane slows down all the same, as the
    /// next attempt would most likely wait as long for nothing.
    #[must_use]
    pub fn is_of_name_server(&self) -> bool {
        matches!(self, Self::NameServerFailed(_) | Self::TimedOut(Phase::Resolve))
    }

    /// What it says about the way out of this machine.
    #[must_use]
    pub fn way_out(&self) -> WayOut {
        match self {
            Self::ConnectFailed(text) if text == NO_ROUTE || text == NETWORK_DOWN => WayOut::Closed,
            _ if self.is_of_name_server() => WayOut::Closed,
            Self::ConnectFailed(text) if text == REFUSED => WayOut::Open,
            Self::ConnectFailed(_) | Self::TimedOut(Phase::Connect) => WayOut::Doubtful,
            // The name server may have it from memory.
            Self::NameNotFound(_)
            | Self::AddressNotAllowed(_)
            | Self::BodyDamaged
            | Self::Internal(_)
            | Self::LookupsBusy
            | Self::TokenFailed(_)
            | Self::ProxyFailed(_) => WayOut::Unknown,
            _ => WayOut::Open,
        }
    }

    /// A short stable code for programs, metrics and log fields.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::HttpError(_) | Self::PushedBack(_) | Self::TokenDropped | Self::TokenRefused => "http_status",
            Self::TokenFailed(_) => "token_failed",
            Self::ProxyFailed(_) => "proxy_failed",
            Self::Redirected(_) => "redirect_not_followed",
            Self::NameNotFound(_) => "name_not_found",
            Self::NameServerFailed(_) => "name_server_failed",
            Self::AddressNotAllowed(_) => "address_not_allowed",
            Self::ConnectFailed(_) => "connect_failed",
            Self::ConnectionLost(_)
            | Self::KeptConnectionClosed(_)
            | Self::Incomplete(_, BodyError::ConnectionLost) => "connection_lost",
            Self::TimedOut(_) | Self::Incomplete(_, BodyError::TimedOut) => "timed_out",
            Self::TlsFailed(_) => "tls_failed",
            Self::BadResponse(_)
            | Self::Incomplete(_, BodyError::BadResponse)
            | Self::BadHead(_, HeadFault::Invalid(_)) => "bad_answer",
            Self::HeadersTooLong | Self::BadHead(_, HeadFault::TooLong) => "headers_too_long",
            Self::LookupsBusy => "server_busy",
            Self::BodyDamaged => "body_damaged",
            Self::Internal(_) => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_2xx_counts_as_delivered() {
        for status in 100..600 {
            assert_eq!(Outcome::of_status(status).is_delivered(), (200..300).contains(&status), "{status}");
        }
    }

    #[test]
    fn a_quick_failure_makes_no_suspect_and_a_silent_endpoint_does() {
        assert_eq!(Outcome::HttpError(500).signal(), EndpointSignal::Failing);
        assert_eq!(Outcome::HttpError(410).signal(), EndpointSignal::Gone);
        assert_eq!(Outcome::TimedOut(Phase::Read).signal(), EndpointSignal::Unresponsive);
        assert_eq!(Outcome::LookupsBusy.signal(), EndpointSignal::Unknown);
    }

    #[test]
    fn only_what_comes_from_outside_shows_a_way_out_and_only_this_machines_own_lack_shows_that_there_is_none() {
        let way_out = |outcome: Outcome| outcome.way_out();
        assert_eq!(way_out(Outcome::HttpError(500)), WayOut::Open);
        assert_eq!(way_out(Outcome::ConnectFailed(REFUSED.to_owned())), WayOut::Open);
        assert_eq!(way_out(Outcome::TimedOut(Phase::Wait)), WayOut::Open);
        assert_eq!(way_out(Outcome::ConnectFailed(NO_ROUTE.to_owned())), WayOut::Closed);
        assert_eq!(way_out(Outcome::TimedOut(Phase::Connect)), WayOut::Doubtful);
        assert_eq!(way_out(Outcome::AddressNotAllowed(String::new())), WayOut::Unknown);
    }

    #[test]
    fn an_answer_that_pushes_back_is_a_failure_that_may_not_count() {
        for status in [429, 503] {
            assert!(Outcome::of_status(status).is_pushback() && Outcome::of_status(status).counts());
            let outcome = Outcome::PushedBack(status);
            assert!(outcome.is_pushback() && !outcome.counts());
            assert_eq!((outcome.signal(), outcome.response_code()), (EndpointSignal::Failing, Some(status)));
            assert_eq!(outcome.code(), Outcome::of_status(status).code());
        }
        assert!(!Outcome::HttpError(500).is_pushback() && Outcome::HttpError(500).counts());
        assert!(!Outcome::Internal(String::new()).counts());
    }
}
