//! The operator's routes for the API keys of all accounts: list, create, rotate, revoke. Runs on the control socket's
//! worker.

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value};

use crate::domain::access::ApiKey;
use crate::domain::{AccountId, FieldErrors, KeyId};
use crate::http::HttpState;
use crate::http::api::key_body;
use crate::http::api::keys::{self, KeyView};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{JsonText, OperatorOrigin, Query};
use crate::http::request::respond::{self, Pagination};
use crate::storage::read::registry::Registry;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// Prefix that marks a key's number, whatever the names of other keys are.
const NUMBER_PREFIX: &str = "id:";
/// Maximum number of matching keys in a message.
const NAMED: usize = 20;

pub async fn list(state: AppState, query: Query) -> HandlerResult {
    let registry = state.reader.registry();
    let wanted = match query.get("account") {
        None => None,
        Some(name) => Some(registry.account_named(name).ok_or_else(|| ApiError::no_account(name))?),
    };
    let keys = registry.keys().filter(|key| wanted.is_none_or(|account| account == key.account));
    let data: Vec<_> = keys.map(|key| KeyView::new(key, &registry)).collect();
    let (total, limit) = (data.len(), data.len());
    Ok(respond::list(&data, &Pagination::of_whole(total, limit, 0, total)))
}

/// As `POST /keys`, with the account's name beside the other fields.
pub async fn create(state: AppState, OperatorOrigin(origin): OperatorOrigin, body: JsonText) -> HandlerResult {
    let (mut fields, errors) = key_body::object(&body.text)?;
    let account = fields.remove("account");
    let account = key_body::name("account", account.as_ref());
    let registry = state.reader.registry();
    let existing = account.as_ref().ok().and_then(|name| registry.account_named(name));
    let knows = |id| existing.is_some_and(|account| registry.subscription_of(account, id).is_some());
    match (account, key_body::read(&fields, errors, state.clock.wall(), knows)) {
        (Ok(account), Ok(wish)) => {
            let view = keys::create_one(&state, origin, account, wish).await?;
            Ok(respond::single(HttpResponse::Created(), &view))
        }
        (account, wish) => {
            let mut errors = wish.err().unwrap_or_default();
            errors.extend(account.err());
            Err(ApiError::invalid(errors))
        }
    }
}

/// As `POST /keys/{id}/rotate`, with the key's number, visible prefix or name beside the other fields.
pub async fn rotate(state: AppState, OperatorOrigin(origin): OperatorOrigin, body: JsonText) -> HandlerResult {
    let mut fields = fields_of(&body)?;
    let (account, id) = find(&state, &mut fields)?;
    let view = keys::rotate_one(&state, origin, (account, id), Some(&Value::Object(fields).to_string())).await?;
    Ok(respond::single(HttpResponse::Ok(), &view))
}

/// Revokes the key with that number, visible prefix or name.
pub async fn revoke(state: AppState, OperatorOrigin(origin): OperatorOrigin, body: JsonText) -> HandlerResult {
    let mut fields = fields_of(&body)?;
    let (_, id) = find(&state, &mut fields)?;
    Ok(respond::single(HttpResponse::Ok(), &keys::revoke_one(&state, origin, id).await?))
}

fn fields_of(body: &JsonText) -> Result<Map<String, Value>, ApiError> {
    let (fields, errors) = key_body::object(&body.text)?;
    if errors.is_empty() { Ok(fields) } else { Err(ApiError::invalid(errors)) }
}

/// Takes the field `key` out of the others: a number, a visible prefix or a name.
fn find(state: &AppState, fields: &mut Map<String, Value>) -> Result<(AccountId, KeyId), ApiError> {
    let wanted = key_body::name("key", fields.remove("key").as_ref());
    let wanted = wanted.map_err(|error| ApiError::invalid(FieldErrors::from(vec![error])))?;
    let number = wanted.parse().map(KeyId).ok();
    let only_number = wanted.strip_prefix(NUMBER_PREFIX).and_then(|text| text.parse().ok()).map(KeyId);
    let is_meant = |key: &ApiKey| match only_number {
        Some(id) => key.id == id,
        None => Some(key.id) == number || key.prefix == wanted || key.name == wanted,
    };
    let registry = state.reader.registry();
    let matching: Vec<_> = registry.keys().filter(|key| is_meant(key)).map(|key| (key.account, key.id)).collect();
    match matching.as_slice() {
        [] => Err(ApiError::not_found(&format!("key with the number, prefix or name {wanted}"))),
        [one] => Ok(*one),
        several => Err(ApiError::invalid_field("key", choice(&wanted, several, &registry))),
    }
}

/// The message for an ambiguous key.
fn choice(wanted: &str, several: &[(AccountId, KeyId)], registry: &Registry) -> String {
    let keys = several.iter().filter_map(|(_, id)| registry.key(*id)).take(NAMED);
    let keys = keys.map(|key| {
        let account = registry.account_name(key.account);
        format!("{NUMBER_PREFIX}{} ({}, {}, account {account})", key.id, key.prefix, key.name)
    });
    let more = several.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("and {more} more"));
    let keys: Vec<_> = keys.chain(more).collect();
    format!("{wanted} matches several keys, and none was changed; choose one of: {}", keys.join(", "))
}
