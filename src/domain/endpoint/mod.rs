//! Validates webhook URLs: one parser reads a URL once, and its canonical text is what is stored, shown and requested.
//!
//! Pure; any thread. It must never accept a text that another URL parser could read as a different host, and never let
//! a stored URL skip the address rule when sending.

pub mod address;
pub(super) mod special_ranges;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use url::{Host, ParseError, Url};

use crate::domain::endpoint::address::{AddressRule, BlockedAddress};
use crate::domain::escape::{REPEATED_CHARS, is_control, shortened};

/// The most bytes a URL may have, as given and in canonical form.
pub const MAX_URL_LENGTH: usize = 2048;

/// The most bytes a host name may have on the wire.
const MAX_NAME_LENGTH: usize = 253;

/// The most bytes between two dots of a host name.
const MAX_LABEL_LENGTH: usize = 63;

/// What the operator allows in a new URL.
#[derive(Clone, Debug, Default)]
pub struct EndpointPolicy {
    /// Whether plain `http` may be used.
    pub allow_http: bool,
    /// Which addresses may be connected to.
    pub addresses: AddressRule,
}

/// A delivery URL in canonical form, with the parts that a sender needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: Arc<str>,
    origin: String,
    host: String,
    port: u16,
    https: bool,
}

/// Why a URL is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Longer than [`MAX_URL_LENGTH`].
    #[error("the URL has {length} bytes once it is encoded, more than the {MAX_URL_LENGTH} allowed")]
    TooLong {
        /// Bytes in the longer of the given and the canonical text.
        length: usize,
    },
    /// Space before or after, as left by a careless copy.
    #[error("the URL begins or ends with a space; remove it")]
    SurroundingSpace,
    /// A character that some URL parsers drop or replace.
    #[error("the URL contains the character {} at byte {position}, which is not allowed there", .character.escape_default())]
    ForbiddenCharacter {
        /// The character.
        character: char,
        /// Bytes before it.
        position: usize,
    },
    /// Not a URL at all.
    #[error("the URL cannot be parsed: {reason}")]
    Unreadable {
        /// The parser's error.
        reason: ParseError,
    },
    /// No scheme.
    #[error("the URL must begin with https:// and a host, as in https://crm.example.com/hooks")]
    NoScheme,
    /// Neither `https` nor `http`.
    #[error("the URL must begin with https://, not with {}:", shortened(scheme, REPEATED_CHARS))]
    Scheme {
        /// The text before the first colon.
        scheme: String,
    },
    /// Fewer or more than two slashes before the host.
    #[error("the URL must have exactly two slashes between the scheme and the host")]
    Slashes,
    /// Plain `http`, where the operator does not allow it.
    #[error("the URL must begin with https://; the operator can allow plain http with delivery.allow_http")]
    PlainHttp,
    /// Something before an `@` in front of the host.
    #[error("the URL must not have a user name or password; remove the part before the @")]
    UserInfo,
    /// A `#` and what follows it, which a request never carries.
    #[error("the URL must not have a fragment; remove the # and everything after it")]
    Fragment,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
    /// A host that is not a valid DNS name.
    #[error(
        "the host {} is not a valid host name; use letters, digits, hyphens and dots, with no empty label and no number as the last label",
        shortened(host, REPEATED_CHARS)
    )]
    HostName {
        /// The host in canonical form.
        host: String,
    },
    /// Port 0, which nothing can listen on.
    #[error("the URL has port 0, which cannot be connected to")]
    PortZero,
    /// The host is an address or a local name that is not allowed.
    #[error(transparent)]
    Address(#[from] BlockedAddress),
}

impl Endpoint {
    /// Parses a new URL and checks it against the policy.
    ///
    /// A host name passes unless it names this machine; its addresses are checked when they are resolved.
    ///
    /// # Errors The first rule that the URL breaks.
    pub fn parse(text: &str, policy: &EndpointPolicy) -> Result<Self, EndpointError> {
        let endpoint = Self::read(text)?;
        endpoint.check(policy)?;
        Ok(endpoint)
    }

    /// Parses a new URL that is checked against the policy later.
    ///
    /// # Errors The first rule that the URL breaks.
    pub fn read(text: &str) -> Result<Self, EndpointError> {
        read(text)
    }

    /// Checks a URL against the policy.
    ///
    /// # Errors The first rule that the URL breaks.
    pub fn check(&self, policy: &EndpointPolicy) -> Result<(), EndpointError> {
        if !self.https && !policy.allow_http {
            return Err(EndpointError::PlainHttp);
        }
        Ok(check_host(&self.host, &policy.addresses)?)
    }

