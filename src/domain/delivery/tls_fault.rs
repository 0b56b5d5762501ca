//! Why a TLS connection to an endpoint failed, and what to do about it. Pure; any thread.

use crate::domain::Timestamp;
use crate::domain::escape::is_control;

/// What is wrong with an endpoint's TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.in_words())]
pub enum TlsFault {
    /// The certificate expired, since then if known.
    Expired(Option<Timestamp>),
    /// The certificate is not valid yet, until then if known.
    NotValidYet(Option<Timestamp>),
    /// The certificate is for other hosts.
    WrongName {
        /// The requested host.
        wanted: String,
        /// The names in the certificate.
        names: Vec<String>,
    },
    /// The certificate's issuer is not trusted.
    UnknownIssuer,
    /// The certificate is self-signed or that of an authority.
    SelfSigned,
    /// The certificate has no name of a host; the one that was wanted.
    NoNames(String),
    /// The certificate has this address where names stand.
    AddressAsName(String),
    /// A certificate between has expired: its name, and since when.
    AuthorityExpired(String, Timestamp),
    /// A key of RSA in the chain has so many bits, which are too few.
    ShortKey(usize),
    /// A signature is not that of the key that it is told to be of.
    BadSignature,
    /// A signature is of an algorithm that is not accepted; its name.
    UnsupportedSignature(&'static str),
    /// The certificate is of version 1 or 2.
    OldVersion,
    /// The certificate is not for servers.
    WrongPurpose,
    /// The chain is longer than one of its authorities permits.
    PathTooLong,
    /// The authority may not issue certificates for that name.
    NameNotPermitted,
    /// A certificate between is not that of an authority.
    NoAuthority,
    /// The certificate is an authority's, and not self-signed.
    AuthorityAsServer,
    /// The certificate has a critical extension that is not known.
    UnknownExtension,
    /// The certificate cannot be read.
    Damaged,
    /// The certificates are too large, or too many.
    ChainTooLarge,
    /// Another reason not to accept the certificate.
    OtherCertificate,
    /// The endpoint requires a client certificate.
    ClientCertificateWanted,
    /// The endpoint does not accept the client certificate; the text says why, as far as that is known.
    ClientCertificateRefused(&'static str),
    /// The endpoint knows no host of this name.
    UnknownName,
    /// The peer does not speak TLS.
    NoTls,
    /// No common protocol version or cipher suite.
    NothingInCommon,
    /// The endpoint aborted the handshake.
    HandshakeRefused,
    /// The peer took the connection and said nothing.
    NoAnswer,
    /// The peer ended the connection during the handshake.
    Ended,
    /// Anything else.
    Other,
}

/// Maximum number and length of a certificate's names in a message.
const NAMES: usize = 5;
const NAME_CHARACTERS: usize = 100;

impl TlsFault {
    /// The cause, a semicolon, and what to do about it.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Expired(at) => {
                format!("its certificate has expired{}; the receiver must renew it", day(" on ", *at))
            }
            Self::NotValidYet(from) => format!(
                "its certificate is not valid yet{}; compare the clocks of both machines",
                day(", but from ", *from)
            ),
            Self::WrongName { wanted, names } => format!(
                "its certificate is for another host{} than {}; use a name of the certificate in the URL, or give the \
                 receiver a certificate for this one",
                listed(names),
                plain(wanted)
            ),
            Self::UnknownIssuer => "its certificate is self-signed or from an authority that is not trusted here, or intermediate certificates are missing; let the receiver send its whole chain, or the operator add a private authority with delivery.ca_certificates"
                .to_owned(),
            Self::SelfSigned => {
                "its certificate is self-signed, and marked as that of an authority; give the receiver \
                one that an authority has signed, or a self-signed one with basicConstraints=CA:FALSE that the \
                operator adds to delivery.ca_certificates"
                    .to_owned()
            }
            Self::NoNames(wanted) => format!(
                "its certificate has no host name among its alternative names (subjectAltName), and the common name does \
                 not count; give the receiver a certificate with {} as such a name",
                plain(wanted)
            ),
            Self::AddressAsName(address) => format!(
                "its certificate has {address} as a name (DNS:{address}), where an address must be an IP entry; give the receiver a certificate with the alternative name IP:{address}",
                address = plain(address)
            ),
            Self::AuthorityExpired(name, at) => format!(
                "the certificate of an authority in its chain ({}) has expired{}; let the receiver send the authority's new \
                 chain",
                plain(name),
                day(" on ", Some(*at))
            ),
            Self::ShortKey(bits) => format!(
                "an RSA key of its certificate or of its authority has {bits} bits, and fewer than 2048 are insecure; give the receiver a certificate with a longer key"
            ),
            Self::BadSignature => "a signature of its certificate or of the handshake is wrong, or made with an RSA key of fewer than 2048 bits; give the receiver a certificate that matches its key, from an authority with a longer one"
            .to_owned(),
            Self::UnsupportedSignature(name) => format!(
                "its certificate or one of its chain is signed with {name}, which is not accepted here; give the receiver a \
                 certificate that is signed with ECDSA, Ed25519 or RSA, and SHA-256 or longer"
            ),
            Self::OldVersion => "its certificate or one of its chain is of version 1, from before there were alternative \
                names; give the receiver one of version 3"
                .to_owned(),
            Self::WrongPurpose => "its certificate is not for servers; give the receiver one with the extended key usage serverAuth"
                .to_owned(),
            Self::PathTooLong => "its chain is longer than one of its authorities permits (pathlen); get a certificate \
                from an authority that may issue it"
                .to_owned(),
            Self::NameNotPermitted => "its authority may not issue certificates for this host (name constraints); get one \
                from an authority that may"
                .to_owned(),
            Self::NoAuthority => "a certificate in its chain has signed another one, but is not that of an authority; let the issuer mark it with basicConstraints=CA:TRUE"
                .to_owned(),
            Self::AuthorityAsServer => "its certificate is marked as that of an authority (CA:TRUE), which is not allowed for a server; give the receiver one with basicConstraints=CA:FALSE"
                .to_owned(),
            Self::UnknownExtension => "its certificate has an unknown critical extension; give the receiver one without it"
                .to_owned(),
            Self::Damaged => "its certificate cannot be read, because a part of it is damaged or violates the standard; have it reissued"
                .to_owned(),
            Self::ChainTooLarge => "its certificates are too large or too many, beyond 64 KiB; let the receiver send only its own and the intermediate certificates"
                .to_owned(),
            Self::ClientCertificateRefused(reason) => format!(
                "it does not accept the client certificate{reason}; let the receiver trust the certificate's authority and \
                 name, or the operator declare another one in [[delivery.client_certificate]]"
            ),
            Self::OtherCertificate => "its certificate is not accepted; the receiver needs another one".to_owned(),
            of_handshake => of_handshake.of_handshake().to_owned(),
        }
    }

    /// The same of a fault before there is a certificate.
    fn of_handshake(&self) -> &'static str {
        match self {
            Self::ClientCertificateWanted => {
                "it requires a client certificate, and none was presented; set the subscription's client_certificate to one that is declared for this host, or let the receiver accept requests without one and verify their signature"
            }
            Self::UnknownName => {
                "it does not know this host name; check the URL, and the host names that the receiver serves"
            }
            Self::NoTls => "it does not speak TLS on this port; check the port, which may serve plain http",
            Self::NothingInCommon => "it offers no TLS 1.2 or 1.3 with a secure cipher; update the receiver's TLS",
            Self::HandshakeRefused => {
                "it refused the TLS handshake, in which it was offered TLS 1.3, and TLS 1.2 with \
                ECDHE and AES-GCM or ChaCha20, on X25519, P-256 and P-384; check in the receiver's log whether it supports none of these (for example only CBC or RSA key exchange), or requires a client certificate or another host name"
            }
            Self::NoAnswer => "it accepted the connection but did not answer in TLS; check that the port serves TLS",
            Self::Ended => {
                "it closed the connection during the TLS handshake; check that the port serves TLS, and the reason in the receiver's log"
            }
            _ => "TLS failed; check the receiver's TLS configuration",
        }
    }
}

