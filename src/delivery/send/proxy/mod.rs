//! The operator's proxy: what goes through it, the tunnel for https (CONNECT), and which of its answers are its own. Runs on
//! delivery threads.
//!
//! Its login goes to the proxy alone: with CONNECT at once, and over plain http, where a proxy that wants none would hand it
//! on to the receiver, only after it has asked for one.

pub(in crate::delivery) mod error;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use ureq::Error;
use ureq::http::Uri;

use self::error::ProxyError;
use crate::delivery::send::address::guard::GuardError;
use crate::delivery::send::address::look_up::look_up;
use crate::delivery::send::answer::error::{AnswerError, HEAD_BYTES};
use crate::delivery::send::answer::head::{Beginning, Head, begin};
use crate::delivery::send::classify;
use crate::delivery::send::dial::dial;
use crate::delivery::send::limit::Limit;
use crate::delivery::send::tcp::Socket;
use crate::domain::delivery::outcome::{Outcome, Phase};
use crate::domain::secret_text::SecretText;

/// What a proxy answers itself where it does not serve us. Everything else says something about the receiver.
const REFUSALS: [u16; 5] = [400, 401, 403, 405, 407];
/// How the names of proxies begin that put them into their own answers alone.
const SERVERS: [&str; 3] = ["squid/", "tinyproxy/", "mitmproxy "];

/// How long a proxy that has asked for a login is given it over plain http unasked. Then it has to ask again, as it may want
/// none any more.
const ASKED_LASTS: Duration = Duration::from_mins(5);

/// Where the proxy is, and what does not go through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyAddress {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Hosts that are connected to directly.
    pub direct_hosts: Vec<String>,
    /// Networks that are connected to directly, where a URL has an address.
    pub direct_networks: Vec<IpNet>,
}

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    address: ProxyAddress,
    login: Mutex<Option<SecretText>>,
    /// When it last asked for a login over plain http.
    asked_at: Mutex<Option<Instant>>,
}

impl Proxy {
    /// A proxy with a login of `user:password`, if it wants one.
    #[must_use]
    pub fn new(address: ProxyAddress, login: Option<&SecretText>) -> Self {
        let proxy = Self { address, login: Mutex::default(), asked_at: Mutex::default() };
        proxy.set_login(login);
        proxy
    }

    /// Uses this login from now on, over plain http once it is asked for.
    pub fn set_login(&self, login: Option<&SecretText>) {
        self.note_asked(None);
        let login = login.map(|login| SecretText::new(&format!("Basic {}", STANDARD.encode(login.expose()))));
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = login;
    }

    /// The host and port of the proxy.
    #[must_use]
    pub fn address(&self) -> (&str, u16) {
        (&self.address.host, self.address.port)
    }