    /// That of a subscription to which nothing is sent.
    #[must_use]
    pub fn none() -> Self {
        Self { text: "".into(), origin: String::new(), host: String::new(), port: 0, https: true }
    }

    /// Parses a text that [`Endpoint::as_str`] returned.
    ///
    /// The policy may have changed since, so it is not checked here; `None` for any text that is not canonical.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        let endpoint = read(text).ok()?;
        (*endpoint.text == *text).then_some(endpoint)
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The canonical text, shared.
    #[must_use]
    pub fn to_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The host to resolve or dial: a name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is this machine itself, by its address or by its name.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host == "localhost" || self.host.ends_with(".localhost"),
        }
    }

    /// The port to connect to, given or by default.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Scheme, host and, unless it is the default one, port.
    #[must_use]
    pub fn origin(&self) -> String {
        self.origin.clone()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parses and validates a URL, without the operator's policy.
fn read(text: &str) -> Result<Endpoint, EndpointError> {
    check_length(text)?;
    check_characters(text)?;
    let url = Url::parse(text).map_err(|reason| match reason {
        ParseError::EmptyHost => EndpointError::NoHost,
        ParseError::RelativeUrlWithoutBase => EndpointError::NoScheme,
        reason => EndpointError::Unreadable { reason },
    })?;
    let https = match url.scheme() {
        "https" => true,
        "http" => false,
        other => {
            let scheme = other.to_owned();
            return Err(EndpointError::Scheme { scheme });
        }
    };
    check_authority(text)?;
    if url.fragment().is_some() {
        return Err(EndpointError::Fragment);
    }
    if url.port() == Some(0) {
        return Err(EndpointError::PortZero);
    }
    let name = match url.host().ok_or(EndpointError::NoHost)? {
        Host::Domain(name) if is_host_name(name) => name.to_owned(),
        Host::Domain(name) => {
            let host = name.to_owned();
            return Err(EndpointError::HostName { host });
        }
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let endpoint = Endpoint {
        origin: url.origin().ascii_serialization(),
        host: name,
        port: url.port().unwrap_or(if https { 443 } else { 80 }),
        https,
        text: String::from(url).into(),
    };
    check_length(&endpoint.text)?;
    Ok(endpoint)
}

fn check_length(text: &str) -> Result<(), EndpointError> {
    let length = text.len();
    if length > MAX_URL_LENGTH {
        return Err(EndpointError::TooLong { length });
    }
    Ok(())
}

/// The parser silently drops or folds some of these, so that the registered URL would differ from the given one. Others
/// cannot be seen and come along when a URL is copied: in a host they mean nothing, but behind it they lead to another path.
fn check_characters(text: &str) -> Result<(), EndpointError> {
    let host = text.find("://").map_or(0, |colon| colon + 3);
    let path = text.get(host..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(text.len(), |slash| host + slash);
    let is_forbidden = |(position, character): &(usize, char)| {
        character.is_control() || *character == '\\' || (*position > path && is_control(*character))
    };
    let forbidden = text.char_indices().find(is_forbidden);
    if let Some((position, character)) = forbidden {
        return Err(EndpointError::ForbiddenCharacter { character, position });
    }
    if text.trim() != text {
        return Err(EndpointError::SurroundingSpace);
    }
    Ok(())
}

/// The parser accepts any number of slashes and drops an empty user name, so the text itself has to be checked.
fn check_authority(text: &str) -> Result<(), EndpointError> {
    let after_scheme = text.split_once(':').map_or("", |(_, rest)| rest);
    let authority =
        after_scheme.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if authority.is_empty() {
        return Err(EndpointError::Slashes);
    }
    if authority.contains('@') {
        return Err(EndpointError::UserInfo);
    }
    Ok(())
}

/// Whether resolvers and TLS libraries treat the text as a name and nothing else.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or(name);
    text.len() <= MAX_NAME_LENGTH && name.split('.').all(is_label) && !is_number(last)
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_LENGTH).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A last label that the C library would read as part of an address.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x");
    hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || label.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks what is known without a look-up: literal addresses and the names of this machine.
fn check_host(host: &str, rule: &AddressRule) -> Result<(), BlockedAddress> {
    match host.parse::<IpAddr>() {
        Ok(address) => rule.check(host, &[address]),
        Err(_) if is_localhost(host) => rule
            .check(host, &[IpAddr::V4(Ipv4Addr::LOCALHOST)])
            .or_else(|refusal| rule.check(host, &[IpAddr::V6(Ipv6Addr::LOCALHOST)]).map_err(|_| refusal)),
        Err(_) => Ok(()),
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit('.').next() == Some("localhost")
}

#[cfg(test)]
mod tests;
