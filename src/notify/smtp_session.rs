//! One conversation with a mail server, which ends at a given time and after so many bytes however slowly or long the server
//! answers: lettre's own connection has no such limits. Commands and answers are lettre's. Blocks; runs on the thread of one
//! hand-over.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::commands::{Auth, Data, Ehlo, Mail, Quit, Rcpt, Starttls};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// For a connection to one address.
const CONNECT: Duration = Duration::from_secs(10);
/// More than a handshake and every answer to a mail take.
const BYTES: usize = 256 * 1024;
/// Questions of a server at a login.
const CHALLENGES: usize = 4;

/// Why a mail was not taken, as what the mail server did.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// The time is over.
    #[error("was too slow")]
    Late,
    /// The connection, or TLS on it, has failed.
    #[error("connection failed: {0}")]
    Broken(io::Error),
    /// It refused.
    #[error("answered {code} {text}")]
    Refused {
        /// From 400 on.
        code: u16,
        /// In its own words.
        text: String,
    },
    /// It does not do what is needed.
    #[error("{0}")]
    Unfit(&'static str),
}

impl SmtpError {
    /// Whether the same is refused whenever it is tried.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code >= 500)
    }
}

impl From<io::Error> for SmtpError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            io::ErrorKind::UnexpectedEof => Self::Unfit("closed the connection"),
            _ => Self::Broken(error),
        }
    }
}

/// A conversation.
pub struct SmtpSession {
    wire: Wire,
    /// What the server can do: lines of its last greeting.
    offers: Vec<String>,
}

enum Wire {
    Plain(TimedStream),
    Tls(Box<StreamOwned<ClientConnection, TimedStream>>),
}

/// A connection that fails at the end of its time, or when too much was read from it.
struct TimedStream {
    stream: TcpStream,
    end: Instant,
    left: usize,
}

impl SmtpSession {
    /// Connects.
    pub fn open(address: SocketAddr, end: Instant) -> Result<Self, SmtpError> {
        let limit = CONNECT.min(left_until(end)?);
        let stream = TimedStream { stream: TcpStream::connect_timeout(&address, limit)?, end, left: BYTES };
        Ok(Self { wire: Wire::Plain(stream), offers: Vec::new() })
    }

