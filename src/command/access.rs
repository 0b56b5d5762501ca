//! How a command reaches the store: through the running server, or by opening it itself when none runs. Either way
//! it asks the API's own handlers over a control socket.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::failure::{failed, start_failure};
use super::reply::Reply;
use super::{Exit, Failure, config};
use crate::app::{self, Offline};
use crate::cli::{AccountArgs, ConfigArgs};
use crate::config::Config;
use crate::control::client::{self, Answer, Client, ControlSocket};
use crate::domain::visible::visible;
use crate::storage;

/// The most rows that one answer gives.
const PAGE: u64 = 100;
/// How often a server that is busy is asked again.
const TRIES: u32 = 60;
/// The most wrong fields that one message names.
const FIELDS: usize = 20;

/// A page of a list, with its rows as they came.
#[derive(Deserialize)]
struct Page {
    data: Vec<Box<RawValue>>,
    pagination: Map<String, Value>,
}

/// The API, for one account.
pub struct Api {
    client: Client,
    account: String,
}

/// Works with the store of a configuration; the store is closed afterwards if it was opened for this.
pub fn with_store<T>(config: &Config, work: impl FnOnce(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
    if let Some(client) = client::connect(&app::control_socket(config)) {
        return work(&client);
    }
    let offline = Offline::start(config).map_err(|error| start_failure(&error))?;
    let result = work(&Client::new(&offline.socket()));
    offline.stop();
    result
}

/// Works with the store that the command line names, which has to be there already.
pub fn with_existing_store<T>(
    args: &ConfigArgs,
    work: impl FnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let config = config::load(args, Vec::new())?.config;
    require_store(&config)?;
    with_store(&config, work)
}

/// A store that nobody has made is not made by looking for something in it.
pub fn require_store(config: &Config) -> Result<(), Failure> {
    let folder = &config.storage.data_dir;
    if client::connect(&app::control_socket(config)).is_none() && storage::is_new(folder) {
        let message = format!("there is no database in {}; make one with: tempclock-webhooks init", folder.display());
        return Err((Exit::NotFound, message));
    }
    Ok(())
}

/// Works with the store that the command line names.
pub fn with_named_store<T>(args: &ConfigArgs, work: impl FnOnce(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
    with_store(&config::load(args, Vec::new())?.config, work)
}

/// Works with the API of one account.
pub fn with_api<T>(args: &AccountArgs, work: impl FnOnce(&Api) -> Result<T, Failure>) -> Result<T, Failure> {
    let config = config::load(&args.config, Vec::new())?.config;
    require_store(&config)?;
    with_store(&config, |client| work(&Api { client: client.clone(), account: args.account.clone() }))
}

/// Where a server listens that has to be running.
pub fn running(args: &AccountArgs) -> Result<ControlSocket, Failure> {
    let socket = app::control_socket(&config::load(&args.config, Vec::new())?.config);
    let absent = || (Exit::Failed, "no server is running, so nothing is sent that could be followed".to_owned());
    client::connect(&socket).map(|_| socket).ok_or_else(absent)
}

/// Asks for something that belongs to no account.
pub fn ask(
    client: &Client,
    method: &str,
    path: &str,
    query: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<Reply, Failure> {
    let text = body.map(Value::to_string);
    let answer = client.send(method, path, query, text.as_deref()).map_err(|error| silence(&error))?;
    accept(answer)
}

/// What the answer says, or why it is a refusal.
pub fn accept(answer: Answer) -> Result<Reply, Failure> {
    if !(200..300).contains(&answer.status) {
        return Err(refusal(&answer));
    }
    let Answer { text, json, .. } = answer;
    Ok(Reply { text, json })
}

fn silence(error: &std::io::Error) -> Failure {
    (Exit::Failed, format!("the server did not answer: {error}"))
}

fn refusal(answer: &Answer) -> Failure {
    let message = answer.json["message"].as_str().unwrap_or("the server refused without saying why");
    let mut lines = vec![visible(message)];
    let errors = answer.json["errors"].as_array().map_or(&[][..], Vec::as_slice);
    // The message of a single wrong field names it already.
    if errors.len() > 1 {
        for error in errors.iter().take(FIELDS) {
            let part = |name: &str| visible(error[name].as_str().unwrap_or_default());
            lines.push(format!("  {}: {}", part("field"), part("message")));
        }
        let rest = errors.len().saturating_sub(FIELDS);
        lines.extend((rest > 0).then(|| format!("  and {rest} more")));
    }
    (exit_of(answer), lines.join("\n"))
}

/// The exit code that a refusal means.
pub fn exit_of(answer: &Answer) -> Exit {
    match (answer.status, answer.json["code"].as_str()) {
        (_, Some("store_failed")) => Exit::StoreFailed,
        (404, _) => Exit::NotFound,
        (400 | 413, _) => Exit::Usage,
        _ => Exit::Failed,
    }
}

impl Api {
    /// Reads one thing, or a page.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Reply, Failure> {
        accept(self.send("GET", path, query, None)?).map_err(|failure| self.where_looked(path, failure))
    }

    /// Changes something.
    pub fn change(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply, Failure> {
        let answer = self.insist(method, path, body.map(Value::to_string).as_deref())?;
        accept(answer).map_err(|failure| self.where_looked(path, failure))
    }

    /// What is not found may be of another kind, or belong to another account, which nobody is told over the API.
    fn where_looked(&self, path: &str, (exit, message): Failure) -> Failure {
        if exit != Exit::NotFound || !message.ends_with("not found") {
            return (exit, message);
        }
        let advice = if path.starts_with("/deliveries/evt_") {
            "; this is the id of an event: tempclock-webhooks events show ID".to_owned()
        } else if path.starts_with("/events/dlv_") {
            "; this is the id of a delivery: tempclock-webhooks deliveries show ID".to_owned()
        } else {
            format!(" in account {}; give another one with --account NAME", visible(&self.account))
        };
        (exit, message + &advice)
    }

    /// Sends a request again for as long as the server says that it is busy, which means that nothing was stored.
    pub fn insist(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, Failure> {
        let mut tries = 0;
        loop {
            let answer = self.send(method, path, &[], body)?;
            tries += 1;
            if answer.json["code"] != "busy" || tries == TRIES {
                return Ok(answer);
            }
            std::thread::sleep(Duration::from_secs(answer.retry_after_s.unwrap_or(1)));
        }
    }

    /// Sends a request below `/api/v1`; a refusal is an answer, too.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut all = vec![("account", self.account.as_str())];
        all.extend_from_slice(query);
        self.client.send(method, &format!("/api/v1{path}"), &all, body).map_err(|error| silence(&error))
    }

    /// Reads a list, page after page, up to `limit` rows; one answer in the API's shape.
    pub fn list(&self, path: &str, filter: &[(&str, &str)], limit: u64) -> Result<Reply, Failure> {
        let mut rows: Vec<Box<RawValue>> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let done = rows.len() as u64;
            let (count, offset) = (limit.saturating_sub(done).min(PAGE).to_string(), done.to_string());
            let mut query = filter.to_vec();
            query.push(("limit", &count));
            match &cursor {
                Some(cursor) => query.push(("cursor", cursor)),
                None => query.push(("offset", &offset)),
            }
            let answer = self.get(path, &query)?;
            let page: Page = serde_json::from_str(&answer.text).map_err(failed)?;
            let Page { data, mut pagination } = page;
            let is_last = data.is_empty() || pagination.get("has_more") != Some(&Value::Bool(true));
            rows.extend(data);
            if is_last || rows.len() as u64 >= limit {
                pagination.insert("limit".to_owned(), json!(limit));
                pagination.insert("offset".to_owned(), json!(0));
                let text = joined(&rows, &pagination);
                let json = serde_json::from_str(&text).map_err(failed)?;
                return Ok(Reply { text, json });
            }
            cursor = pagination.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        }
    }
}

fn joined(rows: &[Box<RawValue>], pagination: &Map<String, Value>) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.get()).collect();
    format!("{{\"data\":[{}],\"pagination\":{}}}", rows.join(","), Value::from(pagination.clone()))
}
