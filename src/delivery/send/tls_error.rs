//! Classifies TLS errors of a receiver; the messages are in [`TlsFault`]. Pure; called on delivery threads. It only
//! explains: the connection has failed already.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use crate::domain::Timestamp;
use crate::domain::delivery::tls_fault::TlsFault;

/// Classifies an error.
#[must_use]
pub fn of(error: &Error) -> TlsFault {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::PeerIncompatible(_)
        | Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity) => {
            TlsFault::NothingInCommon
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => TlsFault::ClientCertificateWanted,
        Error::AlertReceived(AlertDescription::UnrecognisedName) => TlsFault::UnknownName,
        Error::AlertReceived(AlertDescription::HandshakeFailure) => TlsFault::HandshakeRefused,
        Error::InvalidMessage(_) => TlsFault::NoTls,
        _ => TlsFault::Other(error.to_string()),
    }
}

/// The TLS fault inside an I/O error, if there is one.
#[must_use]
pub fn of_io(error: &std::io::Error) -> Option<TlsFault> {
    error.get_ref()?.downcast_ref::<Error>().map(of)
}

fn certificate(error: &CertificateError) -> TlsFault {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForNameContext, NotValidYet, NotValidYetContext, Other,
        UnknownIssuer,
    };
    match error {
        Expired => TlsFault::Expired(None),
        ExpiredContext { not_after, .. } => TlsFault::Expired(Some(timestamp(*not_after))),
        NotValidYet => TlsFault::NotValidYet(None),
        NotValidYetContext { not_before, .. } => TlsFault::NotValidYet(Some(timestamp(*not_before))),
        NotValidForNameContext { expected, presented } => TlsFault::WrongName {
            wanted: expected.to_str().into_owned(),
            names: presented.iter().map(|name| bare(name).to_owned()).collect(),
        },
        UnknownIssuer | BadSignature => TlsFault::UnknownIssuer,
        // The certificate library has no public type for this error.
        Other(cause) if cause.to_string() == "CaUsedAsEndEntity" => TlsFault::SelfSigned,
        _ => TlsFault::Certificate(error.to_string()),
    }
}

fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_ms(time.as_secs().saturating_mul(1000))
}

/// The bare name, out of `DnsName("crm.example")`.
fn bare(presented: &str) -> &str {
    let inside = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(presented);
    inside.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_without_its_kind() {
        assert_eq!(bare("DnsName(\"crm.example\")"), "crm.example");
        assert_eq!(bare("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(bare("crm.example"), "crm.example");
    }
}
