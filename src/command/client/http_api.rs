//! The HTTP client of commands and the server's HTTP API. Runs on the calling thread.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{Certificate, TlsConfig, TlsProvider};
use zeroize::Zeroizing;

use crate::app;
use crate::cli::ApiArgs;
use crate::command::Exit;
use crate::command::console::input;
use crate::config::Config;

/// Maximum size of a response.
const ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The most wrong fields that one message names.
const FIELDS: usize = 20;

/// Why an API call failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpApiError {
    /// No response.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// An error response.
    #[error("the server responded with {status}: {message}")]
    ErrorStatus {
        /// The status.
        status: u16,
        /// The response's message.
        message: String,
        /// The first invalid field, if any.
        field: Option<String>,
    },
}

/// The API of one server with one key.
#[derive(Clone)]
pub struct HttpApi {
    url: String,
    key: Zeroizing<String>,
    agent: Agent,
}

/// An HTTP client with the server's trusted roots.
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

/// The API's URL: from the command line, otherwise from the configuration.
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

/// The API key from the command line.
pub fn key(args: &ApiArgs) -> Result<Option<Zeroizing<String>>, (Exit, String)> {
    input::text(args.api_key.as_deref(), args.api_key_file.as_deref())
}

impl HttpApi {
    /// The API at that URL.
    pub fn new(url: String, key: Zeroizing<String>, agent: Agent) -> Self {
        Self { url, key, agent }
    }

    /// Sends a request below `/api/v1` and returns the JSON of a success.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, HttpApiError> {
        let url = format!("{}/api/v1{path}", self.url);
        let unreachable =
            |reason: &dyn std::fmt::Display| HttpApiError::Unreachable { url: url.clone(), reason: reason.to_string() };
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
        Err(HttpApiError::ErrorStatus { status: status.as_u16(), message: in_words(&answer, &text), field })
    }
}

/// The response's message with its field errors, or the beginning of another server's response.
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
