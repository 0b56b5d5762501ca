//! `keys create|list|revoke`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::KeysCommand;
use crate::clock::Clock;
use crate::command::client::control_api::{ask, with_existing_store, with_named_store};
use crate::command::client::reply::ApiReply;
use crate::command::console::output::{put, put_answer, put_table, rows, say, text, time};
use crate::command::{Failure, Outcome};
use crate::control::client::Client;
use crate::domain::Timestamp;

const KEYS: &str = "/control/keys";

pub fn run(command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::Create { config, name, scopes, account, expires, networks, subscriptions, json } => {
            let expires = expires.map(text_of);
            let body = json!({
                "account": account, "name": name, "scopes": scopes, "expires": expires, "networks": networks,
                "subscriptions": subscriptions,
            });
            let answer = with_named_store(&config, |client| ask(client, "POST", KEYS, &[], Some(&body)))?;
            if json {
                return put_answer(&answer);
            }
            let key = &answer["data"];
            put(&format!("{}\n", text(key, "key")))?;
            say(&format!(
                "Key {} for account {} with scopes {}. Store it: it is not shown again.",
                key["id"],
                text(key, "account"),
                text(key, "scopes")
            ));
            Ok(())
        }
        KeysCommand::List { config, account, json } => {
            let query: Vec<_> = account.iter().map(|name| ("account", name.as_str())).collect();
            let answer = with_existing_store(&config, |client| ask(client, "GET", KEYS, &query, None))?;
            if json { put_answer(&answer) } else { put_keys(&answer) }
        }
        KeysCommand::Rotate { config, key, overlap, json } => {
            let body = json!({"key": key, "overlap": text_of(overlap)});
            let path = "/control/keys/rotate";
            let answer = with_existing_store(&config, |client| ask(client, "POST", path, &[], Some(&body)))?;
            if json {
                return put_answer(&answer);
            }
            let key = &answer["data"];
            put(&format!("{}\n", text(key, "key")))?;
            let until = time(key, "previous_valid_until");
            say(&format!(
                "Key {} replaces key {}, which is valid until {until}. Store it: it is not shown again.",
                key["id"], key["previous_id"]
            ));
            Ok(())
        }
        KeysCommand::Revoke { config, key, json } => {
            let body = json!({"key": key});
            let path = "/control/keys/revoke";
            let answer = with_existing_store(&config, |client| ask(client, "POST", path, &[], Some(&body)))?;
            if json {
                return put_answer(&answer);
            }
            let key = &answer["data"];
            put(&format!("Key {} ({}) is revoked.\n", key["id"], text(key, "name")))
        }
    }
}

/// All keys of all accounts.
pub fn list(client: &Client) -> Result<ApiReply, Failure> {
    ask(client, "GET", KEYS, &[], None)
}

/// Creates a key with every scope.
pub fn create_first(client: &Client, account: &str, name: &str) -> Result<ApiReply, Failure> {
    let body = json!({"account": account, "name": name, "scopes": ["*"]});
    ask(client, "POST", KEYS, &[], Some(&body))
}

/// As the API reads durations.
fn text_of(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn put_keys(answer: &Value) -> Outcome {
    let now = Clock::start().wall();
    let row = |key: &Value| {
        let expires = key["expires_at"].as_str();
        let is_over = expires.and_then(Timestamp::parse).is_some_and(|time| time <= now);
        let state = match key["revoked_at"].is_null() {
            false => "revoked",
            true if is_over => "expired",
            true => "active",
        };
        let expires = if expires.is_some() { time(key, "expires_at") } else { "never".to_owned() };
        let used = if key["last_used_at"].is_null() { "never".to_owned() } else { time(key, "last_used_at") };
        let (id, account, name) = (text(key, "id"), text(key, "account"), text(key, "name"));
        let networks =
            if key["networks"].as_array().is_none_or(Vec::is_empty) { "all".to_owned() } else { text(key, "networks") };
        let subscriptions = match key["subscriptions"].as_array() {
            Some(only) if !only.is_empty() => text(key, "subscriptions"),
            _ => "all".to_owned(),
        };
        let (prefix, scopes) = (text(key, "prefix"), text(key, "scopes"));
        vec![id, account, name, prefix, state.to_owned(), scopes, networks, subscriptions, expires, used]
    };
    put_table(
        &["ID", "ACCOUNT", "NAME", "PREFIX", "STATUS", "SCOPES", "NETWORKS", "SUBSCRIPTIONS", "EXPIRES", "LAST USED"],
        &rows(answer).iter().map(row).collect::<Vec<_>>(),
    )
}
