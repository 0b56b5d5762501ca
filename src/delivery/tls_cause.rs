//! Says in words why a receiver's TLS was not good enough. Pure; called on delivery threads. It must never excuse
//! anything: by the time it is asked, the connection is gone.

use rustls::{AlertDescription, CertificateError, Error, OtherError};

/// The cause as the operator of the endpoint can act on it, without a stop at the end.
#[must_use]
pub fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::PeerIncompatible(_)
        | Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity) => {
            format!("it offers no TLS 1.2 or 1.3 with a cipher that is still safe ({error})")
        }
        Error::InvalidMessage(_) => format!("it does not speak TLS, or not properly ({error})"),
        _ => error.to_string(),
    }
}

/// The cause inside an I/O error, if it is TLS's.
#[must_use]
pub fn of_io(error: &std::io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<Error>().map(in_words)
}

fn certificate(error: &CertificateError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext, Other, UnknownIssuer,
    };
    match error {
        Expired | ExpiredContext { .. } => "its certificate has expired".to_owned(),
        NotValidYet | NotValidYetContext { .. } => {
            "its certificate is not valid yet; compare the clocks of both machines".to_owned()
        }
        NotValidForName | NotValidForNameContext { .. } => format!("its certificate is for another host ({error})"),
        UnknownIssuer | BadSignature => {
            "its certificate is self-signed or from an authority that is not trusted here; the operator \
            can add a private authority with delivery.ca_certificates"
                .to_owned()
        }
        Other(OtherError(cause)) => format!("its certificate is not accepted: {cause}"),
        _ => format!("its certificate is not accepted: {error}"),
    }
}
