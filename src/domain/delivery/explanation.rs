//! Explains a failed attempt in one sentence: what happened and, after a semicolon, what to do about it. Used by the
//! API, the command line and the log. Pure; any thread.

use std::borrow::Cow;

use url::Url;

use crate::domain::delivery::attempt::Attempt;
use crate::domain::delivery::outcome::{BodyError, Outcome, Phase};
use crate::domain::event::event_type::EventType;

/// Maximum length of a redirect's target in an explanation.
const TARGET_CHARACTERS: usize = 200;

impl Attempt {
    /// What happened and what to do about it; `None` for a success.
    #[must_use]
    pub fn explanation(&self) -> Option<String> {
        let (cause, advice) = match &self.outcome {
            Outcome::Delivered(_) => return None,
            // These bring their own advice.
            Outcome::AddressNotAllowed(text) => return Some(text.clone()),
            Outcome::TlsFailed(text) => return Some(tls(text)),
            Outcome::HttpError(status) => (format!("the endpoint answered {}", named(*status)), for_status(*status)),
            Outcome::PushedBack(status) => (
                format!(
                    "the endpoint answered {}, while other deliveries get through, so this attempt does not count \
                     against the retry schedule",
                    named(*status)
                ),
                for_status(*status),
            ),
            Outcome::Redirected(status) => (
                format!("the endpoint answered {status}, a redirect{}, which is not followed", self.target()),
                "set the subscription's URL to the final address",
            ),
            Outcome::NameNotFound(host) => {
                (format!("the host name {host} was not found"), "check the URL and the name server")
            }
            Outcome::NameServerFailed(host) => (
                format!("the name server failed or did not answer when it was asked for the host name {host}"),
                "check the server's name server in /etc/resolv.conf, and those of the domain",
            ),
            Outcome::ConnectFailed(text) => (
                format!("no connection to the endpoint ({text})"),
                "check that it runs and that no firewall is in the way",
            ),
            Outcome::ConnectionLost(text) => {
                (format!("the connection broke before the answer was complete ({text})"), AFTER_A_BREAK)
            }
            Outcome::TimedOut(phase) => {
                let (doing, advice) = phase_in_words(*phase);
                (format!("timed out after {} while {doing}", self.took()), advice)
            }
            Outcome::BadResponse(text) => {
                (format!("the answer is not valid HTTP ({text})"), "check what listens on that port")
            }
            Outcome::HeadersTooLong => {
                ("the answer's headers are longer than 16 KiB, or too many".to_owned(), "let the receiver send fewer")
            }
            Outcome::LookupsBusy => (
                "this server was busy looking up other host names, and too little time was left".to_owned(),
                "this says nothing about the endpoint: if it lasts, check the server's name server",
            ),
            Outcome::Incomplete(status, BodyError::TimedOut) => {
                let (doing, advice) = phase_in_words(Phase::Read);
                (format!("the endpoint answered {status}, but timed out after {} while {doing}", self.took()), advice)
            }
            Outcome::Incomplete(status, BodyError::ConnectionLost) => (
                format!("the endpoint answered {status}, but the connection broke before the answer was complete"),
                AFTER_A_BREAK,
            ),
            Outcome::Incomplete(status, BodyError::BadResponse) => {
                (format!("the endpoint answered {status}, but the rest of the answer is not valid HTTP"), AFTER_A_BREAK)
            }
            Outcome::BodyDamaged => {
                ("the stored body is damaged and was not sent".to_owned(), "run verify on the database")
            }
            Outcome::Internal(text) => {
                (format!("the server could not make the attempt ({text})"), "let its operator look at the log")
            }
        };
        Some(format!("{cause}; {advice}"))
    }

    /// The same of an event of this type: a test ping never switches its subscription off.
    #[must_use]
    pub fn explanation_of(&self, event_type: EventType) -> Option<String> {
        match self.outcome {
            Outcome::HttpError(410) if event_type == EventType::Ping => Some(
                "the endpoint answered 410 Gone; a test ping does not switch the subscription off, an event does"
                    .to_owned(),
            ),
            _ => self.explanation(),
        }
    }

    /// Its duration, for people.
    fn took(&self) -> String {
        match self.duration_ms {
            ms @ 0..1000 => format!("{ms} ms"),
            ms => {
                let tenths = ms.saturating_add(50) / 100;
                if tenths.is_multiple_of(10) {
                    format!("{} s", tenths / 10)
                } else {
                    format!("{}.{} s", tenths / 10, tenths % 10)
                }
            }
        }
    }

    /// The target of a redirect without parts that may be secret; empty if there is none.
    fn target(&self) -> String {
        let target = self.response.as_ref().and_then(|response| {
            let (_, location) = response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("location"))?;
            let mut target = Url::parse(&self.url).ok()?.join(location).ok()?;
            target.set_query(None);
            target.set_fragment(None);
            // These fail for URLs without a host, which have no credentials either.
            let _ = target.set_username("");
            let _ = target.set_password(None);
            matches!(target.scheme(), "http" | "https").then(|| String::from(target))
        });
        // The rest is ASCII without blanks and control characters, as the URL parser writes it.
        let target = target.map(|text| text.replace(';', "%3B"));
        match target {
            None => String::new(),
            Some(text) if text.len() > TARGET_CHARACTERS => {
                format!(" to {}…", text.chars().take(TARGET_CHARACTERS).collect::<String>())
            }
            Some(text) => format!(" to {text}"),
        }
    }
}

const AFTER_A_BREAK: &str = "look at the receiver, and at a proxy in front of it";

fn tls(text: &str) -> String {
    let prefix = "no trusted TLS connection to the endpoint";
    // Attempts that an earlier version recorded have the cause alone.
    let advice = if text.contains("; ") {
        ""
    } else {
        "; check its certificate, or add its authority to delivery.ca_certificates"
    };
    format!("{prefix}: {text}{advice}")
}

fn phase_in_words(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Resolve => ("looking up the host name", "check the server's name server"),
        Phase::Connect => ("connecting", "check the address, and for a firewall in the way"),
        Phase::Handshake => ("setting up TLS", "check that TLS is spoken on that port, and that the receiver runs"),
        Phase::Send => {
            ("sending the request", "let the receiver, and what stands in front of it, read the whole request")
        }
        Phase::Wait => ("waiting for the answer", "answer first and work afterwards"),
        Phase::Read => ("reading the answer", "end the answer at once and work afterwards"),
    }
}

/// The status, with its name if that is well known.
fn named(status: u16) -> Cow<'static, str> {
    Cow::Borrowed(match status {
        410 => "410 Gone, which switches the subscription off",
        413 => "413, too large",
        429 => "429, too many requests",
        503 => "503, unavailable",
        _ => return Cow::Owned(status.to_string()),
    })
}

fn for_status(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "it does not accept the request: compare the signing secret that it verifies with, and let no login or \
             firewall stand in front of it"
        }
        404 | 405 => "check the subscription's URL",
        408 | 504 => "the receiver takes too long for what is in front of it: answer first and work afterwards",
        410 => "switch it on again with PUT {\"active\": true} when it is back",
        413 => "raise the limit for request bodies in the receiver and in a proxy in front of it",
        415 => "let the receiver take application/json",
        429 => {
            "let the receiver take more, if what waits for it becomes too much: it gets no more than it takes, and its \
             Retry-After puts off the next attempt"
        }
        502 => "a proxy got no answer from the receiver behind it: check that the receiver runs",
        503 => "it is overloaded or under maintenance: if that lasts, look at the receiver",
        _ => "its own log tells why",
    }
}

#[cfg(test)]
mod tests;
