//! `/audit`: who changed what. Runs on the HTTP workers.

use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::{Map, Value};

use crate::http::api::audit;
use crate::http::dashboard::answers::{Actor, AuditRecord, read};
use crate::http::dashboard::frame::{Frame, page};
use crate::http::dashboard::pages::deliveries::{shown, total};
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Query;
use crate::http::request::state::HttpState;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    filters: Filters,
    problem: String,
    records: Vec<Shown>,
    total: String,
    first: String,
    next: Option<String>,
}

/// A record, to be read.
struct Shown {
    who: String,
    record: AuditRecord,
    /// Name, before, after.
    changes: Vec<(String, String, String)>,
}

/// `GET /audit`.
pub async fn list(state: web::Data<HttpState>, visitor: Visitor, query: Query) -> Result<HttpResponse, ApiError> {
    let filters = Filters::of(query);
    let asked = match filters.for_api() {
        Ok(query) => read(audit::list(state, visitor.caller(), query).await).await,
        Err(error) => Err(error),
    };
    let (found, problem) = shown::<AuditRecord>(asked)?;
    let next = found.pagination.next_cursor.filter(|_| found.pagination.has_more);
    page(&AuditPage {
        frame: Frame::of(&visitor, "Audit", "/audit"),
        problem,
        records: found.data.into_iter().map(Shown::of).collect(),
        total: total(found.pagination.total, found.pagination.total_is_exact),
        first: filters.link("/audit", &[]),
        next: next.map(|cursor| filters.link("/audit", &[("cursor", &cursor)])),
        filters,
    })
}

impl Shown {
    fn of(record: AuditRecord) -> Self {
        let Actor { key_id, key_prefix, user } = &record.actor;
        let who = match (key_id, user) {
            (Some(id), _) => format!("key {id} ({})", key_prefix.as_deref().unwrap_or_default()),
            (None, Some(user)) => format!("{user}, the operator"),
            (None, None) => String::new(),
        };
        let none = Map::new();
        let (before, after) = (record.before.as_ref().unwrap_or(&none), record.after.as_ref().unwrap_or(&none));
        let text = |fields: &Map<String, Value>, name: &str| {
            fields.get(name).filter(|value| !value.is_null()).map(parts::plain).unwrap_or_default()
        };
        let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let changes = names.into_iter().map(|name| (name.clone(), text(before, name), text(after, name)));
        // What was never given says nothing.
        let changes = changes.filter(|(_, before, after)| !before.is_empty() || !after.is_empty()).collect();
        Self { who, record, changes }
    }
}
