//! `keys create|list|revoke`: over the control socket while the server runs, else on the file itself.

use serde_json::{Value, json};

use super::{Exit, Outcome, config};
use crate::app;
use crate::cli::{ConfigArgs, KeysCommand};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{FailureKind, Request, Response, client, execute};
use crate::domain::Timestamp;
use crate::domain::visible::visible;
use crate::storage::writer::Listeners;
use crate::storage::{Opened, Store};

pub fn run(command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::Create { config, name, scopes, account, expires, networks, json } => {
            let expires_in_s = expires
                .map(|text| humantime::parse_duration(&text).map(|duration| duration.as_secs()))
                .transpose()
                .map_err(|error| (Exit::Usage, format!("--expires is not a duration such as 90d: {error}")))?;
            let request = Request::CreateKey { account, name, scopes, expires_in_s, networks };
            let key = ask(&config, request)?;
            if json {
                print_json(&key);
            } else {
                println!("{}", text(&key, "key"));
                eprintln!(
                    "Key {} for account {} with scopes {}. Keep it: it is not shown again.",
                    key["id"],
                    visible(text(&key, "account")),
                    scopes_of(&key)
                );
            }
        }
        KeysCommand::List { config, account, json } => {
            let keys = ask(&config, Request::ListKeys { account })?;
            if json {
                print_json(&keys);
            } else {
                print_table(keys.as_array().map_or(&[], Vec::as_slice));
            }
        }
        KeysCommand::Revoke { config, key, json } => {
            let key = ask(&config, Request::RevokeKey { key })?;
            if json {
                print_json(&key);
            } else {
                println!("Key {} ({}) is revoked.", key["id"], visible(text(&key, "name")));
            }
        }
    }
    Ok(())
}

fn ask(args: &ConfigArgs, request: Request) -> Result<Value, (Exit, String)> {
    let config = config::load(args, Vec::new())?.config;
    finish(perform(&config, request)?)
}

/// Has the request carried out by the running server, or by this process if there is none.
pub fn perform(config: &Config, request: Request) -> Result<Response, (Exit, String)> {
    let failed = |error: &dyn std::fmt::Display| (Exit::Failed, error.to_string());
    if let Some(stream) = client::connect(&app::control_socket(config)) {
        return client::ask(&stream, &request).map_err(|error| failed(&format!("the server did not answer: {error}")));
    }
    let clock = Clock::start();
    let opened = Opened::open(&app::store_settings(config), clock).map_err(|error| failed(&error))?;
    let listeners = Listeners { committed: Box::new(|_, _| {}), failed: Box::new(|_| {}) };
    let Store { writer, reader, thread } = opened.start(listeners).map_err(|error| failed(&error))?;
    let response = execute(&reader, &writer, clock, request);
    drop(writer);
    if thread.join().is_err() {
        return Err(failed(&"the writer had panicked"));
    }
    Ok(response)
}

/// The value of a response, or the exit code and message of a failed one.
pub fn finish(response: Response) -> Result<Value, (Exit, String)> {
    match response {
        Response::Done(value) => Ok(value),
        Response::Failed { kind, message } => Err((
            match kind {
                FailureKind::Usage => Exit::Usage,
                FailureKind::NotFound => Exit::NotFound,
                FailureKind::Failure => Exit::Failed,
            },
            message,
        )),
    }
}

/// One JSON document on stdout, in the API's shape.
pub fn print_json(value: &Value) {
    println!("{}", json!({"data": value}));
}

/// A field's text; empty if there is none.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn scopes_of(key: &Value) -> String {
    let names = key["scopes"].as_array().map_or(&[][..], Vec::as_slice);
    names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

fn print_table(keys: &[Value]) {
    let now = Clock::start().wall();
    println!("{:>4}  {:16} {:20} {:14} {:24} {:24} STATE", "ID", "ACCOUNT", "NAME", "PREFIX", "EXPIRES", "LAST USED");
    for key in keys {
        let expires = key["expires_at"].as_str().unwrap_or("never");
        let used = key["last_used_at"].as_str().unwrap_or("never");
        let is_over = Timestamp::parse(expires).is_some_and(|time| time <= now);
        let state = match key["revoked_at"].is_null() {
            false => "revoked",
            true if is_over => "expired",
            true => "active",
        };
        let (account, name) = (visible(text(key, "account")), visible(text(key, "name")));
        let prefix = text(key, "prefix");
        println!(
            "{:>4}  {account:16} {name:20} {prefix:14} {expires:24} {used:24} {state}  {}",
            key["id"],
            scopes_of(key)
        );
    }
}
