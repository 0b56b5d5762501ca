//! Classifies errors of an attempt. Pure; called on delivery threads. Messages of the system and of libraries are
//! replaced by our own here.

use std::io::{self, ErrorKind};

use crate::delivery::send::address::guard::GuardError;
use crate::delivery::send::address::look_up::{ADDRESSES_MAX, LookUpError, NO_DESCRIPTORS, is_lack_of_descriptors};
use crate::delivery::send::answer::error::AnswerError;
use crate::delivery::send::connection::ConnectionError;
use crate::delivery::send::proxy::error::ProxyError;
use crate::delivery::send::tcp::was_ended;
use crate::delivery::send::tls::error as tls_error;
use crate::domain::delivery::outcome::{BodyError, NETWORK_DOWN, NO_ROUTE, Outcome, Phase, REFUSED};
use crate::domain::delivery::tls_fault::TlsFault;

/// The outcome of an attempt without a response. `phase` is where it failed.
#[must_use]
pub fn outcome(error: &ureq::Error, phase: Phase) -> Outcome {
    if let Some(error) = ConnectionError::of(error) {
        return match error {
            ConnectionError::Unused => Outcome::ConnectionLost("the other side closed it".to_owned()),
            ConnectionError::Unanswered(cause) => match of_io(cause, phase) {
                Outcome::ConnectionLost(text) => Outcome::KeptConnectionClosed(text),
                outcome => outcome,
            },
            ConnectionError::SpokeFirst => Outcome::BadResponse(error.to_string()),
            ConnectionError::NoneLeft => Outcome::Internal(error.to_string()),
        };
    }
    if let Some(error) = ProxyError::of(error) {
        return match error {
            ProxyError::Own(text) => Outcome::ProxyFailed(text.clone()),
            ProxyError::NotReached(text) => Outcome::ConnectFailed(text.clone()),
        };
    }
    match error {
        ureq::Error::Other(inner) if let Some(error) = inner.downcast_ref::<AnswerError>() => match error {
            AnswerError::TooLong => Outcome::HeadersTooLong,
            AnswerError::Invalid(text) => Outcome::BadResponse(text.to_string()),
            AnswerError::Head(status, fault) => Outcome::BadHead(*status, fault.clone()),
        },
        ureq::Error::Other(inner) => match inner.downcast_ref::<GuardError>() {
            Some(GuardError::NotAllowed(text)) => Outcome::AddressNotAllowed(text.clone()),
            Some(GuardError::LookUp(host, LookUpError::NotFound)) => Outcome::NameNotFound(host.clone()),
            Some(GuardError::LookUp(host, LookUpError::NameServer)) => Outcome::NameServerFailed(host.clone()),
            Some(GuardError::LookUp(host, LookUpError::TooManyAddresses)) => Outcome::AddressNotAllowed(format!(
                "the host name {host} has more than {ADDRESSES_MAX} addresses; ask its owner to give it fewer, or set the subscription's URL to another name"
            )),
            Some(GuardError::LookUp(_, LookUpError::Lacking(text))) => Outcome::Internal((*text).to_owned()),
            Some(GuardError::Busy) => Outcome::LookupsBusy,
            Some(GuardError::TimedOut) => Outcome::TimedOut(Phase::Resolve),
            None => match inner.downcast_ref::<TlsFault>() {
                Some(fault) => Outcome::TlsFailed(fault.in_words()),
                None => Outcome::Internal(inner.to_string()),
            },
        },
        ureq::Error::Timeout(_) => Outcome::TimedOut(phase),
        ureq::Error::HostNotFound => Outcome::NameNotFound(String::new()),
        ureq::Error::Rustls(error) => Outcome::TlsFailed(tls_error::of(error).in_words()),
        ureq::Error::Tls(text) => Outcome::TlsFailed((*text).to_owned()),
        ureq::Error::ConnectionFailed => Outcome::ConnectFailed("no address could be reached".to_owned()),
        ureq::Error::Io(error) => of_io(error, phase),
        ureq::Error::LargeResponseHeader(..) => Outcome::HeadersTooLong,
        _ => Outcome::Internal(error.to_string()),
    }
}

/// Did the other side end the connection?
pub(super) fn is_end(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::Io(error) if was_ended(error.kind()))
}

/// Why reading a response's body failed.
#[must_use]
pub fn cut(error: &ureq::Error) -> BodyError {
    match outcome(error, Phase::Read) {
        Outcome::TimedOut(_) => BodyError::TimedOut,
        Outcome::BadResponse(_) | Outcome::HeadersTooLong => BodyError::BadResponse,
        _ => BodyError::ConnectionLost,
    }
}

fn of_io(error: &io::Error, phase: Phase) -> Outcome {
    if let Some(fault) = tls_error::of_io(error) {
        return Outcome::TlsFailed(fault.in_words());
    }
    if is_lack_of_descriptors(error) {
        return Outcome::Internal(NO_DESCRIPTORS.to_owned());
    }
    let no_connection = |text: &str| Outcome::ConnectFailed(text.to_owned());
    let during = if phase == Phase::Handshake { " while setting up TLS" } else { "" };
    match error.kind() {
        ErrorKind::TimedOut => Outcome::TimedOut(phase),
        ErrorKind::ConnectionRefused => no_connection(REFUSED),
        ErrorKind::HostUnreachable => no_connection("the host cannot be reached"),
        ErrorKind::NetworkUnreachable => no_connection(NO_ROUTE),
        ErrorKind::NetworkDown => no_connection(NETWORK_DOWN),
        ErrorKind::AddrNotAvailable => no_connection("this machine has no free address or port to connect from"),
        ErrorKind::PermissionDenied => no_connection("this machine does not permit it"),
        ErrorKind::ConnectionReset => Outcome::ConnectionLost(format!("the other side reset it{during}")),
        kind if was_ended(kind) => Outcome::ConnectionLost(format!("the other side closed it{during}")),
        _ if phase == Phase::Connect => Outcome::ConnectFailed(without_number(error)),
        _ => Outcome::ConnectionLost(without_number(error)),
    }
}

/// The system's message for an error, without the error number.
fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn of_number(number: i32) -> Outcome {
        outcome(&ureq::Error::Io(io::Error::from_raw_os_error(number)), Phase::Connect)
    }

    #[test]
    fn no_number_of_the_system_reaches_the_words() {
        for number in 1..134 {
            let outcome = of_number(number);
            assert!(!format!("{outcome:?}").contains("os error"), "{outcome:?}");
            assert!(!matches!(outcome, Outcome::NameNotFound(_) | Outcome::TlsFailed(_)), "{outcome:?}");
        }
    }

    #[test]
    fn a_lack_of_our_own_is_not_the_endpoints() {
        for errno in [Errno::MFILE, Errno::NFILE] {
            assert!(matches!(of_number(errno.raw_os_error()), Outcome::Internal(_)));
        }
    }
}
