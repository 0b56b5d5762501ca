//! `/system`: how the server is, and which colours the pages have. What concerns the server as a whole is for whoever runs it.
//! Runs on the HTTP workers.

use actix_web::http::header::SET_COOKIE;
use actix_web::{HttpResponse, web};
use askama::Template;

use crate::http::api::health;
use crate::http::dashboard::answers::{Readiness, read};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, go_to, page};
use crate::http::dashboard::parts;
use crate::http::dashboard::theme::Theme;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Query;
use crate::http::request::state::HttpState;
use crate::storage::nodes::NodeStatus;
use crate::storage::read::reader::ReadView;

#[derive(Template)]
#[template(path = "system.html")]
struct SystemPage {
    frame: Frame,
    version: &'static str,
    readiness: Readiness,
    checks: Vec<(&'static str, String)>,
    whole: Option<Whole>,
    themes: [(Theme, &'static str); 3],
}

/// What concerns the whole server.
struct Whole {
    size: String,
    free: String,
    reserve: String,
    last_backup: String,
    unattempted: u64,
    retrying: u64,
    /// The servers over one database; none: one process has its store for itself.
    nodes: Vec<NodeStatus>,
}

const CHECKS: [(&str, &str); 3] = [
    ("store", "The store is writable"),
    ("threads", "All threads are running"),
    ("disk_space", "The disk has free space"),
];

/// `GET /system`.
pub async fn show(state: web::Data<HttpState>, visitor: Visitor, query: Query) -> Result<HttpResponse, ApiError> {
    let note = if query.get("done") == Some("theme") { "This browser keeps your choice." } else { "" };
    let readiness: Readiness = read(Ok(health::readyz(state.clone()).await)).await?;
    let checks = CHECKS.map(|(name, words)| (words, readiness.checks.get(name).map(parts::plain).unwrap_or_default()));
    let whole = if visitor.is_operator() { Some(whole(&state).await?) } else { None };
    page(&SystemPage {
        frame: Frame::of(&visitor, "System", "/system").with_note(note),
        version: env!("CARGO_PKG_VERSION"),
        checks: checks.to_vec(),
        readiness,
        whole,
        themes: Theme::ALL,
    })
}

/// `POST /theme`.
pub async fn choose_theme(
    state: web::Data<HttpState>,
    _visitor: Visitor,
    form: Form,
) -> Result<HttpResponse, ApiError> {
    let theme = Theme::from_name(form.text("theme"));
    let mut response = go_to("/system?done=theme");
    response.headers_mut().insert(SET_COOKIE, theme.to_header(&state.dashboard.settings)?);
    Ok(response)
}

async fn whole(state: &web::Data<HttpState>) -> Result<Whole, ApiError> {
    let pending = state.read(None, |snapshot| Ok(snapshot.backlog()?.pending)).await?;
    let last_backup = state.read(None, ReadView::last_backup).await?;
    let reader = state.reader.clone();
    // It may wait for the file system.
    let looked = web::block(move || (reader.vitals(), reader.nodes())).await;
    let (vitals, nodes) = looked.map_err(|error| ApiError::internal(&error))?;
    let size = |bytes: u64| bytesize::ByteSize(bytes).display().iec().to_string();
    Ok(Whole {
        size: size(vitals.size_bytes),
        free: vitals.free_bytes.map_or_else(|| "unknown".to_owned(), size),
        reserve: size(state.settings.free_space_reserve_bytes),
        last_backup: last_backup.map(|time| time.to_string()).unwrap_or_default(),
        unattempted: pending.unattempted,
        retrying: pending.retrying,
        nodes: nodes?.unwrap_or_default(),
    })
}
