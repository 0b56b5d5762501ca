//! The options of a subscription between the command line, the API and the terminal. The API checks them.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::cli::{SignArgs, SubscriptionOptions};
use crate::command::Exit;
use crate::command::console::input;
use crate::command::console::output::text;
use crate::domain::options::{OPTIONS, Options};
use crate::http::api::fields::fault_within;

/// How a value is written on the command line.
#[derive(Clone, Copy)]
enum Written {
    Json,
    Text,
    List,
}

/// The given options as fields of a request.
pub fn fields(given: &SubscriptionOptions) -> Result<Map<String, Value>, (Exit, String)> {
    let SubscriptionOptions {
        mode,
        headers,
        auth,
        client_certificate,
        format,
        names,
        signatures,
        filter,
        order,
        batch,
        rate_limit,
        max_in_flight,
        timeout,
        retry_schedule,
        delivery_window,
    } = given;
    let all: [(Written, &Option<String>); OPTIONS.len()] = [
        (Written::Text, mode),
        (Written::Json, headers),
        (Written::Json, auth),
        (Written::Text, client_certificate),
        (Written::Text, format),
        (Written::Json, names),
        (Written::List, signatures),
        (Written::Json, filter),
        (Written::Text, order),
        (Written::Json, batch),
        (Written::Text, rate_limit),
        (Written::Json, max_in_flight),
        (Written::Text, timeout),
        (Written::List, retry_schedule),
        (Written::Json, delivery_window),
    ];
    let mut fields = Map::new();
    for (name, (written, value)) in OPTIONS.into_iter().zip(all) {
        if let Some(value) = value {
            fields.insert(name.to_owned(), read(name, written, value)?);
        }
    }
    Ok(fields)
}

/// The options of `sign` as fields of a request.
pub fn of_sign(given: &SignArgs) -> Result<Map<String, Value>, (Exit, String)> {
    let all = [
        ("format", Written::Text, &given.format),
        ("names", Written::Json, &given.names),
        ("signatures", Written::List, &given.signatures),
    ];
    let given = all.into_iter().filter_map(|(name, written, value)| Some((name, written, value.as_deref()?)));
    given.map(|(name, written, value)| Ok((name.to_owned(), read(name, written, value)?))).collect()
}

/// The option `names` as a field of a request.
pub fn names(given: &str) -> Result<(String, Value), (Exit, String)> {
    Ok(("names".to_owned(), read("names", Written::Json, given)?))
}

fn read(name: &str, written: Written, value: &str) -> Result<Value, (Exit, String)> {
    let value = match value.strip_prefix('@') {
        Some(file) => input::text(None, Some(file.as_ref()))?.unwrap_or_default(),
        None => Zeroizing::new(value.to_owned()),
    };
    let value = value.trim();
    if value == "none" {
        return Ok(Value::Null);
    }
    match written {
        Written::Text => Ok(value.into()),
        // As a list in JSON, or its items alone.
        Written::List if !value.starts_with('[') => Ok(value.split(',').map(str::trim).collect()),
        Written::List | Written::Json => {
            let read = serde_json::from_str(value).map_err(|error| {
                let flag = name.replace('_', "-");
                (Exit::Usage, format!("--{flag} is not JSON: {error}; put it in single quotes, or use @FILE"))
            })?;
            // The request has one of the two alone.
            match fault_within(name, value) {
                Some(fault) => Err((Exit::Usage, format!("{}: {}", fault.field, fault.message))),
                None => Ok(read),
            }
        }
    }
}

/// The options of a subscription that differ from the defaults, to print.
pub fn shown(subscription: &Value) -> Vec<(String, String)> {
    let defaults = Options::default().to_json(false);
    let is_own = |name: &&str| !subscription[*name].is_null() && defaults.get(*name) != Some(&subscription[*name]);
    OPTIONS.into_iter().filter(is_own).map(|name| (name.replace('_', " "), text(subscription, name))).collect()
}
