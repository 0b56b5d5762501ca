//! How a command reaches the store: through the running server, or by opening it itself if none runs. Either way it
//! calls the API's handlers over a control socket.

use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::app::{self, Offline, StartError};
use crate::cli::{AccountArgs, ConfigArgs};
use crate::clock::Clock;
use crate::command::client::reply::ApiReply;
use crate::command::failure::{failed, start_failure};
use crate::command::{Exit, Failure, config};
use crate::config::Config;
use crate::control::client::{self, Client, ControlResponse, ControlSocket, Streamed};
use crate::domain::escape::escape_controls;
use crate::storage::look_at_database;
use crate::storage::maintenance::{Maintenance, Presence};

/// Maximum rows per response.
const PAGE: u64 = 100;
/// Number of retries while the server is busy.
const BUSY_RETRIES: u32 = 60;
/// Maximum number of invalid fields in a message.
const FIELDS: usize = 20;

/// A page of a list, with raw rows.
#[derive(Deserialize)]
struct ListPage {
    data: Vec<Box<RawValue>>,
    pagination: Map<String, Value>,
}

/// The API, for one account.
pub struct ControlApi {
    client: Client,
    account: String,
}

/// Runs work on a configuration's store; closes the store afterwards if it was opened for this.
pub fn with_store<T>(config: &Config, work: impl FnOnce(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
    if let Some(client) = client::connect(&app::control_socket(config)) {
        return work(&client);
    }
    let offline = Offline::start(config).map_err(|error| start_failure(&error))?;
    let result = work(&Client::new(&offline.socket()));
    offline.stop();
    result
}

/// Runs work on the command line's store, which must exist.
pub fn with_existing_store<T>(
    args: &ConfigArgs,
    work: impl FnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let config = config::load(args, Vec::new())?.config;
    require_store(&config)?;
    with_store(&config, work)
}

/// Fails if the store does not exist; a query must not create it.
pub fn require_store(config: &Config) -> Result<(), Failure> {
    if client::connect(&app::control_socket(config)).is_some() {
        return Ok(());
    }
    let is_there = match app::store_settings(config).postgres {
        None => Maintenance::of(&config.storage.data_dir).presence() != Presence::Never,
        Some(database) => {
            let looked = look_at_database(&database, Clock::start().wall());
            looked.map_err(|error| start_failure(&StartError::Store(error)))?.has_store
        }
    };
    if is_there {
        return Ok(());
    }
    let place = app::place_of_data(config);
    Err((Exit::NotFound, format!("there is no database in {place}; create one with: tempclock-webhooks init")))
}

/// Runs work on the command line's store.
pub fn with_named_store<T>(args: &ConfigArgs, work: impl FnOnce(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
    with_store(&config::load(args, Vec::new())?.config, work)
}

/// Runs work on an account's API.
pub fn with_api<T>(args: &AccountArgs, work: impl FnOnce(&ControlApi) -> Result<T, Failure>) -> Result<T, Failure> {
    let config = config::load(&args.config, Vec::new())?.config;
    require_store(&config)?;
    with_store(&config, |client| work(&ControlApi { client: client.clone(), account: args.account.clone() }))
}

/// Where a server listens that has to be running.
pub fn running(args: &AccountArgs) -> Result<ControlSocket, Failure> {
    let socket = app::control_socket(&config::load(&args.config, Vec::new())?.config);
    let absent = || (Exit::Failed, "no server is running, so there are no attempts to follow".to_owned());
    client::connect(&socket).map(|_| socket).ok_or_else(absent)
}

/// Requests something that belongs to no account.
pub fn ask(
    client: &Client,
    method: &str,
    path: &str,
    query: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<ApiReply, Failure> {
    let text = body.map(Value::to_string);
    let answer = client.send(method, path, query, text.as_deref()).map_err(|error| no_response(&error))?;
    into_reply(answer)
}

/// The response, or the failure it reports.
pub fn into_reply(answer: ControlResponse) -> Result<ApiReply, Failure> {
    if !(200..300).contains(&answer.status) {
        return Err(failure_of(&answer));
    }
    let ControlResponse { text, json, .. } = answer;
    Ok(ApiReply { text, json })
}

fn no_response(error: &std::io::Error) -> Failure {
    (Exit::Failed, format!("the server did not respond: {error}"))
}

fn failure_of(answer: &ControlResponse) -> Failure {
    let message = answer.json["message"].as_str().unwrap_or("the server refused the request without a reason");
    let mut lines = vec![escape_controls(message)];
    let errors = answer.json["errors"].as_array().map_or(&[][..], Vec::as_slice);
    // With a single invalid field the message names it already.
    if errors.len() > 1 {
        for error in errors.iter().take(FIELDS) {
            let part = |name: &str| escape_controls(error[name].as_str().unwrap_or_default());
            lines.push(format!("  {}: {}", part("field"), part("message")));
        }
        let rest = errors.len().saturating_sub(FIELDS);
        lines.extend((rest > 0).then(|| format!("  and {rest} more")));
    }
    (exit_of(answer), lines.join("\n"))
}

/// The exit code of an error response.
pub fn exit_of(answer: &ControlResponse) -> Exit {
    match (answer.status, answer.json["code"].as_str()) {
        (_, Some("store_failed")) => Exit::StoreFailed,
        (404, _) => Exit::NotFound,
        (400 | 413, _) => Exit::Usage,
        _ => Exit::Failed,
    }
}

impl ControlApi {
    /// Reads an object or a page.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<ApiReply, Failure> {
        into_reply(self.send("GET", path, query, None)?).map_err(|failure| self.where_looked(path, failure))
    }

    /// Changes something.
    pub fn change(&self, method: &str, path: &str, body: Option<&Value>) -> Result<ApiReply, Failure> {
        let answer = self.send_with_retry(method, path, &[], body.map(Value::to_string).as_deref())?;
        into_reply(answer).map_err(|failure| self.where_looked(path, failure))
    }

    /// Adds a hint to "not found": the API does not reveal that an id is of another kind or account.
    fn where_looked(&self, path: &str, (exit, message): Failure) -> Failure {
        if exit != Exit::NotFound || !message.ends_with("not found") {
            return (exit, message);
        }
        let advice = if path.starts_with("/deliveries/evt_") {
            "; this is the id of an event: tempclock-webhooks events show ID".to_owned()
        } else if path.starts_with("/events/dlv_") {
            "; this is the id of a delivery: tempclock-webhooks deliveries show ID".to_owned()
        } else {
            format!(" in account {}; choose another account with --account NAME", escape_controls(&self.account))
        };
        (exit, message + &advice)
    }

    /// Reads something of any length as it comes.
    pub fn stream(&self, path: &str, query: &[(&str, &str)]) -> Result<impl Read + use<>, Failure> {
        let mut all = vec![("account", self.account.as_str())];
        all.extend_from_slice(query);
        match self.client.stream(&format!("/api/v1{path}"), &all).map_err(|error| no_response(&error))? {
            Streamed::Body(body) => Ok(body),
            Streamed::Refused(answer) => Err(failure_of(&answer)),
        }
    }

    /// Retries a request while the server is busy, which means that nothing was stored.
    pub fn send_with_retry(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<ControlResponse, Failure> {
        let mut tries = 0;
        loop {
            let answer = self.send(method, path, query, body)?;
            tries += 1;
            if answer.json["code"] != "busy" || tries == BUSY_RETRIES {
                return Ok(answer);
            }
            std::thread::sleep(Duration::from_secs(answer.retry_after_s.unwrap_or(1)));
        }
    }

    /// Sends a request below `/api/v1`; an error status is a response, too.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<ControlResponse, Failure> {
        let mut all = vec![("account", self.account.as_str())];
        all.extend_from_slice(query);
        self.client.send(method, &format!("/api/v1{path}"), &all, body).map_err(|error| no_response(&error))
    }

    /// Reads a list page by page, up to `limit` rows, as one response in the API's format.
    pub fn list(&self, path: &str, filter: &[(&str, &str)], limit: u64) -> Result<ApiReply, Failure> {
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
            let page: ListPage = serde_json::from_str(&answer.text).map_err(failed)?;
            let ListPage { data, mut pagination } = page;
            // A page can be empty although there are more: its filters matched nothing of what was looked at.
            let is_last = pagination.get("has_more") != Some(&Value::Bool(true));
            rows.extend(data);
            if is_last || rows.len() as u64 >= limit {
                pagination.insert("limit".to_owned(), json!(limit));
                pagination.insert("offset".to_owned(), json!(0));
                let total = pagination.get("total").and_then(Value::as_u64).unwrap_or_default();
                pagination.insert("total".to_owned(), json!(total.max(rows.len() as u64)));
                let text = joined(&rows, &pagination);
                let json = serde_json::from_str(&text).map_err(failed)?;
                return Ok(ApiReply { text, json });
            }
            cursor = pagination.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        }
    }
}

fn joined(rows: &[Box<RawValue>], pagination: &Map<String, Value>) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.get()).collect();
    format!("{{\"data\":[{}],\"pagination\":{}}}", rows.join(","), Value::from(pagination.clone()))
}