    /// Speaks TLS from here on, with whom a certificate names so.
    pub fn secure(self, config: &Arc<ClientConfig>, host: &str) -> Result<Self, SmtpError> {
        let Wire::Plain(stream) = self.wire else { return Ok(self) };
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| SmtpError::Unfit("has a name that no certificate can have"))?;
        let connection = ClientConnection::new(Arc::clone(config), name);
        let connection = connection.map_err(|error| SmtpError::Broken(io::Error::other(error)))?;
        // What it offered before TLS anybody can have said.
        Ok(Self { wire: Wire::Tls(Box::new(StreamOwned::new(connection, stream))), offers: Vec::new() })
    }

    /// The first words of both sides.
    pub fn greet(&mut self, name: &ClientId) -> Result<(), SmtpError> {
        self.answer()?;
        self.introduce(name)
    }

    fn introduce(&mut self, name: &ClientId) -> Result<(), SmtpError> {
        let offers = self.command(Ehlo::new(name.clone()))?;
        self.offers = offers.message().map(str::to_owned).collect();
        Ok(())
    }

    /// Changes to TLS.
    pub fn start_tls(mut self, config: &Arc<ClientConfig>, host: &str, name: &ClientId) -> Result<Self, SmtpError> {
        if !self.offers("STARTTLS", None) {
            return Err(SmtpError::Unfit("does not offer STARTTLS"));
        }
        self.command(Starttls)?;
        let mut secured = self.secure(config, host)?;
        secured.introduce(name)?;
        Ok(secured)
    }

    /// Whether it offers that, in a certain way.
    fn offers(&self, what: &str, way: Option<&str>) -> bool {
        self.offers.iter().any(|line| {
            let mut words = line.split_whitespace();
            let is_that = words.next().is_some_and(|word| word.eq_ignore_ascii_case(what));
            is_that && way.is_none_or(|way| words.any(|word| word.eq_ignore_ascii_case(way)))
        })
    }

    /// Logs in.
    pub fn log_in(&mut self, credentials: &Credentials) -> Result<(), SmtpError> {
        let mut known = [Mechanism::Plain, Mechanism::Login].into_iter();
        let mechanism = known.find(|mechanism| self.offers("AUTH", Some(&mechanism.to_string())));
        let mechanism = mechanism.ok_or(SmtpError::Unfit("does not offer a login with PLAIN or LOGIN"))?;
        let unfit = |_| SmtpError::Unfit("asks for something unknown at the login");
        let first = Auth::new(mechanism, credentials.clone(), None).map_err(unfit)?;
        let mut answer = self.command(first)?;
        for _ in 0..CHALLENGES {
            if !answer.has_code(334) {
                return Ok(());
            }
            let next = Auth::new_from_response(mechanism, credentials.clone(), &answer).map_err(unfit)?;
            answer = self.command(next)?;
        }
        Err(SmtpError::Unfit("keeps asking at the login"))
    }

    /// Hands a mail over. Afterwards the server has it.
    pub fn send(&mut self, envelope: &Envelope, mail: &[u8]) -> Result<(), SmtpError> {
        self.command(Mail::new(envelope.from().cloned(), Vec::new()))?;
        for recipient in envelope.to() {
            self.command(Rcpt::new(recipient.clone(), Vec::new()))?;
        }
        self.command(Data)?;
        self.say(&dotted(mail))?;
        self.answer().map(drop)
    }

    /// Ends it; what the server says to that does not matter.
    pub fn leave(mut self) {
        drop(self.say(Quit.to_string().as_bytes()));
    }

    fn command(&mut self, command: impl Display) -> Result<Response, SmtpError> {
        self.say(command.to_string().as_bytes())?;
        self.answer()
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), SmtpError> {
        let wire: &mut dyn Write = match &mut self.wire {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => stream,
        };
        wire.write_all(bytes)?;
        Ok(wire.flush()?)
    }

    /// Reads an answer and not a byte more: what a server says before it is asked under TLS is no part of TLS.
    fn answer(&mut self) -> Result<Response, SmtpError> {
        let wire: &mut dyn Read = match &mut self.wire {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => stream,
        };
        let mut text = Vec::new();
        loop {
            let begin = text.len();
            let mut byte = [0];
            while byte != *b"\n" {
                wire.read_exact(&mut byte)?;
                text.extend(byte);
            }
            // Every line but the last has a hyphen behind the code.
            if text.get(begin + 3) != Some(&b'-') {
                break;
            }
        }
        let answer: Response =
            String::from_utf8_lossy(&text).parse().map_err(|_| SmtpError::Unfit("does not speak SMTP"))?;
        if answer.is_positive() {
            return Ok(answer);
        }
        Err(SmtpError::Refused { code: answer.code().into(), text: answer.message().collect::<Vec<_>>().join(" ") })
    }
}

/// As it is sent: no line of a mail is the dot that ends it.
fn dotted(mail: &[u8]) -> Vec<u8> {
    let mut sent = Vec::with_capacity(mail.len() + 64);
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            sent.push(b'.');
        }
        sent.extend(line);
    }
    if !sent.ends_with(b"\r\n") {
        sent.extend(b"\r\n");
    }
    sent.extend(b".\r\n");
    sent
}

fn left_until(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("sends answers that are too long"));
        }
        self.stream.set_read_timeout(Some(left_until(self.end)?))?;
        let count = self.stream.read(buffer)?;
        self.left = self.left.saturating_sub(count);
        Ok(count)
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left_until(self.end)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_mail_ends_it() {
        for (mail, sent) in [
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".\r\n..\r\nb.\r\n", "..\r\n...\r\nb.\r\n.\r\n"),
            ("", "\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(dotted(mail.as_bytes())).unwrap(), sent, "{mail:?}");
        }
    }
}
