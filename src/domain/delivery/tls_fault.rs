//! Why a TLS connection to an endpoint failed, and what to do about it. Pure; any thread.

use crate::domain::Timestamp;
use crate::domain::escape::is_control;

/// What is wrong with an endpoint's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Another reason not to accept the certificate.
    Certificate(String),
    /// The endpoint requires a client certificate.
    ClientCertificateWanted,
    /// The endpoint knows no host of this name.
    UnknownName,
    /// The peer does not speak TLS.
    NoTls,
    /// No common protocol version or cipher suite.
    NothingInCommon,
    /// The endpoint aborted the handshake.
    HandshakeRefused,
    /// Anything else.
    Other(String),
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
                format!("its certificate has expired{}; the receiver has to renew it", day(" on ", *at))
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
            Self::UnknownIssuer => "its certificate is self-signed or from an authority that is not trusted here, or \
                the certificates between are missing; let the receiver send its whole chain, or the operator add a \
                private authority with delivery.ca_certificates"
                .to_owned(),
            Self::SelfSigned => {
                "its certificate is self-signed, and marked as that of an authority; give the receiver \
                one that an authority has signed, or a self-signed one with basicConstraints=CA:FALSE that the \
                operator adds to delivery.ca_certificates"
                    .to_owned()
            }
            Self::Certificate(cause) => {
                format!("its certificate is not accepted ({}); the receiver needs another one", plain(cause))
            }
            Self::ClientCertificateWanted => "it wants a client certificate, and deliveries have none; let the \
                receiver take requests without one and verify their signature"
                .to_owned(),
            Self::UnknownName => "it knows no host of this name; check the URL, and the host names that the receiver \
                serves"
                .to_owned(),
            Self::NoTls => "it does not speak TLS on this port; check the port, plain http may listen there".to_owned(),
            Self::NothingInCommon => {
                "it offers no TLS 1.2 or 1.3 with a cipher that is still safe; update the receiver's TLS".to_owned()
            }
            Self::HandshakeRefused => "it refused the TLS handshake; see in the receiver's log whether it wants a \
                client certificate, another host name or another cipher"
                .to_owned(),
            Self::Other(cause) => format!("TLS failed ({}); look at the receiver's TLS", plain(cause)),
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
            TlsFault::Certificate("a; b\u{1b}".to_owned()),
            TlsFault::ClientCertificateWanted,
            TlsFault::UnknownName,
            TlsFault::NoTls,
            TlsFault::NothingInCommon,
            TlsFault::HandshakeRefused,
            TlsFault::Other(String::new()),
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
