//! Explains a failed attempt in one sentence: what happened and, after a semicolon, what to do about it. Used by the
//! API, the command line and the log. Pure; any thread.

use url::Url;

use crate::domain::delivery::attempt::Attempt;
use crate::domain::delivery::explanation::status::named;
use crate::domain::delivery::outcome::{BodyError, HeadFault, NO_ROUTE, Outcome, Phase};
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
            Outcome::TokenFailed(fault) => return Some(fault.in_words()),
            Outcome::ProxyFailed(text) => {
                return Some(format!("not sent to the endpoint, and not counted against it: {text}"));
            }
            Outcome::TokenDropped => (
                "the endpoint answered 401, so the access token was discarded, and the next attempt followed at once with a new one"
                    .to_owned(),
                "this does not count against the retry schedule: a receiver that accepts tokens until they expire avoids it",
            ),
            Outcome::TokenRefused => (
                "the endpoint answered 401 to the access token".to_owned(),
                "compare auth.scope and auth.audience with what the receiver requires, and the signing secret that it verifies with",
            ),
            Outcome::HttpError(status) => {
                (format!("the endpoint answered {}", named(*status)), self.for_status(*status))
            }
            Outcome::PushedBack(status) => (
                format!(
                    "the endpoint answered {}, while other deliveries get through, so this attempt does not count \
                     against the retry schedule",
                    named(*status)
                ),
                self.for_status(*status),
            ),
            Outcome::Redirected(status) => match self.target() {
                None => (
                    format!("the endpoint answered {status} without a new address, which is not a valid response to an event"),
                    "check the subscription's URL, and a cache or proxy in front of the receiver",
                ),
                Some(target) => (
                    format!("the endpoint answered {status}, a redirect to {target}, which is not followed"),
                    "set the subscription's URL to the final address, or, if that is a login page, let the receiver accept deliveries without a login. A receiver that always redirects (Google Apps Script) may have processed the event",
                ),
            },
            Outcome::NameNotFound(host) => {
                (format!("the host name {host} was not found"), "check the URL, and the domain's records")
            }
            Outcome::NameServerFailed(host) => (
                format!("the name server failed or did not answer when it was asked for the host name {host}"),
                "check the server's name server in /etc/resolv.conf, and those of the domain",
            ),
            Outcome::ConnectFailed(text) if text == NO_ROUTE => (
                format!("no connection to the endpoint ({text})"),
                "check this machine's network: an endpoint with only IPv6 addresses needs IPv6 here",
            ),
            Outcome::ConnectFailed(text) => (
                format!("no connection to the endpoint ({text})"),
                "check that it runs and that no firewall blocks it",
            ),
            Outcome::ConnectionLost(text) => {
                (format!("the connection broke before the answer was complete ({text})"), AFTER_A_BREAK)
            }
            Outcome::KeptConnectionClosed(text) => (
                format!(
                    "the endpoint closed a kept connection before it sent any byte of an answer ({text}), so the next attempt followed at once on a new one"
                ),
                "this does not count against the retry schedule: a receiver that closes each connection after its answer, and announces that with Connection: close, avoids it",
            ),
            Outcome::TimedOut(phase) => {
                let (doing, advice) = phase_in_words(*phase);
                (format!("timed out after {} while {doing}", self.took()), advice)
            }
            Outcome::LookupsBusy => (
                "this server was busy looking up other host names, and too little time was left".to_owned(),
                "this is not caused by the endpoint: if it persists, check the server's name server",
            ),
            Outcome::BadResponse(_) | Outcome::HeadersTooLong | Outcome::BadHead(..) | Outcome::Incomplete(..) => {
                return self.of_bad_answer();
            }
            Outcome::BodyDamaged => {
                ("the stored body is damaged and was not sent".to_owned(), "run verify on the database")
            }
            Outcome::Internal(text) => {
                (format!("the server could not make the attempt ({text})"), "its operator finds the cause in the log")
            }
        };
        Some(format!("{cause}; {advice}"))
    }

    /// The same of an answer that cannot be read, or not to its end.
    fn of_bad_answer(&self) -> Option<String> {
        let (cause, advice) = match &self.outcome {
            Outcome::BadResponse(text) => {
                let advice = if self.url.starts_with("http:") {
                    "check what listens on that port: if it is TLS, the subscription's URL must begin with https"
                } else {
                    "check what listens on that port: a server that only speaks HTTP/2 cannot receive deliveries"
                };
                (format!("the answer is not valid HTTP ({text})"), advice)
            }
            Outcome::HeadersTooLong => {
                ("the answer's headers are longer than 16 KiB, or too many".to_owned(), FEWER_HEADERS)
            }
            Outcome::BadHead(status, HeadFault::TooLong) => (
                format!(
                    "the endpoint answered {status}, but the answer's headers are longer than 16 KiB, or more than 512"
                ),
                FEWER_HEADERS,
            ),
            Outcome::BadHead(status, HeadFault::Invalid(text)) => (
                format!("the endpoint answered {status}, but the answer is not valid HTTP: {text}"),
                "fix that in the receiver, or in a proxy in front of it",
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
            _ => return None,
        };
        Some(format!("{cause}; {advice}"))
    }

    /// The same of an event of this type: a test ping never disables its subscription.
    #[must_use]
    pub fn explanation_of(&self, event_type: EventType) -> Option<String> {
        match self.outcome {
            Outcome::HttpError(410) if event_type == EventType::Ping => Some(
                "the endpoint answered 410 Gone; a test ping does not disable the subscription, an event does"
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

    /// The target of a redirect without parts that may be secret.
    fn target(&self) -> Option<String> {
        let target = self.response.as_ref().and_then(|response| {
            let location = response.header("location")?;
            let mut target = Url::parse(&self.url).ok()?.join(location).ok()?;
            target.set_query(None);
            target.set_fragment(None);
            // These fail for URLs without a host, which have no credentials either.
            let _ = target.set_username("");
            let _ = target.set_password(None);
            matches!(target.scheme(), "http" | "https").then(|| String::from(target))
        });
        // The rest is ASCII without blanks and control characters, as the URL parser writes it.
        let text = target?.replace(';', "%3B");
        Some(if text.len() > TARGET_CHARACTERS {
            text.chars().take(TARGET_CHARACTERS).chain(['…']).collect()
        } else {
            text
        })
    }
}

const FEWER_HEADERS: &str = "reduce the receiver's response headers";
const AFTER_A_BREAK: &str = "check the receiver, and a proxy in front of it";

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

impl Phase {
    /// What is done in it, after "while".
    #[must_use]
    pub fn doing(self) -> &'static str {
        phase_in_words(self).0
    }
}

fn phase_in_words(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Resolve => {
            ("looking up the host name", "check the name server in /etc/resolv.conf, and those of the domain")
        }
        Phase::Connect => ("connecting", "check the address, and firewalls on the path"),
        Phase::Handshake => (
            "setting up TLS",
            "check that the port serves TLS, and that the receiver runs. If other machines reach it, the path from here may lose large packets: check its MTU",
        ),
        Phase::Send => (
            "sending the request",
            "configure the receiver, and a proxy in front of it, to read the whole request. If only large events time \
             out, the path may lose large packets: check its MTU",
        ),
        Phase::Wait => (
            "waiting for the answer",
            "respond first, do the work afterwards, and respond on every path, after an error too. A receiver that \
             serves one connection at a time may be busy with another one. If only large events time out, the path may \
             lose large packets: check its MTU",
        ),
        Phase::Read => ("reading the answer", "complete the response at once and do the work afterwards"),
    }
}

mod status;
#[cfg(test)]
mod tests;