    /// Whether requests to a host go through it.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let ProxyAddress { direct_hosts, direct_networks, .. } = &self.address;
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = address.to_canonical();
            return !direct_networks.iter().any(|network| network.contains(&address));
        }
        let name = host.trim_end_matches('.');
        !direct_hosts.iter().any(|direct| direct.eq_ignore_ascii_case(name))
    }

    fn login(&self) -> Option<SecretText> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The login for a request over plain http, if the proxy has asked for it lately.
    pub(in crate::delivery) fn login_asked_for(&self, now: Instant) -> Option<SecretText> {
        let asked_at = *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = asked_at.is_some_and(|at| now.saturating_duration_since(at) < ASKED_LASTS);
        if is_asked { self.login() } else { None }
    }

    /// Notes that it has asked for a login. Returns the one to answer with, if it was not sent yet.
    pub(in crate::delivery) fn asks(&self, was_sent: bool, now: Instant) -> Option<SecretText> {
        self.note_asked(Some(now));
        if was_sent { None } else { self.login() }
    }

    fn note_asked(&self, at: Option<Instant>) {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Connects to it, and through it to a host if one is given, as a delivery does. For `doctor`, which keeps nothing. The
    /// error is in words.
    pub fn connect(&self, to: Option<(&str, u16)>, within: Duration) -> Result<TcpStream, String> {
        let words = |error: Error| match ProxyError::of(&error) {
            Some(error) => error.to_string(),
            None => format!("{self} cannot be used ({error})"),
        };
        let ips = match self.address.host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            Err(_) => look_up(&self.address.host),
        };
        let ips = ips.map_err(|error| {
            let error = GuardError::LookUp(self.address.host.clone(), error);
            words(self.unreachable(Error::Other(Box::new(error)), Phase::Resolve))
        })?;
        let addresses: Vec<_> = ips.into_iter().map(|ip| SocketAddr::new(ip, self.address.port)).collect();
        let (stream, peer) =
            dial(&addresses, within).map_err(|error| words(self.unreachable(Error::Io(error), Phase::Connect)))?;
        let socket = Socket::over(stream, peer).map_err(|error| words(Error::Io(error)))?;
        if let Some((host, port)) = to {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            self.open_tunnel(&socket, &host, port, &mut Limit::within(within)).map_err(words)?;
        }
        Ok(socket.into_stream())
    }

    /// The error where no connection to it could be made.
    pub(in crate::delivery) fn unreachable(&self, error: Error, phase: Phase) -> Error {
        let cause = match classify::outcome(&error, phase) {
            Outcome::NameNotFound(_) => "its host name was not found".to_owned(),
            Outcome::NameServerFailed(_) => "the name server failed or did not answer".to_owned(),
            Outcome::ConnectFailed(text) | Outcome::ConnectionLost(text) => text,
            Outcome::TimedOut(_) => "it took too long".to_owned(),
            // A lack of our own.
            _ => return error,
        };
        ProxyError::Own(format!("{self} cannot be reached ({cause}); check delivery.proxy, and that the proxy runs"))
            .into()
    }

    /// The error of a request through it, where the connection ended without an answer.
    pub(in crate::delivery) fn ended(&self, error: Error) -> Error {
        if classify::is_end(&error) {
            return ProxyError::NotReached(format!("the connection through {self} ended without an answer")).into();
        }
        error
    }

    /// Has the proxy connect to a host, and leaves a connection on which nothing has come from there.
    pub(in crate::delivery) fn open_tunnel(
        &self,
        socket: &Socket,
        host: &str,
        port: u16,
        limit: &mut Limit,
    ) -> Result<(), Error> {
        let target = format!("{host}:{port}");
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(login) = self.login() {
            // Writing to a string cannot fail.
            let _ = write!(request, "Proxy-Authorization: {}\r\n", login.expose());
        }
        request.push_str("\r\n");
        let broken = |error| self.broken(error);
        let mut unsent = request.as_bytes();
        while !unsent.is_empty() {
            let sent = socket.send(unsent, limit).map_err(broken)?;
            unsent = unsent.get(sent..).unwrap_or_default();
        }
        let (mut input, mut end) = (vec![0; HEAD_BYTES], 0);
        loop {
            match begin(input.get(..end).unwrap_or_default()) {
                Ok(Beginning::Part) => {}
                Ok(Beginning::Interim(length)) => {
                    input.copy_within(length..end, 0);
                    end -= length;
                    continue;
                }
                Ok(Beginning::Answer(length, head)) if (200..300).contains(&head.status) => {
                    // A TLS server waits to be spoken to.
                    return if length == end { Ok(()) } else { Err(self.nonsense("data after its answer")) };
                }
                Ok(Beginning::Answer(_, head)) => return Err(self.refused(head.status, "CONNECT", &target)),
                Err(error) => return Err(self.no_http(&error)),
            }
            let room = input.get_mut(end..).unwrap_or_default();
            if room.is_empty() {
                return Err(self.nonsense("a head that is too long"));
            }
            let count = socket.receive(room, limit).map_err(broken)?;
            if count == 0 {
                let how = if end == 0 { "without an answer" } else { "in the middle of its answer" };
                return Err(ProxyError::NotReached(format!("{self} closed the connection {how}")).into());
            }
            end += count;
        }
    }

    /// The error of an answer to a request over plain http that is the proxy's own and not the receiver's.
    pub(in crate::delivery) fn own_answer(&self, head: &Head, target: &str) -> Option<Error> {
        let header = |name: &str| head.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let is_no_http = header("x-transformed-from").is_some_and(|from| from.eq_ignore_ascii_case("http/0.9"));
        if is_no_http {
            let text = format!("{self} got an answer from the receiver that is not HTTP");
            return Some(ProxyError::NotReached(text).into());
        }
        let is_of_server = header("server").is_some_and(|server| SERVERS.iter().any(|name| server.starts_with(name)));
        let is_own = header("x-squid-error").is_some() || header("proxy-agent").is_some() || is_of_server;
        let is_own = matches!(head.status, 407 | 590..=599) || (head.status >= 400 && is_own);
        is_own.then(|| self.refused(head.status, "the request", target))
    }

    /// It answered with an error of its own.
    fn refused(&self, status: u16, what: &str, target: &str) -> Error {
        if !REFUSALS.contains(&status) {
            return ProxyError::NotReached(format!("{self} answered {status} to {what}")).into();
        }
        let advice = match (status, self.login()) {
            (401 | 407, Some(_)) => "check the user and password in delivery.proxy_credentials_file".to_owned(),
            (401 | 407, None) => "it requires a login: set delivery.proxy_credentials_file".to_owned(),
            (403, _) => {
                format!("configure it to allow connections to {target} (many proxies allow only port 443 by default)")
            }
            _ => "check delivery.proxy: the program that listens there may not be a forward proxy".to_owned(),
        };
        ProxyError::Own(format!("{self} answered {status} to {what} for {target}; {advice}")).into()
    }

    fn nonsense(&self, what: &str) -> Error {
        let text = format!(
            "{self} sent {what}; check delivery.proxy: the program that listens there may not be a forward proxy"
        );
        ProxyError::Own(text).into()
    }

    fn no_http(&self, error: &AnswerError) -> Error {
        match error {
            AnswerError::TooLong => self.nonsense("a head that is too long"),
            AnswerError::Invalid(_) | AnswerError::Head(..) => self.nonsense("an answer that is not valid HTTP"),
        }
    }

    /// The connection to the proxy broke, or it took too long, while it was to connect.
    fn broken(&self, error: Error) -> Error {
        match classify::outcome(&error, Phase::Connect) {
            Outcome::TimedOut(_) => {
                ProxyError::NotReached(format!("timed out waiting for {self} to connect to it")).into()
            }
            Outcome::ConnectionLost(text) | Outcome::ConnectFailed(text) => {
                ProxyError::NotReached(format!("the connection to {self} broke: {text}")).into()
            }
            _ => error,
        }
    }
}

