//! Alerts by mail, one a recipient. Blocks until the mail is taken, but never beyond its time limit, however slowly the mail
//! server answers; the notifier gives it a thread of its own. Texts of others are in a mail: control characters are taken out
//! of them before they reach a header or the body.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;

use crate::domain::alert::Alert;
use crate::domain::smtp::{MailSecurity, MailServer};
use crate::notify::smtp_session::{SmtpError, SmtpSession};
use crate::notify::way::{HandOverError, Way};

/// For a mail in all. Servers that keep callers waiting against junk mail do so for half a minute.
const LIMIT: Duration = Duration::from_secs(45);
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
    /// What checks the server's certificate.
    pub tls: Arc<ClientConfig>,
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
    limit: Duration,
}

impl Mail {
    /// To that address.
    #[must_use]
    pub fn new(settings: Arc<MailSettings>, to: String) -> Self {
        let name = format!("mail to {to}");
        Self { settings, to, name, limit: LIMIT }
    }

    fn message(&self, alerts: &[Alert]) -> Result<Message, HandOverError> {
        let wrong =
            |what: &dyn std::fmt::Display| HandOverError::passing(format!("the mail could not be created: {what}"));
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

    /// A conversation with the first address that takes a connection.
    fn connect(&self, end: Instant) -> Result<SmtpSession, HandOverError> {
        let mut last = HandOverError::passing("the mail server has no address");
        for address in self.addresses()? {
            match SmtpSession::open(address, end) {
                Ok(session) => return Ok(session),
                Err(error) => last = self.failed(&error),
            }
        }
        Err(last)
    }

    /// Greets and logs in, over TLS where that is wanted.
    fn begin(&self, session: SmtpSession) -> Result<SmtpSession, SmtpError> {
        let MailSettings { server, credentials, tls, .. } = &*self.settings;
        let name = ClientId::Domain(self.settings.host.clone());
        let is_tls = server.security == MailSecurity::Tls;
        let mut session = if is_tls { session.secure(tls, &server.host)? } else { session };
        session.greet(&name)?;
        if server.security == MailSecurity::StartTls {
            session = session.start_tls(tls, &server.host, &name)?;
        }
        if let Some(credentials) = credentials {
            session.log_in(credentials)?;
        }
        Ok(session)
    }

    /// What the mail server did, without control characters and in short.
    fn failed(&self, error: &SmtpError) -> HandOverError {
        let text = match error {
            SmtpError::Late => format!("did not accept the mail within {} s", self.limit.as_secs()),
            other => other.to_string(),
        };
        let plain = text.chars().map(|character| if character.is_control() { ' ' } else { character });
        HandOverError::passing(format!("the mail server {}", plain.take(ANSWER_CHARS).collect::<String>()))
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
        let session = self.connect(Instant::now() + self.limit)?;
        let mut session = self.begin(session).map_err(|error| self.failed(&error))?;
        let sent = session.send(message.envelope(), &message.formatted());
        session.leave();
        sent.map_err(|error| HandOverError { is_final: error.is_permanent(), ..self.failed(&error) })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::delivery::send::tls::client_config;
    use crate::domain::alert::{AlertEndpoint, AlertKind};
    use crate::domain::{EventId, SubscriptionId, Timestamp};

    fn mail_to(server: &str) -> Mail {
        let settings = MailSettings {
            server: MailServer::parse(server).unwrap(),
            credentials: None,
            from: "server@example.com".to_owned(),
            tls: Arc::new(client_config(Vec::new()).unwrap()),
            host: "clock.example.com".to_owned(),
            time_of_day: None,
        };
        Mail::new(Arc::new(settings), "ops@example.com".to_owned())
    }

    fn alert(endpoint: Option<AlertEndpoint>, message: String) -> Alert {
        let id = EventId::first_at(Timestamp::from_ms(1_772_438_400_000));
        Alert { id, kind: AlertKind::EndpointOff, endpoint, message }
    }

    /// A server that never ends an answer: so many further bytes follow each other after that time, until the caller goes.
    fn endless_server(begin: &'static [u8], further: usize, pause: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let further = vec![b'2'; further];
            let mut sent = stream.write_all(begin);
            while sent.is_ok() {
                thread::sleep(pause);
                sent = stream.write_all(&further);
            }
        });
        url
    }

    fn dripping_server(begin: &'static [u8]) -> String {
        endless_server(begin, 1, Duration::from_millis(10))
    }

    #[test]
    fn an_answer_without_end_is_not_kept_in_memory() {
        let mail = mail_to(&endless_server(b"220 ", 64 * 1024, Duration::ZERO));
        let refused = mail.hand_over(&[alert(None, "long".to_owned())]).unwrap_err();
        assert!(!refused.is_final && refused.text.contains("sends answers that are too long"), "{refused:?}");
    }

    #[test]
    fn a_server_that_drips_bytes_takes_no_longer_than_the_limit_of_a_mail() {
        for begin in
            [&b""[..], b"220 mail.test\r\n250 ok\r\n", b"220 mail.test\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n"]
        {
            let mail = Mail { limit: Duration::from_millis(300), ..mail_to(&dripping_server(begin)) };
            let refused = mail.hand_over(&[alert(None, "slow".to_owned())]).unwrap_err();
            assert!(!refused.is_final && refused.text.contains("did not accept the mail within"), "{refused:?}");
        }
    }

    #[test]
    fn a_goodbye_that_never_ends_does_not_send_a_taken_mail_again() {
        let taken = b"220 mail.test\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 taken\r\n";
        mail_to(&dripping_server(taken)).hand_over(&[alert(None, "once".to_owned())]).unwrap();
    }

    #[test]
    fn nothing_that_others_wrote_makes_a_header_of_a_mail() {
        let mail = mail_to("smtp://127.0.0.1:25");
        for evil in [
            "a\r\nBcc: x@example.com",
            "a\nBcc: x@example.com",
            "a\rBcc: x@example.com",
            "\u{85}Bcc: x",
            "\u{2028}Bcc: ü",
        ] {
            let endpoint =
                AlertEndpoint { account: evil.to_owned(), subscription: SubscriptionId(1), host: evil.to_owned() };
            let alert = alert(Some(endpoint), format!("{evil}\r\n\r\n.\r\n{evil}"));
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
