//! What the command line asks of the store. The database file has one owner: while the server runs, requests go to
//! it over a Unix socket; while it is down, the command opens the file itself and runs the very same [`execute`].

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::domain::KeyId;
use crate::domain::access::{ApiKey, KeyText, Scopes};
use crate::storage::command::{Command, NewKey, Reply};
use crate::storage::error::Refusal;
use crate::storage::reader::Reader;
use crate::storage::writer::WriterHandle;

/// One request, one line of JSON on the socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Make an API key, and its account if there is none of that name.
    CreateKey {
        /// The account's name.
        account: String,
        /// The key's name.
        name: String,
        /// What it may do.
        scopes: Vec<String>,
        /// For how long it is good, in seconds.
        expires_in_s: Option<u64>,
        /// From where it may be used.
        networks: Vec<String>,
    },
    /// List the keys of an account, or of all.
    ListKeys {
        /// The account's name.
        account: Option<String>,
    },
    /// Send a backup of one moment, after the line with the response.
    BackUp,
    /// Revoke the key with that number or visible prefix.
    RevokeKey {
        /// Number or prefix.
        key: String,
    },
}

/// What came of it, one line of JSON on the socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It worked.
    Done(Value),
    /// It did not, and why.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// In words.
        message: String,
    },
}

/// What kind of failure, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request was wrong.
    Usage,
    /// There is no such thing.
    NotFound,
    /// It should have worked.
    Failure,
}

impl Response {
    fn usage(message: impl Into<String>) -> Self {
        Self::Failed { kind: FailureKind::Usage, message: message.into() }
    }
}

/// The longest name of an account or key, in characters.
const NAME_CHARS: usize = 100;

/// Carries out a request. Waits for the writer, so it runs on a thread of its own or in a command.
#[must_use]
pub fn execute(reader: &Reader, writer: &WriterHandle, clock: Clock, request: Request) -> Response {
    match request {
        Request::CreateKey { account, name, scopes, expires_in_s, networks } => {
            create_key(reader, writer, clock, (account, name), (scopes, expires_in_s, networks))
        }
        Request::ListKeys { account } => list_keys(reader, account.as_deref()),
        Request::RevokeKey { key } => revoke_key(reader, writer, &key),
        // Its stream follows the response, so it is up to whoever has the connection.
        Request::BackUp => Response::Done(Value::Null),
    }
}

fn ask<T>(writer: &WriterHandle, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
    let (reply, answer) = oneshot::channel();
    writer.try_send(command(reply))?;
    answer.blocking_recv().unwrap_or(Err(Refusal::StoreFailed))
}

fn refused(refusal: &Refusal) -> Response {
    let kind = if *refusal == Refusal::NotFound { FailureKind::NotFound } else { FailureKind::Failure };
    Response::Failed { kind, message: refusal.to_string() }
}

fn check_name(what: &str, name: &str) -> Result<(), Response> {
    let is_good = (1..=NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if is_good {
        return Ok(());
    }
    Err(Response::usage(format!("{what} needs 1 to {NAME_CHARS} characters without control characters")))
}

fn create_key(
    reader: &Reader,
    writer: &WriterHandle,
    clock: Clock,
    (account, name): (String, String),
    (scopes, expires_in_s, networks): (Vec<String>, Option<u64>, Vec<String>),
) -> Response {
    if let Err(response) = check_name("the key's name", &name).and(check_name("the account's name", &account)) {
        return response;
    }
    let scopes = match Scopes::parse(scopes.iter().map(String::as_str)) {
        Ok(scopes) => scopes,
        Err(message) => return Response::usage(message),
    };
    let networks: Result<Vec<_>, _> = networks
        .iter()
        .map(|text| text.parse().map_err(|_| format!("{text} is not a network such as 10.0.0.0/8")))
        .collect();
    let networks = match networks {
        Ok(networks) => networks,
        Err(message) => return Response::usage(message),
    };
    let mut random = [0; 20];
    if let Err(error) = getrandom::fill(&mut random) {
        return Response::Failed { kind: FailureKind::Failure, message: error.to_string() };
    }
    let text = KeyText::from_random(&random);
    let expires_at = expires_in_s.map(|seconds| clock.wall().plus(std::time::Duration::from_secs(seconds)));
    let (prefix, hash) = (text.prefix(), text.hash());
    let new = Box::new(NewKey { account, name, prefix, hash, scopes, expires_at, networks });
    match ask(writer, |reply| Command::CreateKey { new, reply }) {
        Err(refusal) => refused(&refusal),
        Ok((id, _)) => match reader.registry().key(id) {
            None => refused(&Refusal::NotFound),
            Some(key) => {
                let mut shown = show(key, reader);
                if let Some(fields) = shown.as_object_mut() {
                    fields.insert("key".to_owned(), text.expose().into());
                }
                log::info!("key {id} made");
                Response::Done(shown)
            }
        },
    }
}

fn show(key: &ApiKey, reader: &Reader) -> Value {
    json!({
        "id": key.id,
        "account": reader.registry().account_name(key.account),
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes.names(),
        "expires_at": key.expires_at,
        "networks": key.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    })
}

fn list_keys(reader: &Reader, account: Option<&str>) -> Response {
    let registry = reader.registry();
    let wanted = account.map(|name| registry.account_named(name));
    if wanted == Some(None) {
        let message = format!("there is no account named {}", account.unwrap_or_default());
        return Response::Failed { kind: FailureKind::NotFound, message };
    }
    let keys = registry.keys().filter(|key| wanted.is_none_or(|account| account == Some(key.account)));
    Response::Done(keys.map(|key| show(key, reader)).collect())
}

fn revoke_key(reader: &Reader, writer: &WriterHandle, wanted: &str) -> Response {
    let registry = reader.registry();
    let number = wanted.parse().map(KeyId).ok();
    let matching: Vec<_> =
        registry.keys().filter(|key| Some(key.id) == number || key.prefix == wanted || key.name == wanted).collect();
    let id = match matching.as_slice() {
        [] => {
            let message = format!("there is no key with the number, prefix or name {wanted}");
            return Response::Failed { kind: FailureKind::NotFound, message };
        }
        [one] => one.id,
        _ => return Response::usage(format!("{wanted} fits several keys; give the number")),
    };
    if let Err(refusal) = ask(writer, |reply| Command::RevokeKey { id, reply }) {
        refused(&refusal)
    } else {
        log::info!("key {id} revoked");
        Response::Done(reader.registry().key(id).map_or(Value::Null, |key| show(key, reader)))
    }
}