impl std::fmt::Display for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (host, port) = self.address();
        if host.contains(':') { write!(f, "the proxy [{host}]:{port}") } else { write!(f, "the proxy {host}:{port}") }
    }
}

/// The host and port of a URL as a proxy takes them.
pub(in crate::delivery) fn target(uri: &Uri) -> (&str, u16) {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    (uri.host().unwrap_or_default(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> Proxy {
        let address = ProxyAddress {
            host: "proxy.example".to_owned(),
            port: 3128,
            direct_hosts: vec!["crm.internal".to_owned()],
            direct_networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        };
        Proxy::new(address, Some(&SecretText::new("user:pass:word")))
    }

    #[test]
    fn all_goes_through_it_but_what_is_named() {
        let proxy = proxy();
        for host in ["crm.internal", "CRM.internal", "crm.internal.", "10.1.2.3", "[fd00::1]", "[::ffff:10.0.0.1]"] {
            assert!(!proxy.is_for(host), "{host}");
        }
        for host in ["crm.example", "a.crm.internal", "192.0.2.1", "127.0.0.1", "localhost", "[::1]"] {
            assert!(proxy.is_for(host), "{host}");
        }
    }

    #[test]
    fn over_plain_http_the_login_is_given_only_while_it_is_asked_for() {
        let (proxy, now) = (proxy(), Instant::now());
        assert!(proxy.login_asked_for(now).is_none());
        assert_eq!(proxy.asks(false, now).unwrap().expose(), "Basic dXNlcjpwYXNzOndvcmQ=");
        assert!(proxy.login_asked_for(now + ASKED_LASTS / 2).is_some());
        assert!(proxy.login_asked_for(now + ASKED_LASTS).is_none(), "it has to ask again");
        assert!(proxy.asks(true, now).is_none(), "it was wrong");
        proxy.set_login(Some(&SecretText::new("user:another")));
        assert!(proxy.login_asked_for(now).is_none(), "nor is it known whether it wants this one");
        proxy.set_login(None);
        assert!(proxy.asks(false, now).is_none() && proxy.login_asked_for(now).is_none());
        assert!(!format!("{:?}", self::proxy()).contains("dXNl"));
    }

    /// What an answer over plain http is taken for.
    fn own(answer: &str) -> Option<String> {
        let head = match begin(answer.as_bytes()).unwrap() {
            Beginning::Answer(_, head) => head,
            other => panic!("{other:?}"),
        };
        let error = proxy().own_answer(&head, "crm.example:80")?;
        Some(match ProxyError::of(&error).unwrap() {
            ProxyError::Own(text) => format!("own: {text}"),
            ProxyError::NotReached(text) => format!("not reached: {text}"),
        })
    }

    #[test]
    fn the_answers_of_known_proxies_are_told_from_those_of_receivers() {
        for (answer, kind) in [
            ("HTTP/1.1 407 x\r\nServer: squid/5.7\r\n\r\n", "own: "),
            ("HTTP/1.1 407 x\r\n\r\n", "own: "),
            ("HTTP/1.0 401 x\r\nServer: tinyproxy/1.11.1\r\n\r\n", "own: "),
            ("HTTP/1.1 403 x\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n", "own: "),
            ("HTTP/1.1 503 x\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n", "not reached: "),
            ("HTTP/1.1 502 x\r\nServer: mitmproxy 11.0.2\r\n\r\n", "not reached: "),
            ("HTTP/1.1 502 x\r\nProxy-agent: proxy.py v2.4.10\r\n\r\n", "not reached: "),
            ("HTTP/1.1 594 x\r\n\r\n", "not reached: "),
            ("HTTP/1.1 200 x\r\nX-Transformed-From: HTTP/0.9\r\n\r\n", "not reached: "),
        ] {
            assert!(own(answer).is_some_and(|text| text.starts_with(kind)), "{answer}: {:?}", own(answer));
        }
        for answer in [
            "HTTP/1.1 200 x\r\nVia: 1.1 squid\r\n\r\n",
            "HTTP/1.1 200 x\r\nServer: squid/5.7\r\n\r\n",
            "HTTP/1.1 401 x\r\nServer: nginx\r\n\r\n",
            "HTTP/1.1 503 x\r\nVia: 1.1 squid\r\nX-Cache: MISS\r\n\r\n",
        ] {
            assert_eq!(own(answer), None, "{answer}");
        }
    }
}
