//! API keys of the caller's account: list, create, rotate, revoke. A key never gives more than it has. Runs on the HTTP
//! workers.

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::access::{ApiKey, KeyText, Scope};
use crate::domain::audit::Origin;
use crate::domain::{AccountId, KeyId, Timestamp};
use crate::http::api::key_body::{self, KeyWish};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, JsonText, OptionalJson, Query};
use crate::http::request::respond::{self, Pagination};
use crate::http::request::state::HttpState;
use crate::storage::command::{Command, NewKey};
use crate::storage::read::registry::Registry;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// Message after creating one.
pub const CREATED: &str = "Key created. Store it: it is not shown again.";
/// Message after rotating one.
pub const ROTATED: &str = "Key rotated. Store the new key: it is not shown again.";
/// Message after revoking one.
pub const REVOKED: &str = "Key revoked.";

/// An API key, without its text.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub struct KeyView {
    id: KeyId,
    /// Name of the account.
    #[schemars(example = &"default")]
    account: String,
    /// Its name.
    #[schemars(example = &"crm")]
    name: String,
    /// The visible beginning of the key.
    #[schemars(example = &"tc_live_5d9e")]
    prefix: String,
    /// Its scopes.
    #[schemars(example = ["webhooks:read"])]
    scopes: Vec<&'static str>,
    /// When it expires; null: never.
    expires_at: Option<Timestamp>,
    /// Networks that it may be used from; empty: any.
    #[schemars(example = ["10.0.0.0/8"])]
    networks: Vec<String>,
    /// Numbers of the subscriptions that it can access; empty: all of the account.
    #[schemars(example = [1])]
    subscriptions: Vec<u32>,
    /// Creation time.
    created_at: Timestamp,
    /// When it was last used, precise to the hour.
    last_used_at: Option<Timestamp>,
    /// When it was revoked.
    revoked_at: Option<Timestamp>,
    /// The key itself; only in the response to its creation or rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = "^tc_live_[0-9a-f]{40}$"))]
    #[schemars(example = &"tc_live_5d9e41b7c0a83f6256d1e97b04c8a2f3d7560e1b")]
    key: Option<String>,
    /// The old key; only in the response to a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "KeyId")]
    previous_id: Option<KeyId>,
    /// Until when the old key is valid; only in the response to a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    previous_valid_until: Option<Timestamp>,
}

impl KeyView {
    /// Without its text.
    #[must_use]
    pub fn new(key: &ApiKey, registry: &Registry) -> Self {
        Self {
            id: key.id,
            account: registry.account_name(key.account).to_owned(),
            name: key.name.clone(),
            prefix: key.prefix.clone(),
            scopes: key.scopes.names(),
            expires_at: key.expires_at,
            networks: key.networks.iter().map(ToString::to_string).collect(),
            subscriptions: key.subscriptions.iter().map(|id| id.0).collect(),
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
            key: None,
            previous_id: None,
            previous_valid_until: None,
        }
    }
}

/// Parses a key's number.
fn parse_id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map(KeyId).map_err(|_| ApiError::not_found("key"))
}

/// `GET /keys`.
pub async fn list(state: AppState, caller: Caller, mut query: Query) -> HandlerResult {
    let account = caller.require(Scope::KeysAdmin)?;
    let (limit, offset) = query.page_by_offset();
    query.finish()?;
    let registry = state.reader.registry();
    let own: Vec<_> = registry.keys().filter(|key| key.account == account).collect();
    let page: Vec<_> = own.iter().skip(offset).take(limit).map(|key| KeyView::new(key, &registry)).collect();
    Ok(respond::list(&page, &Pagination::of_whole(own.len(), limit, offset, page.len())))
}

/// `POST /keys`.
pub async fn create(state: AppState, caller: Caller, body: JsonText) -> HandlerResult {
    let account = caller.require(Scope::KeysAdmin)?;
    let (fields, errors) = key_body::object(&body.text)?;
    let registry = state.reader.registry();
    let knows = |id| registry.subscription_of(account, id).is_some();
    let wish = key_body::read(&fields, errors, state.clock.wall(), knows).map_err(ApiError::invalid)?;
    if let Some(excess) = caller.key().and_then(|own| own.rights().excess_of(&wish.rights())) {
        return Err(ApiError::beyond_rights(excess));
    }
    let view = create_one(&state, caller.origin(), registry.account_name(account).to_owned(), wish).await?;
    Ok(respond::single_with_message(HttpResponse::Created(), &view, CREATED))
}

