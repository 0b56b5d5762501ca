//! Classifies TLS errors of a receiver; the messages are in [`TlsFault`]. Pure; called on delivery threads. It only
//! explains: the connection has failed already.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

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
        Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge
            | InvalidMessage::CertificatePayloadTooLarge
            | InvalidMessage::MessageTooLarge,
        ) => TlsFault::ChainTooLarge,
        Error::InvalidMessage(_) => TlsFault::NoTls,
        Error::AlertReceived(_) => TlsFault::HandshakeRefused,
        _ => TlsFault::Other,
    }
}

/// The TLS fault inside an I/O error, if there is one.
#[must_use]
pub fn of_io(error: &std::io::Error) -> Option<TlsFault> {
    error.get_ref()?.downcast_ref::<Error>().map(of)
}

fn certificate(error: &CertificateError) -> TlsFault {
    use CertificateError::{
        BadEncoding, BadSignature, Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext,
        NotValidForNameContext, NotValidYet, NotValidYetContext, Other, UnknownIssuer,
        UnsupportedSignatureAlgorithmContext, UnsupportedSignatureAlgorithmForPublicKeyContext,
    };
    match error {
        Expired => TlsFault::Expired(None),
        ExpiredContext { not_after, .. } => TlsFault::Expired(Some(timestamp(*not_after))),
        NotValidYet => TlsFault::NotValidYet(None),
        NotValidYetContext { not_before, .. } => TlsFault::NotValidYet(Some(timestamp(*not_before))),
        NotValidForNameContext { expected, presented } => wrong_name(expected.to_str().into_owned(), presented),
        UnknownIssuer => TlsFault::UnknownIssuer,
        BadSignature => TlsFault::BadSignature,
        BadEncoding => TlsFault::Damaged,
        InvalidPurpose | InvalidPurposeContext { .. } => TlsFault::WrongPurpose,
        UnsupportedSignatureAlgorithmContext { signature_algorithm_id: id, .. }
        | UnsupportedSignatureAlgorithmForPublicKeyContext { signature_algorithm_id: id, .. } => {
            TlsFault::UnsupportedSignature(signature_name(id))
        }
        Other(cause) => match cause.0.downcast_ref::<TlsFault>() {
            Some(fault) => fault.clone(),
            None => of_library(&cause.to_string()),
        },
        _ => TlsFault::OtherCertificate,
    }
}

/// The certificate library has no public type for these errors.
fn of_library(cause: &str) -> TlsFault {
    match cause {
        "CaUsedAsEndEntity" => TlsFault::SelfSigned,
        "EndEntityUsedAsCa" => TlsFault::NoAuthority,
        "UnsupportedCertVersion" => TlsFault::OldVersion,
        "PathLenConstraintViolated" => TlsFault::PathTooLong,
        "NameConstraintViolation" => TlsFault::NameNotPermitted,
        "UnsupportedCriticalExtension" => TlsFault::UnknownExtension,
        "EmptyEkuExtension" => TlsFault::WrongPurpose,
        cause if cause.starts_with("Maximum") => TlsFault::ChainTooLarge,
        cause if cause.starts_with("Malformed") || cause.starts_with("Invalid") => TlsFault::Damaged,
        _ => TlsFault::OtherCertificate,
    }
}

fn wrong_name(wanted: String, presented: &[String]) -> TlsFault {
    let is_host = |name: &&String| name.starts_with("DnsName(") || name.starts_with("IpAddress(");
    let names: Vec<String> = presented.iter().filter(is_host).map(|name| bare(name).to_owned()).collect();
    if names.is_empty() {
        return TlsFault::NoNames(wanted);
    }
    if wanted.parse::<std::net::IpAddr>().is_ok() && names.contains(&wanted) {
        return TlsFault::AddressAsName(wanted);
    }
    TlsFault::WrongName { wanted, names }
}

/// The name of a signature algorithm by its identifier, which begins with its length.
fn signature_name(id: &[u8]) -> &'static str {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let id = id.get(2..).unwrap_or_default();
    let of = |prefix: &[u8]| id.strip_prefix(prefix).map(|rest| rest.iter().copied().take(2).collect::<Vec<u8>>());
    match (of(RSA).as_deref(), of(ECDSA).as_deref()) {
        (Some([4, ..]), _) => "RSA with MD5",
        (Some([5, ..]), _) => "RSA with SHA-1",
        (Some([10, ..]), _) => "RSA-PSS with an unusual salt length, or a hash other than SHA-256, SHA-384 and SHA-512",
        (Some([14, ..]), _) => "RSA with SHA-224",
        (Some(_), _) => "RSA with a key of another kind",
        (_, Some([1] | [1, _])) => "ECDSA with SHA-1",
        (_, Some([3, 1])) => "ECDSA with SHA-224",
        (_, Some(_)) => "ECDSA on another curve than P-256, P-384 or P-521",
        _ if id.starts_with(&[0x2b, 0x65, 0x71]) => "Ed448",
        _ if id.starts_with(&[0x2a, 0x86, 0x48, 0xce, 0x38])
            || id.starts_with(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03]) =>
        {
            "an algorithm that is obsolete or too new, such as DSA or ML-DSA"
        }
        _ => "an unknown algorithm",
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
