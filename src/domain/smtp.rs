//! Where mail is handed over: `smtp://`, `smtp+starttls://` or `smtps://` with a host and a port. Pure; any thread.

use std::net::IpAddr;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// Not at all: only to this machine or a private network, and without a login.
    Plain,
    /// By TLS after STARTTLS, which the server has to offer.
    StartTls,
    /// By TLS from the first byte.
    Tls,
}

/// A mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailServer {
    /// How the connection is protected.
    pub security: MailSecurity,
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl MailServer {
    /// Reads a URL; none if it is not one of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let security = match scheme {
            "smtp" => MailSecurity::Plain,
            "smtp+starttls" => MailSecurity::StartTls,
            "smtps" => MailSecurity::Tls,
            _ => return None,
        };
        let (host, port) = rest.strip_suffix('/').unwrap_or(rest).rsplit_once(':')?;
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match literal {
            Some(literal) => literal.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
            None => host.to_owned(),
        };
        let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        let fits = literal.is_some() || (!host.is_empty() && host.len() <= 253 && is_name(&host));
        let port = port.parse().ok().filter(|port| *port > 0)?;
        fits.then_some(Self { security, host, port })
    }

    /// Whether mail may go to that address.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            _ if self.security != MailSecurity::Plain => true,
            IpAddr::V4(address) => address.is_loopback() || address.is_private(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
        }
    }
}

/// Whether a text is an address that mail can be sent to: ASCII, one `@`, and a domain with a dot.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let dots = |text: &str| text.starts_with('.') || text.ends_with('.') || text.contains("..");
    (1..=64).contains(&local.len())
        && local.bytes().all(is_local)
        && !dots(local)
        && domain.len() <= 253
        && domain.contains('.')
        && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_is_named_by_scheme_host_and_port() {
        let server = |security, host: &str, port| Some(MailServer { security, host: host.to_owned(), port });
        assert_eq!(MailServer::parse("smtp://127.0.0.1:25"), server(MailSecurity::Plain, "127.0.0.1", 25));
        assert_eq!(
            MailServer::parse("smtp+starttls://mail.example:587/"),
            server(MailSecurity::StartTls, "mail.example", 587)
        );
        assert_eq!(MailServer::parse("smtps://[::1]:465"), server(MailSecurity::Tls, "::1", 465));
        for wrong in [
            "",
            "mail.example:25",
            "smtp://mail.example",
            "smtp://:25",
            "smtp://mail.example:0",
            "smtp://u:p@mail.example:25",
            "http://mail.example:25",
            "smtp://mail example:25",
            "smtps://[mail]:25",
            "smtp://mail.example:25/x",
            "smtp://a\r\n:25",
        ] {
            assert_eq!(MailServer::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_plain_connection_stays_within_private_networks() {
        let plain = MailServer::parse("smtp://mail.example:25").unwrap();
        let tls = MailServer::parse("smtps://mail.example:465").unwrap();
        for (address, is_near) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("::ffff:192.168.1.1", true),
            ("fd00::1", true),
            ("::1", true),
            ("192.0.2.1", false),
            ("169.254.1.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(plain.allows(address.parse().unwrap()), is_near, "{address}");
            assert!(tls.allows(address.parse().unwrap()));
        }
    }

    #[test]
    fn addresses_are_plain_and_have_a_domain() {
        for good in ["ops@example.com", "a.b+c@mail.example-x.co"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "ops",
            "ops@localhost",
            "@example.com",
            "ops@",
            "a b@example.com",
            "a@b@example.com",
            "\"a\"@example.com",
            "ops@example.com\r\nBcc: x@example.com",
            "ops@exämple.com",
            "ops@example..com",
            "ops@-a.com",
            ".a@example.com",
            "Ops <ops@example.com>",
            "ops@[127.0.0.1]",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
