//! Every way in which an attempt can end, and what follows from it. Pure; any thread. The words for it are in
//! [`super::explanation`].

use serde::{Deserialize, Serialize};

/// How an attempt ended. The order of the variants is part of the stored form: new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A 2xx, read to its end.
    Delivered(u16),
    /// An answer that is no success.
    Refused(u16),
    /// An answer that points elsewhere; redirects are not followed.
    Redirected(u16),
    /// The host's name has no address.
    NameNotFound(String),
    /// The address rule does not allow the endpoint; the text names host and rule.
    AddressNotAllowed(String),
    /// Nobody listens at the address, or no way leads there.
    ConnectFailed(String),
    /// The connection broke before the answer was complete.
    ConnectionLost(String),
    /// No complete answer within the time limit; the phase in which it ran out.
    TimedOut(Phase),
    /// No trust in the endpoint's certificate, or no common TLS; the text says why and what to do.
    TlsFailed(String),
    /// The answer was not HTTP.
    BadAnswer(String),
    /// The body that is stored no longer fits its digest, so it was not sent.
    BodyDamaged,
    /// The server itself could not make the attempt.
    Internal(String),
    /// The answer's headers were longer than what is read, or too many.
    HeadersTooLong,
    /// Others kept the server busy with looking up host names for so long that too little time was left.
    LookUpsBusy,
    /// An answer with a 2xx whose body did not come to its end, so it is no success.
    Incomplete(u16, Cut),
    /// The name server did not say which address the host has: it failed, refused or was not reached.
    NameServerFailed(String),
    /// A 429 or 503 of an endpoint that takes other deliveries meanwhile: it asks to be sent to more slowly, and the
    /// attempt uses up no wait of the retry schedule.
    PushedBack(u16),
}

/// How the body of an answer broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cut {
    /// It took too long.
    TimedOut,
    /// The connection broke.
    ConnectionLost,
    /// What came was not HTTP.
    BadAnswer,
}

/// Where in an attempt the time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Looking up the host's name.
    Resolve,
    /// Connecting, TLS included.
    Connect,
    /// Sending the request.
    Send,
    /// Waiting for the first byte of the answer.
    Wait,
    /// Reading the answer.
    Read,
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

/// What one attempt says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointSign {
    /// It works.
    Healthy,
    /// It answers, but with failures.
    Failing,
    /// It did not answer in time or not at all: a suspect, one attempt at a time.
    Unresponsive,
    /// It asked never to be called again.
    Gone,
    /// Nothing: the server itself did not get as far as that.
    Unknown,
}

impl Outcome {
    /// The outcome that a complete answer with this status means.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered(status),
            300..=399 => Self::Redirected(status),
            _ => Self::Refused(status),
        }
    }

    /// Has the event arrived?
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered(_))
    }

    /// The status of the answer, if there was one.
    #[must_use]
    pub fn response_code(&self) -> Option<u16> {
        match self {
            Self::Delivered(status)
            | Self::Refused(status)
            | Self::Redirected(status)
            | Self::Incomplete(status, _)
            | Self::PushedBack(status) => Some(*status),
            _ => None,
        }
    }

    /// Did the endpoint say that it gets too much?
    #[must_use]
    pub fn is_pushback(&self) -> bool {
        matches!(self, Self::Refused(429 | 503) | Self::PushedBack(_))
    }

    /// Does it use up a wait of the retry schedule, if it is no success? A fault of the server's own does not, nor a
    /// push-back while other deliveries get through.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.sign() != EndpointSign::Unknown && !matches!(self, Self::PushedBack(_))
    }

    /// What it says about the endpoint.
    #[must_use]
    pub fn sign(&self) -> EndpointSign {
        match self {
            Self::Delivered(_) => EndpointSign::Healthy,
            Self::Refused(410) => EndpointSign::Gone,
            Self::BodyDamaged | Self::Internal(_) | Self::LookUpsBusy => EndpointSign::Unknown,
            Self::NameNotFound(_)
            | Self::NameServerFailed(_)
            | Self::ConnectFailed(_)
            | Self::ConnectionLost(_)
            | Self::TimedOut(_)
            | Self::Incomplete(_, Cut::TimedOut | Cut::ConnectionLost) => EndpointSign::Unresponsive,
            _ => EndpointSign::Failing,
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
            | Self::LookUpsBusy => WayOut::Unknown,
            _ => WayOut::Open,
        }
    }

    /// A short stable word for programs, metrics and log fields.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Refused(_) | Self::PushedBack(_) => "http_status",
            Self::Redirected(_) => "redirect_not_followed",
            Self::NameNotFound(_) => "name_not_found",
            Self::NameServerFailed(_) => "name_server_failed",
            Self::AddressNotAllowed(_) => "address_not_allowed",
            Self::ConnectFailed(_) => "connect_failed",
            Self::ConnectionLost(_) | Self::Incomplete(_, Cut::ConnectionLost) => "connection_lost",
            Self::TimedOut(_) | Self::Incomplete(_, Cut::TimedOut) => "timed_out",
            Self::TlsFailed(_) => "tls_failed",
            Self::BadAnswer(_) | Self::Incomplete(_, Cut::BadAnswer) => "bad_answer",
            Self::HeadersTooLong => "headers_too_long",
            Self::LookUpsBusy => "server_busy",
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
        assert_eq!(Outcome::Refused(500).sign(), EndpointSign::Failing);
        assert_eq!(Outcome::Refused(410).sign(), EndpointSign::Gone);
        assert_eq!(Outcome::TimedOut(Phase::Read).sign(), EndpointSign::Unresponsive);
        assert_eq!(Outcome::LookUpsBusy.sign(), EndpointSign::Unknown);
    }

    #[test]
    fn only_what_comes_from_outside_shows_a_way_out_and_only_this_machines_own_lack_shows_that_there_is_none() {
        let way_out = |outcome: Outcome| outcome.way_out();
        assert_eq!(way_out(Outcome::Refused(500)), WayOut::Open);
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
            assert_eq!((outcome.sign(), outcome.response_code()), (EndpointSign::Failing, Some(status)));
            assert_eq!(outcome.code(), Outcome::of_status(status).code());
        }
        assert!(!Outcome::Refused(500).is_pushback() && Outcome::Refused(500).counts());
        assert!(!Outcome::Internal(String::new()).counts());
    }
}
