//! The server's HTTP API as commands use it, and the HTTP client of commands. Runs on the main thread and wherever a
//! command says so.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{Certificate, TlsConfig, TlsProvider};
use zeroize::Zeroizing;

use super::{Exit, input};
use crate::app;
use crate::cli::ApiArgs;
use crate::config::Config;

/// More than any answer to a command has.
const ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The most wrong fields that one message names.
const FIELDS: usize = 20;

/// Why an API call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There was no answer.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// There was one, and it was a refusal.
    #[error("the server answered {status}: {message}")]
    Refused {
        /// The status.
        status: u16,
        /// The answer's own words.
        message: String,
        /// The first field that is wrong, if any is.
        field: Option<String>,
    },
}

/// The API of one server with one key.
#[derive(Clone)]
pub struct Api {
    url: String,
    key: Zeroizing<String>,
    agent: Agent,
}

/// An HTTP client that trusts whom the server trusts.
pub fn agent(config: &Config, timeout: Duration) -> Result<Agent, (Exit, String)> {
    let roots = app::trusted_roots(config).map_err(|error| (Exit::Configuration, error.to_string()))?;
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(roots.iter().map(|root| Certificate::from_der(root).to_owned()).into())
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .build();
    Ok(Agent::new_with_config(config))
}

/// Where the API is: as the command was told, or where the configuration has the server listen.
pub fn url(args: &ApiArgs, config: &Config) -> String {
    if let Some(url) = &args.api_url {
        return url.trim_end_matches('/').to_owned();
    }
    let mut address = config.server.listen;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    format!("{}://{address}", if config.server.tls_key.is_some() { "https" } else { "http" })
}

/// The API key that the command was given.
pub fn key(args: &ApiArgs) -> Result<Option<Zeroizing<String>>, (Exit, String)> {
    input::text(args.api_key.as_deref(), args.api_key_file.as_deref())
}

impl Api {
    /// The API at that URL.
    pub fn new(url: String, key: Zeroizing<String>, agent: Agent) -> Self {
        Self { url, key, agent }
    }

    /// Sends a request to a path below `/api/v1` and gives the JSON of a success.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let url = format!("{}/api/v1{path}", self.url);
        let unreachable =
            |reason: &dyn std::fmt::Display| ApiError::Unreachable { url: url.clone(), reason: reason.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header("Authorization", format!("Bearer {}", self.key.as_str()))
            .header("Content-Type", "application/json");
        let body = body.map(ToString::to_string);
        let request = request.body(body.unwrap_or_default()).map_err(|error| unreachable(&error))?;
        let mut response = self.agent.run(request).map_err(|error| unreachable(&error))?;
        let status = response.status();
        let read = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
        let text = read.map_err(|error| unreachable(&error))?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let field = answer["errors"][0]["field"].as_str().map(str::to_owned);
        Err(ApiError::Refused { status: status.as_u16(), message: in_words(&answer, &text), field })
    }
}

/// The answer's message with its field errors, or the beginning of whatever else answered.
fn in_words(answer: &Value, text: &str) -> String {
    let Some(message) = answer["message"].as_str() else { return text.chars().take(200).collect() };
    // The message of a single wrong field names it already.
    let errors = answer["errors"].as_array().filter(|errors| errors.len() > 1).map_or(&[][..], Vec::as_slice);
    let fields =
        errors.iter().filter_map(|error| Some(format!("{}: {}", error["field"].as_str()?, error["message"].as_str()?)));
    let rest = errors.len().saturating_sub(FIELDS);
    let rest = (rest > 0).then(|| format!("and {rest} more"));
    std::iter::once(message.to_owned()).chain(fields.take(FIELDS)).chain(rest).collect::<Vec<_>>().join("; ")
}
