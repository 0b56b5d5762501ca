//! The client side of the control socket. Runs in a command, on the main thread.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body};

pub use crate::control::socket::ControlSocket;
use crate::control::socket::UnixConnector;
use crate::http::request::extract::USER_HEADER;

/// Read timeout. Longer than an attempt, because a test ping is awaited.
const READ_TIMEOUT: Duration = Duration::from_mins(10);
/// How long a connection is kept for the next request; the server keeps it for longer.
const KEPT: Duration = Duration::from_secs(2);
/// Maximum size of a response.
const ANSWER_BYTES: u64 = 256 * 1024 * 1024;

/// A client of the process that has the store open.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
}

/// A response.
#[derive(Debug)]
pub struct ControlResponse {
    /// The HTTP status.
    pub status: u16,
    /// The value of `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// The raw body.
    pub text: String,
    /// The body, if it is JSON.
    pub json: Value,
}

/// Connects to the server, if a trusted one listens there.
#[must_use]
pub fn connect(socket: &ControlSocket) -> Option<Client> {
    socket.connect().is_ok().then(|| Client::new(socket))
}

impl Client {
    /// A client of whatever listens there.
    #[must_use]
    pub fn new(socket: &ControlSocket) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(KEPT)
            .proxy(None)
            .timeout_per_read(Some(READ_TIMEOUT))
            .timeout_per_write(Some(READ_TIMEOUT))
            .build();
        let connector = UnixConnector(socket.clone());
        Self { agent: Agent::with_parts(config, connector, DefaultResolver::default()) }
    }

    /// Sends one request and waits for its answer.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&str>,
    ) -> std::io::Result<ControlResponse> {
        let request = Request::builder().method(method).uri(uri(path, query)).header(USER_HEADER, user());
        let sent = match body {
            None => self.agent.run(request.body(()).map_err(std::io::Error::other)?),
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                self.agent.run(request.body(body).map_err(std::io::Error::other)?)
            }
        };
        read(sent.map_err(ureq::Error::into_io)?)
    }

    /// Requests something of any length.
    pub fn stream(&self, path: &str, query: &[(&str, &str)]) -> std::io::Result<Streamed<impl Read + use<>>> {
        let response =
            self.agent.get(uri(path, query)).header(USER_HEADER, user()).call().map_err(ureq::Error::into_io)?;
        if response.status().is_success() {
            return Ok(Streamed::Body(WholeStream(response.into_body().into_reader())));
        }
        Ok(Streamed::Refused(read(response)?))
    }

    /// Requests a backup and returns its stream.
    pub fn back_up(&self) -> std::io::Result<impl Read + use<>> {
        match self.stream("/control/backup", &[])? {
            Streamed::Body(body) => Ok(body),
            Streamed::Refused(answer) => {
                let said = answer.json["message"].as_str().unwrap_or("the server sent no backup");
                Err(std::io::Error::other(said.to_owned()))
            }
        }
    }
}

/// What came of a request for a stream.
pub enum Streamed<R> {
    /// The stream; it fails if it was cut off.
    Body(R),
    /// An error.
    Refused(ControlResponse),
}

fn read(mut response: Response<Body>) -> std::io::Result<ControlResponse> {
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let text = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
    let text = text.map_err(ureq::Error::into_io)?;
    let json = serde_json::from_str(&text).unwrap_or_default();
    Ok(ControlResponse { status: response.status().as_u16(), retry_after_s: retry_after, text, json })
}

struct WholeStream<R>(R);

impl<R: Read> Read for WholeStream<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into).map_err(|error| {
            std::io::Error::other(format!("the server's response was incomplete; its log says why ({error})"))
        })
    }
}

/// Whose name the audit shows: who called sudo, else the user of this process.
#[must_use]
pub fn user() -> String {
    let is_name = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok()).find(is_name);
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn uri(path: &str, query: &[(&str, &str)]) -> String {
    // The host is ignored: the connector has one socket.
    let mut uri = format!("http://127.0.0.1{path}");
    if !query.is_empty() {
        uri.push('?');
        uri.push_str(&url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish());
    }
    uri
}