/// Creates a key, and its account if there is none of that name.
pub async fn create_one(state: &AppState, origin: Origin, account: String, wish: KeyWish) -> Result<KeyView, ApiError> {
    let text = new_text()?;
    let KeyWish { name, scopes, expires_at, networks, subscriptions } = wish;
    let (prefix, hash) = (text.prefix(), text.hash());
    let new = Box::new(NewKey { account, name, prefix, hash, scopes, expires_at, networks, subscriptions });
    let (id, _) = state.change(origin, |reply| Command::CreateKey { new, reply }).await?;
    log::info!("key {id} created");
    Ok(KeyView { key: Some(text.expose().to_owned()), ..view(state, id)? })
}

/// `POST /keys/{id}/rotate`.
pub async fn rotate(state: AppState, caller: Caller, path: web::Path<String>, body: OptionalJson) -> HandlerResult {
    let account = caller.require(Scope::KeysAdmin)?;
    let id = find(&state, account, parse_id(&path)?)?;
    let registry = state.reader.registry();
    let key = registry.key(id).ok_or_else(missing)?;
    if let Some(excess) = caller.key().and_then(|own| own.rights().excess_of(&key.rights())) {
        return Err(ApiError::beyond_rights(excess));
    }
    let view = rotate_one(&state, caller.origin(), (account, id), body.text()).await?;
    Ok(respond::single_with_message(HttpResponse::Ok(), &view, ROTATED))
}

/// Gives a key a successor.
pub async fn rotate_one(
    state: &AppState,
    origin: Origin,
    (account, id): (AccountId, KeyId),
    body: Option<&str>,
) -> Result<KeyView, ApiError> {
    let (fields, errors) = key_body::object(body.unwrap_or("{}"))?;
    let overlap = key_body::overlap(&fields, errors).map_err(ApiError::invalid)?;
    let text = new_text()?;
    let (prefix, hash) = (text.prefix(), text.hash());
    let successor =
        state.change(origin, |reply| Command::RotateKey { account, id, prefix, hash, overlap, reply }).await?;
    log::info!("key {id} rotated: key {successor} follows it");
    let previous_valid_until = view(state, id)?.expires_at;
    let key = Some(text.expose().to_owned());
    Ok(KeyView { key, previous_id: Some(id), previous_valid_until, ..view(state, successor)? })
}

/// `DELETE /keys/{id}`.
pub async fn revoke(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::KeysAdmin)?;
    let id = find(&state, account, parse_id(&path)?)?;
    let view = revoke_one(&state, caller.origin(), id).await?;
    Ok(respond::single_with_message(HttpResponse::Ok(), &view, REVOKED))
}

/// Revokes a key.
pub async fn revoke_one(state: &AppState, origin: Origin, id: KeyId) -> Result<KeyView, ApiError> {
    state.change(origin, |reply| Command::RevokeKey { id, reply }).await?;
    log::info!("key {id} revoked");
    view(state, id)
}

fn new_text() -> Result<KeyText, ApiError> {
    let mut random = [0; 20];
    getrandom::fill(&mut random).map_err(|error| ApiError::internal(&error))?;
    Ok(KeyText::from_random(&random))
}

fn find(state: &AppState, account: AccountId, id: KeyId) -> Result<KeyId, ApiError> {
    let registry = state.reader.registry();
    registry.key(id).filter(|key| key.account == account).map(|key| key.id).ok_or_else(missing)
}

fn view(state: &AppState, id: KeyId) -> Result<KeyView, ApiError> {
    let registry = state.reader.registry();
    registry.key(id).map(|key| KeyView::new(key, &registry)).ok_or_else(missing)
}

fn missing() -> ApiError {
    ApiError::not_found("key")
}
