//! Parses entries that are networks and host names: what is allowed though it is blocked otherwise, and the proxy.
//!
//! Runs at start-up, on the main thread only. It must never resolve a name, or widen an entry: anything but exactly one
//! block or one name is refused, because a mistake here exposes the internal network.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use url::{Host, Url};

use crate::config::value::Raw;

/// An entry of what does not go through the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direct {
    /// A host name in lower case.
    Host(String),
    /// A network, for URLs with an address.
    Network(IpNet),
}

/// A network block without stray host bits.
pub(super) fn network(raw: &Raw) -> Result<IpNet, String> {
    const HINT: &str = r#"write for example "10.20.0.0/16", or "10.20.0.5/32" for one address"#;
    let text = entry_text(raw, HINT)?;
    let not_a_block = || format!("= {text:?} is not a network block; {HINT}");
    // Leading zeros are ambiguous: octal or decimal.
    text.split('/').next().and_then(|address| address.parse::<IpAddr>().ok()).ok_or_else(not_a_block)?;
    let network: IpNet = text.parse().map_err(|_| not_a_block())?;
    let exact = network.trunc();
    if exact != network {
        return Err(format!("= {text:?} has address bits after its prefix; write {exact} for the whole block"));
    }
    // Addresses are compared in their v4 form, so an entry in this form would never match.
    if let IpAddr::V6(address) = network.network()
        && address.to_ipv4_mapped().is_some()
    {
        return Err(format!("= {text:?} is an IPv4 block in IPv6 spelling; write it as IPv4"));
    }
    Ok(network)
}

/// A host name in lower case, as it appears in a parsed URL.
pub(super) fn host(raw: &Raw) -> Result<String, String> {
    const HINT: &str = r#"write for example "crm.example.internal""#;
    let text = entry_text(raw, HINT)?;
    let name = text.to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() {
        return Err(format!("= {text:?} is an address, not a host name; list it in delivery.allow_networks"));
    }
    let labels_fit = name.split('.').all(|label| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    });
    // URL parsers read a name with a number at its end, such as 127.1, as an IPv4 address.
    let numeric_end = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if !labels_fit || numeric_end || name.len() > 253 {
        return Err(format!(
            "= {text:?} is not a plain host name (no scheme, port, path or *, international names \
             as xn--); {HINT}"
        ));
    }
    Ok(name)
}

/// What does not go through the proxy: a network block or a host name.
pub(super) fn direct(raw: &Raw) -> Result<Direct, String> {
    const HINT: &str = r#"write a host such as "crm.example.internal", or a block such as "10.20.0.0/16""#;
    let text = entry_text(raw, HINT)?;
    if text.parse::<IpAddr>().is_ok() {
        return Err(format!("= {text:?} is an address; write it as a block, such as \"10.20.0.5/32\""));
    }
    if text.contains('/') { network(raw).map(Direct::Network) } else { host(raw).map(Direct::Host) }
}

/// The host and port of a proxy; none when the text is empty.
pub(super) fn proxy(raw: &Raw) -> Result<Option<(String, u16)>, String> {
    const HINT: &str = r#"write for example "http://proxy.example:3128""#;
    // The value is not repeated, as a password may be in it.
    let wrong = |what: &str| Err(format!("{what}; {HINT}"));
    let text = entry_text(raw, HINT)?;
    if text.is_empty() {
        return Ok(None);
    }
    let Ok(url) = Url::parse(text) else { return wrong("is not a URL") };
    if url.scheme() != "http" {
        return wrong(
            "is not a URL that begins with http://; the proxy itself is used over http, for https endpoints too",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("has a login; put that into the file of delivery.proxy_credentials_file");
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return wrong("has something after the port");
    }
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => return wrong("has no host"),
    };
    match url.port_or_known_default() {
        Some(port @ 1..) => Ok(Some((host, port))),
        _ => wrong("has no valid port"),
    }
}

