//! The audit: who changed what. Runs on the HTTP workers.

use std::net::IpAddr;

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::access::Scope;
use crate::domain::audit::{Actor, AuditRecord};
use crate::domain::{AuditId, KeyId, Timestamp};
use crate::http::api::events::time;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, Query};
use crate::http::request::respond::{self, Pagination};
use crate::http::request::state::HttpState;
use crate::storage::read::reader::PAGE_BYTES;

/// A change, and who made it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditRecord")]
pub struct AuditView {
    id: AuditId,
    /// The action.
    #[schemars(example = &"subscription.updated")]
    action: String,
    /// The id of the changed object; the action says what kind it is.
    #[schemars(example = &"1")]
    object: String,
    actor: ActorView,
    /// The request id, as in the server's log.
    #[schemars(example = &"req_5f2b8c1d9e3a4f60718293a4")]
    request_id: String,
    /// The address that the request came from; null for a command on the server.
    #[schemars(with = "Option<String>", example = &"203.0.113.7")]
    source_address: Option<IpAddr>,
    /// The changed fields before the change; null if something was created.
    #[schemars(with = "Option<Map<String, Value>>")]
    before: Option<Map<String, Value>>,
    /// The changed fields after the change, without secrets; null if something was deleted.
    #[schemars(with = "Option<Map<String, Value>>")]
    after: Option<Map<String, Value>>,
    /// When the change was made.
    created_at: Timestamp,
}

/// Who made a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditActor")]
struct ActorView {
    /// The number of the API key; null for a command on the server.
    #[schemars(example = 1)]
    key_id: Option<KeyId>,
    /// The visible beginning of the API key.
    #[schemars(example = &"tc_live_5d9e")]
    key_prefix: Option<String>,
    /// The user on the server's machine; only for a command.
    #[schemars(example = &"anna")]
    user: Option<String>,
}

impl From<AuditRecord> for AuditView {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { id, origin, change } = record;
        let actor = match origin.actor {
            Actor::Key { id, prefix } => ActorView { key_id: Some(id), key_prefix: Some(prefix), user: None },
            Actor::Operator { user } => ActorView { key_id: None, key_prefix: None, user: Some(user) },
        };
        Self {
            id,
            action: change.action,
            object: change.object,
            actor,
            request_id: origin.request_id,
            source_address: origin.source,
            before: change.before,
            after: change.after,
            created_at: id.time(),
        }
    }
}

pub async fn list(state: web::Data<HttpState>, caller: Caller, mut query: Query) -> Result<HttpResponse, ApiError> {
    let account = caller.require(Scope::AuditRead)?;
    let request = query.page(AuditId::parse);
    let span = (time(&mut query, "since"), time(&mut query, "until"));
    query.finish()?;
    let counted = caller.counted_account();
    let found = state.read_much(counted, 2 * PAGE_BYTES, move |snapshot| snapshot.audit(account, span, request));
    let (mut page, memory) = found.await?;
    let views: Vec<AuditView> = page.items.drain(..).map(|(_, record)| record.into()).collect();
    Ok(memory.until_sent(respond::list(&views, &Pagination::of(&page, request))))
}
