//! Why a TLS connection to an endpoint is not trusted or cannot be made, and what to do about it. Pure; any thread.

use super::Timestamp;
use super::visible::acts;

/// What is wrong with an endpoint's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate's time is over, since then where that is known.
    Expired(Option<Timestamp>),
    /// The certificate's time has not begun, until then where that is known.
    NotValidYet(Option<Timestamp>),
    /// The certificate is for other hosts alone.
    WrongName {
        /// The host that is called.
        wanted: String,
        /// Whom it is for, as far as it says so.
        names: Vec<String>,
    },
    /// No trusted authority vouches for the certificate.
    UnknownIssuer,
    /// The certificate is that of an authority, so nobody but itself vouches for it.
    SelfSigned,
    /// Another reason not to accept the certificate.
    Certificate(String),
    /// The endpoint wants a certificate from us.
    ClientCertificateWanted,
    /// The endpoint knows no host of this name.
    UnknownName,
    /// Whatever listens there does not speak TLS.
    NoTls,
    /// Nothing that both sides hold to be safe.
    NothingInCommon,
    /// The endpoint broke the handshake off.
    HandshakeRefused,
    /// Anything else.
    Other(String),
}

/// At most so many of a certificate's names are told, and so much of each.
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

/// A day in words, after `before`.
fn day(before: &str, at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string().chars().take(10).collect::<String>())
        .map_or_else(String::new, |day| before.to_owned() + &day)
}

/// The names that a stranger's certificate has, fit for a sentence.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let shown: Vec<_> = names.iter().take(NAMES).map(|name| plain(name)).collect();
    let more = if names.len() > NAMES { " and others" } else { "" };
    format!(" ({}{more})", shown.join(", "))
}

/// Text of others without what would act, or end the cause.
fn plain(text: &str) -> String {
    let cut = text.chars().take(NAME_CHARACTERS);
    cut.map(|character| if acts(character) || character == ';' { '?' } else { character }).collect()
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