/// A date after the text `before`.
fn day(before: &str, at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string().chars().take(10).collect::<String>())
        .map_or_else(String::new, |day| before.to_owned() + &day)
}

/// The names in a certificate, escaped for a sentence.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let shown: Vec<_> = names.iter().take(NAMES).map(|name| plain(name)).collect();
    let more = if names.len() > NAMES { " and others" } else { "" };
    format!(" ({}{more})", shown.join(", "))
}

/// Untrusted text without control characters and semicolons.
fn plain(text: &str) -> String {
    let cut = text.chars().take(NAME_CHARACTERS);
    cut.map(|character| if is_control(character) || character == ';' { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_one_cause_and_its_own_advice() {
        let all = [
            TlsFault::Expired(Some(Timestamp::from_ms(1_577_836_800_000))),
            TlsFault::NotValidYet(None),
            TlsFault::WrongName { wanted: "localhost".to_owned(), names: vec!["crm.example".to_owned()] },
            TlsFault::UnknownIssuer,
            TlsFault::SelfSigned,
            TlsFault::NoNames("a; b\u{1b}".to_owned()),
            TlsFault::AddressAsName("192.0.2.1".to_owned()),
            TlsFault::AuthorityExpired("CN=a; b".to_owned(), Timestamp::from_ms(1_577_836_800_000)),
            TlsFault::ShortKey(1024),
            TlsFault::BadSignature,
            TlsFault::UnsupportedSignature("RSA with SHA-1"),
            TlsFault::OldVersion,
            TlsFault::WrongPurpose,
            TlsFault::PathTooLong,
            TlsFault::NameNotPermitted,
            TlsFault::NoAuthority,
            TlsFault::AuthorityAsServer,
            TlsFault::UnknownExtension,
            TlsFault::Damaged,
            TlsFault::ChainTooLarge,
            TlsFault::OtherCertificate,
            TlsFault::ClientCertificateWanted,
            TlsFault::ClientCertificateRefused(", because it has expired"),
            TlsFault::UnknownName,
            TlsFault::NoTls,
            TlsFault::NothingInCommon,
            TlsFault::HandshakeRefused,
            TlsFault::NoAnswer,
            TlsFault::Ended,
            TlsFault::Other,
        ];
        let mut advice = std::collections::BTreeSet::new();
        for fault in &all {
            let words = fault.in_words();
            assert_eq!(words.matches("; ").count(), 1, "{words}");
            advice.insert(words.split_once("; ").unwrap().1.to_owned());
        }
        assert_eq!(advice.len(), all.len());
        assert!(all[0].in_words().contains("has expired on 2020-01-01;"), "{}", all[0].in_words());
        assert!(all[2].in_words().contains("another host (crm.example) than localhost;"), "{}", all[2].in_words());
    }

    #[test]
    fn the_names_of_a_certificate_stay_short_and_harmless() {
        let names = vec!["a\n; b".repeat(100); 1000];
        let words = TlsFault::WrongName { wanted: "localhost".to_owned(), names }.in_words();
        assert!(words.len() < 1000 && !words.contains('\n') && words.contains("and others"), "{words}");
    }
}