fn entry_text<'a>(raw: &'a Raw, hint: &str) -> Result<&'a str, String> {
    match raw {
        // No valid entry is longer, and an error repeats the entry.
        Raw::Text(text) if text.len() <= 300 => Ok(text),
        Raw::Text(_) => Err(format!("is too long; {hint}")),
        _ => Err(format!("is not a string in quotes; {hint}")),
    }
}

/// What an entry allows beyond what may have been intended, as text.
pub(super) fn danger(network: &IpNet) -> Option<&'static str> {
    let first = network.network();
    let loopback = network.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST))
        || network.contains(&IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));
    if first.is_loopback() {
        Some("deliveries can reach services on this machine itself")
    } else if network.prefix_len() == 0 {
        Some(
            "deliveries can reach every private network (loopback, link-local and metadata \
             addresses stay closed)",
        )
    } else if loopback {
        Some(
            "deliveries can reach every private network in it (loopback addresses stay closed \
             unless an entry lies within them)",
        )
    } else if is_link_local(&first) && is_link_local(&network.broadcast()) {
        Some("deliveries can reach link-local addresses, where clouds keep machine credentials")
    } else {
        None
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn a_block_is_exact_or_refused() {
        for good in ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "0.0.0.0/0", "::/0"] {
            assert!(network(&text(good)).is_ok(), "{good}");
        }
        for bad in
            ["10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "::ffff:10.0.0.0/104", "", "10/8", "010.0.0.0/8", "intranet"]
        {
            assert!(network(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_is_a_plain_name_in_lower_case() {
        assert_eq!(host(&text("CRM.Example.internal")), Ok("crm.example.internal".to_owned()));
        for bad in [
            "",
            "https://crm.example",
            "crm.example:8443",
            "*.example",
            "crm..example",
            "crm.example.",
            "127.1",
            "10.0.0.1",
            "[::1]",
            "büro.example",
            "a b",
        ] {
            assert!(host(&text(bad)).is_err(), "{bad}");
        }
        assert!(host(&text(&"a.".repeat(200))).is_err());
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_its_password_is_not_repeated() {
        assert_eq!(proxy(&text("")), Ok(None));
        assert_eq!(proxy(&text("http://Proxy.example:3128/")), Ok(Some(("proxy.example".to_owned(), 3128))));
        assert_eq!(proxy(&text("http://proxy.example")), Ok(Some(("proxy.example".to_owned(), 80))));
        assert_eq!(proxy(&text("http://[::1]:3128")), Ok(Some(("::1".to_owned(), 3128))));
        for bad in [
            "proxy.example:3128",
            "proxy.example",
            "https://proxy.example:3128",
            "socks5://proxy.example:1080",
            "http://user:s3cret@proxy.example:3128",
            "http://proxy.example:0",
            "http://proxy.example:3128/s3cret",
            "http://",
        ] {
            let refused = proxy(&text(bad)).unwrap_err();
            assert!(refused.contains("http://proxy.example:3128") && !refused.contains("s3cret"), "{bad}: {refused}");
        }
    }

    #[test]
    fn what_goes_directly_is_a_block_or_a_host() {
        assert_eq!(direct(&text("CRM.internal")), Ok(Direct::Host("crm.internal".to_owned())));
        assert_eq!(direct(&text("10.0.0.0/8")), Ok(Direct::Network("10.0.0.0/8".parse().unwrap())));
        for bad in ["10.0.0.1", "*.internal", ".internal", "10.0.0.1/8", ""] {
            assert!(direct(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn dangerous_blocks_are_told_apart() {
        for bad in [
            "127.0.0.0/8",
            "127.0.0.1/32",
            "::1/128",
            "0.0.0.0/0",
            "::/0",
            "64.0.0.0/2",
            "169.254.169.254/32",
            "fe80::/10",
        ] {
            assert!(danger(&bad.parse().unwrap()).is_some(), "{bad}");
        }
        for fine in ["10.0.0.0/8", "192.168.1.0/24", "fd00::/8", "169.254.0.0/15", "fe80::/9"] {
            assert!(danger(&fine.parse().unwrap()).is_none(), "{fine}");
        }
    }
}
