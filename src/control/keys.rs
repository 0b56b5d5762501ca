//! The operator's routes for API keys: list, create, revoke. Runs on the control socket's worker.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::access::{ApiKey, KeyText, Scopes};
use crate::domain::{FieldError, KeyId};
use crate::http::HttpState;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{JsonText, Query};
use crate::http::request::respond::{self, Pagination};
use crate::storage::command::{Command, NewKey};
use crate::storage::read::registry::Registry;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// Maximum length of an account's or key's name, in characters.
const NAME_CHARS: usize = 100;
/// Prefix length of an IPv4-mapped IPv6 address.
const MAPPED_BITS: u8 = 96;
/// Prefix that marks a key's number, whatever the names of other keys are.
const NUMBER_PREFIX: &str = "id:";
/// Maximum number of matching keys in a message.
const NAMED: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    account: String,
    name: String,
    scopes: Vec<String>,
    expires_in_s: Option<u64>,
    networks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked {
    /// Number, visible prefix or name.
    key: String,
}

fn read<'a, T: Deserialize<'a>>(body: &'a JsonText) -> Result<T, ApiError> {
    let wrong = |error| ApiError::invalid_json(format!("the server does not understand this command: {error}"));
    serde_json::from_str(&body.text).map_err(wrong)
}

fn check_name(field: &str, name: &str) -> Result<(), FieldError> {
    let is_good = (1..=NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    let wanted = || FieldError::new(field, format!("needs 1 to {NAME_CHARS} characters without control characters"));
    if is_good { Ok(()) } else { Err(wanted()) }
}

/// A normalised network: no host bits, and IPv4 unmapped.
fn network(text: &str) -> Result<IpNet, String> {
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("{text} is one address; write {text}/32"),
            Ok(IpAddr::V6(_)) => format!("{text} is one address; write {text}/128"),
            Err(_) => format!("{text} is not a network such as 10.0.0.0/8"),
        });
    };
    let exact = match network.trunc() {
        IpNet::V6(mapped) => {
            let address = mapped.addr().to_ipv4_mapped();
            let v4 = address.zip(mapped.prefix_len().checked_sub(MAPPED_BITS));
            v4.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()).map_or(mapped.into(), IpNet::V4)
        }
        v4 @ IpNet::V4(_) => v4,
    };
    if exact == network { Ok(network) } else { Err(format!("{text} has to be written {exact}")) }
}

pub async fn list(state: AppState, query: Query) -> HandlerResult {
    let registry = state.reader.registry();
    let wanted = match query.get("account") {
        None => None,
        Some(name) => Some(registry.account_named(name).ok_or_else(|| ApiError::no_account(name))?),
    };
    let keys = registry.keys().filter(|key| wanted.is_none_or(|account| account == key.account));
    let data: Vec<_> = keys.map(|key| show(key, &registry)).collect();
    let (total, limit) = (data.len(), data.len());
    Ok(respond::list(&data, &Pagination::of_whole(total, limit, 0, total)))
}

pub async fn create(state: AppState, body: JsonText) -> HandlerResult {
    let Wanted { account, name, scopes, expires_in_s, networks } = read(&body)?;
    let mut errors: Vec<_> =
        [check_name("name", &name), check_name("account", &account)].into_iter().filter_map(Result::err).collect();
    let scopes = Scopes::parse(scopes.iter().map(String::as_str));
    let scopes = scopes.map_err(|message| errors.push(FieldError::new("scopes", message))).ok();
    let networks: Vec<_> = networks
        .iter()
        .filter_map(|text| {
            let network = network(text.trim());
            network.map_err(|message| errors.push(FieldError::new("networks", message))).ok()
        })
        .collect();
    let Some(scopes) = scopes.filter(|_| errors.is_empty()) else { return Err(ApiError::invalid(errors)) };
    let mut random = [0; 20];
    getrandom::fill(&mut random).map_err(|error| ApiError::internal(&error))?;
    let text = KeyText::from_random(&random);
    let expires_at = expires_in_s.map(|seconds| state.clock.wall().plus(Duration::from_secs(seconds)));
    let (prefix, hash) = (text.prefix(), text.hash());
    let new = Box::new(NewKey { account, name, prefix, hash, scopes, expires_at, networks });
    let (id, _) = state.ask(|reply| Command::CreateKey { new, reply }).await?;
    log::info!("key {id} created");
    let registry = state.reader.registry();
    let key = registry.key(id).ok_or_else(|| ApiError::not_found("key"))?;
    let mut shown = show(key, &registry);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("key".to_owned(), text.expose().into());
    }
    Ok(respond::single(HttpResponse::Created(), &shown))
}

pub async fn revoke(state: AppState, body: JsonText) -> HandlerResult {
    let Revoked { key: wanted } = read(&body)?;
    let number = wanted.parse().map(KeyId).ok();
    let only_number = wanted.strip_prefix(NUMBER_PREFIX).and_then(|text| text.parse().ok()).map(KeyId);
    let is_meant = |key: &ApiKey| match only_number {
        Some(id) => key.id == id,
        None => Some(key.id) == number || key.prefix == wanted || key.name == wanted,
    };
    let registry = state.reader.registry();
    let matching: Vec<_> = registry.keys().filter(|key| is_meant(key)).map(|key| key.id).collect();
    let id = match matching.as_slice() {
        [] => return Err(ApiError::not_found(&format!("key with the number, prefix or name {wanted}"))),
        [one] => *one,
        several => return Err(ApiError::invalid_field("key", choice(&wanted, several, &registry))),
    };
    state.ask(|reply| Command::RevokeKey { id, reply }).await?;
    log::info!("key {id} revoked");
    let registry = state.reader.registry();
    let key = registry.key(id).ok_or_else(|| ApiError::not_found("key"))?;
    Ok(respond::single(HttpResponse::Ok(), &show(key, &registry)))
}

/// The message for an ambiguous key.
fn choice(wanted: &str, several: &[KeyId], registry: &Registry) -> String {
    let keys = several.iter().filter_map(|id| registry.key(*id)).take(NAMED);
    let keys = keys.map(|key| {
        let account = registry.account_name(key.account);
        format!("{NUMBER_PREFIX}{} ({}, {}, account {account})", key.id, key.prefix, key.name)
    });
    let more = several.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("and {more} more"));
    let keys: Vec<_> = keys.chain(more).collect();
    format!("{wanted} fits several keys, and none was revoked; give one of: {}", keys.join(", "))
}

fn show(key: &ApiKey, registry: &Registry) -> Value {
    json!({
        "id": key.id,
        "account": registry.account_name(key.account),
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes.names(),
        "expires_at": key.expires_at,
        "networks": key.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    })
}
