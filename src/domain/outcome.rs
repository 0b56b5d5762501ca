//! Every way in which an attempt can end, and what follows from it. Pure; any thread.

use std::time::Duration;

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
    /// No trust in the endpoint's certificate, or no common TLS.
    TlsFailed(String),
    /// The answer was not HTTP, or its headers were too long.
    BadAnswer(String),
    /// The body that is stored no longer fits its digest, so it was not sent.
    BodyDamaged,
    /// The server itself could not make the attempt.
    Internal(String),
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
            Self::Delivered(status) | Self::Refused(status) | Self::Redirected(status) => Some(*status),
            _ => None,
        }
    }

    /// What it says about the endpoint.
    #[must_use]
    pub fn sign(&self) -> EndpointSign {
        match self {
            Self::Delivered(_) => EndpointSign::Healthy,
            Self::Refused(410) => EndpointSign::Gone,
            Self::NameNotFound(_) | Self::ConnectFailed(_) | Self::ConnectionLost(_) | Self::TimedOut(_) => {
                EndpointSign::Unresponsive
            }
            _ => EndpointSign::Failing,
        }
    }

    /// A short stable word for programs, metrics and log fields.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Refused(_) => "http_status",
            Self::Redirected(_) => "redirect_not_followed",
            Self::NameNotFound(_) => "name_not_found",
            Self::AddressNotAllowed(_) => "address_not_allowed",
            Self::ConnectFailed(_) => "connect_failed",
            Self::ConnectionLost(_) => "connection_lost",
            Self::TimedOut(_) => "timed_out",
            Self::TlsFailed(_) => "tls_failed",
            Self::BadAnswer(_) => "bad_answer",
            Self::BodyDamaged => "body_damaged",
            Self::Internal(_) => "internal",
        }
    }

    /// What happened and what to do about it, in words; `None` for a success.
    #[must_use]
    pub fn explanation(&self, timeout: Duration) -> Option<String> {
        let limit_s = timeout.as_secs_f64();
        Some(match self {
            Self::Delivered(_) => return None,
            Self::Refused(410) => "the endpoint answered 410 Gone, which switches the subscription off; switch it on \
                again with PUT {\"active\": true} when it is back"
                .to_owned(),
            Self::Refused(status @ (401 | 403)) => format!(
                "the endpoint answered {status}; it does not accept the request: compare the signing secret that it \
                 verifies with"
            ),
            Self::Refused(status @ (404 | 405)) => {
                format!("the endpoint answered {status}; check the subscription's URL")
            }
            Self::Refused(status) => format!("the endpoint answered {status}; its own log tells why"),
            Self::Redirected(status) => format!(
                "the endpoint answered {status}, a redirect, which is not followed; set the subscription's URL to the \
                 final address"
            ),
            Self::NameNotFound(host) => {
                format!("the host name {host} was not found; check the URL and the name server")
            }
            Self::AddressNotAllowed(text) => text.clone(),
            Self::ConnectFailed(text) => {
                format!("no connection to the endpoint ({text}); check that it runs and that no firewall is in the way")
            }
            Self::ConnectionLost(text) => format!(
                "the connection broke before the answer was complete ({text}); look at the receiver, and at a proxy \
                 in front of it"
            ),
            Self::TimedOut(phase) => {
                let (doing, advice) = match phase {
                    Phase::Resolve => ("looking up the host name", "check the server's name server"),
                    Phase::Connect => ("connecting", "check the address, and for a firewall in the way"),
                    Phase::Send => ("sending the request", "look at what stands in front of the receiver"),
                    Phase::Wait => ("waiting for the answer", "answer first and work afterwards"),
                    Phase::Read => ("reading the answer", "end the answer at once and work afterwards"),
                };
                format!("timed out after {limit_s} s while {doing}; {advice}")
            }
            Self::TlsFailed(text) => format!(
                "no trusted TLS connection to the endpoint: {text}; check its certificate, or add its authority to \
                 delivery.ca_certificates"
            ),
            Self::BadAnswer(text) => format!("the answer is not valid HTTP ({text}); check what listens on that port"),
            Self::BodyDamaged => "the stored body is damaged and was not sent; run verify on the database".to_owned(),
            Self::Internal(text) => format!("the server could not make the attempt: {text}"),
        })
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
    fn every_failure_is_explained_and_a_success_is_not() {
        let limit = Duration::from_secs(30);
        assert_eq!(Outcome::Delivered(204).explanation(limit), None);
        assert!(Outcome::Redirected(302).explanation(limit).unwrap().contains("not followed"));
        assert!(Outcome::TimedOut(Phase::Wait).explanation(limit).unwrap().contains("after 30 s while waiting"));
        assert!(Outcome::TimedOut(Phase::Connect).explanation(limit).unwrap().contains("firewall"));
    }

    #[test]
    fn a_quick_failure_makes_no_suspect_and_a_silent_endpoint_does() {
        assert_eq!(Outcome::Refused(500).sign(), EndpointSign::Failing);
        assert_eq!(Outcome::Refused(410).sign(), EndpointSign::Gone);
        assert_eq!(Outcome::TimedOut(Phase::Read).sign(), EndpointSign::Unresponsive);
    }
}
