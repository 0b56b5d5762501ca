//! Alerts by mail, one a recipient. Blocks for some time limits in a row; the notifier gives it a thread of its own. Texts of
//! others are in a mail: control characters are taken out of them before they reach a header or the body.

use std::error::Error as _;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, SmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::CertificateDer;

use crate::domain::alert::Alert;
use crate::domain::smtp::{MailSecurity, MailServer};
use crate::notify::way::{HandOverError, Way};

/// For connecting, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a server's answer is kept.
const ANSWER_CHARS: usize = 300;

/// Where and how mail is handed over.
pub struct MailSettings {
    /// To which server.
    pub server: MailServer,
    /// User and password there.
    pub credentials: Option<Credentials>,
    /// The sender.
    pub from: String,
    /// Who vouches for the server's certificate.
    pub roots: Vec<CertificateDer<'static>>,
    /// The name of this machine.
    pub host: String,
    /// When mail goes out, if not at once.
    pub time_of_day: Option<(i8, i8)>,
}

/// Mail to one recipient.
pub struct Mail {
    settings: Arc<MailSettings>,
    to: String,
    name: String,
}

impl Mail {
    /// To that address.
    #[must_use]
    pub fn new(settings: Arc<MailSettings>, to: String) -> Self {
        let name = format!("mail to {to}");
        Self { settings, to, name }
    }

    fn message(&self, alerts: &[Alert]) -> Result<Message, HandOverError> {
        let wrong =
            |what: &dyn std::fmt::Display| HandOverError::passing(format!("the mail could not be made: {what}"));
        let Some(first) = alerts.first() else { return Err(wrong(&"there is no alert")) };
        let host = &self.settings.host;
        let subject = match alerts {
            [one] => format!("[tempclock-webhooks] {}", one.title()),
            several => format!("[tempclock-webhooks] {} alerts", several.len()),
        };
        let mut text = String::new();
        for alert in alerts {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", alert.text());
        }
        let _ = writeln!(text, "-- \ntempclock-webhooks {} on {host}", env!("CARGO_PKG_VERSION"));
        let automatic = HeaderName::new_from_ascii("Auto-Submitted".to_owned()).map_err(|error| wrong(&error))?;
        Message::builder()
            .from(self.settings.from.parse().map_err(|error| wrong(&error))?)
            .to(self.to.parse().map_err(|error| wrong(&error))?)
            .subject(subject)
            .date_now()
            // The same when it is sent again.
            .message_id(Some(format!("<{}.{}@{host}>", first.id, alerts.len())))
            .header(ContentType::TEXT_PLAIN)
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .body(text)
            .map_err(|error| wrong(&error))
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, HandOverError> {
        let MailServer { host, port, .. } = &self.settings.server;
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, *port)],
            Err(_) => (host.as_str(), *port)
                .to_socket_addrs()
                .map_err(|error| HandOverError::passing(format!("the mail server {host} has no address: {error}")))?
                .collect(),
        };
        if let Some(refused) = found.iter().find(|address| !self.settings.server.allows(address.ip())) {
            return Err(HandOverError::passing(format!(
                "alerts.smtp is not encrypted and {host} is {}, outside of private networks; use smtp+starttls:// or smtps://",
                refused.ip()
            )));
        }
        Ok(found)
    }

    fn tls(&self) -> Result<TlsParameters, HandOverError> {
        let mut builder =
            TlsParameters::builder(self.settings.server.host.clone()).certificate_store(CertificateStore::None);
        for root in &self.settings.roots {
            if let Ok(root) = Certificate::from_der(root.to_vec()) {
                builder = builder.add_root_certificate(root);
            }
        }
        builder.build_rustls().map_err(|error| HandOverError::passing(in_words(&error)))
    }

    fn connect(&self, tls: Option<&TlsParameters>, hello: &ClientId) -> Result<SmtpConnection, HandOverError> {
        let immediate = tls.filter(|_| self.settings.server.security == MailSecurity::Tls);
        let mut last = HandOverError::passing("the mail server has no address");
        for address in self.addresses()? {
            match SmtpConnection::connect(address, Some(TIMEOUT), hello, immediate, None) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = HandOverError::passing(in_words(&error)),
            }
        }
        Err(last)
    }
}

impl Way for Mail {
    fn name(&self) -> &str {
        &self.name
    }

    fn time_of_day(&self) -> Option<(i8, i8)> {
        self.settings.time_of_day
    }

    fn hand_over(&self, alerts: &[Alert]) -> Result<(), HandOverError> {
        let message = self.message(alerts)?;
        let hello = ClientId::Domain(self.settings.host.clone());
        let tls = match self.settings.server.security {
            MailSecurity::Plain => None,
            MailSecurity::StartTls | MailSecurity::Tls => Some(self.tls()?),
        };
        let mut connection = self.connect(tls.as_ref(), &hello)?;
        let passing = |error: lettre::transport::smtp::Error| HandOverError::passing(in_words(&error));
        if let (MailSecurity::StartTls, Some(tls)) = (self.settings.server.security, &tls) {
            connection.starttls(tls, &hello).map_err(passing)?;
        }
        if let Some(credentials) = &self.settings.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).map_err(passing)?;
        }
        connection
            .send(message.envelope(), &message.formatted())
            .map_err(|error| HandOverError { text: in_words(&error), is_final: error.is_permanent() })?;
        // The mail is taken; how the server says goodbye does not matter.
        drop(connection.quit());
        Ok(())
    }
}

/// What happened, with its causes.
fn in_words(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    let mut is_late = false;
    while let Some(cause) = source {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        is_late |= matches!(kind, Some(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    if is_late {
        return format!("the mail server did not answer within {} s", TIMEOUT.as_secs());
    }
    let plain = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    format!("the mail server: {}", plain.take(ANSWER_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{AlertEndpoint, AlertKind};
    use crate::domain::{EventId, SubscriptionId, Timestamp};

    #[test]
    fn nothing_that_others_wrote_makes_a_header_of_a_mail() {
        let settings = MailSettings {
            server: MailServer::parse("smtp://127.0.0.1:25").unwrap(),
            credentials: None,
            from: "server@example.com".to_owned(),
            roots: Vec::new(),
            host: "clock.example.com".to_owned(),
            time_of_day: None,
        };
        let mail = Mail::new(Arc::new(settings), "ops@example.com".to_owned());
        for evil in [
            "a\r\nBcc: x@example.com",
            "a\nBcc: x@example.com",
            "a\rBcc: x@example.com",
            "\u{85}Bcc: x",
            "\u{2028}Bcc: ü",
        ] {
            let endpoint =
                AlertEndpoint { account: evil.to_owned(), subscription: SubscriptionId(1), host: evil.to_owned() };
            let id = EventId::first_at(Timestamp::from_ms(1_772_438_400_000));
            let message = format!("{evil}\r\n\r\n.\r\n{evil}");
            let alert = Alert { id, kind: AlertKind::EndpointOff, endpoint: Some(endpoint), message };
            let sent = mail.message(&[alert]).unwrap().formatted();
            let sent = String::from_utf8(sent).unwrap();
            let (head, body) = sent.split_once("\r\n\r\n").unwrap();
            assert!(!head.to_lowercase().lines().any(|line| line.starts_with("bcc")), "{head}");
            assert!(head.lines().all(|line| line.len() <= 998) && head.is_ascii(), "{head}");
            assert!(!body.lines().any(|line| line == "."), "{body}");
            assert!(head.contains("Message-ID: <evt_") && head.contains("Auto-Submitted: auto-generated"), "{head}");
        }
    }
}
