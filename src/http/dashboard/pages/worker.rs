//! `/evidence` and `/erasures`: what can be told of a worker and sent to others, and how a worker is forgotten. Runs on the
//! HTTP workers.

use actix_web::http::header::{CONTENT_DISPOSITION, HeaderValue};
use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::json;

use crate::domain::access::Scope;
use crate::http::api::evidence;
use crate::http::api::jobs::erasure;
use crate::http::dashboard::answers::{CreatedErasure, One, read};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, page};
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{JsonText, Query};
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;

const TABLE: HeaderValue = HeaderValue::from_static("attachment; filename=\"evidence.csv\"");
const LINES: HeaderValue = HeaderValue::from_static("attachment; filename=\"evidence.ndjson\"");

#[derive(Template)]
#[template(path = "events/erase.html")]
struct ErasePage {
    frame: Frame,
    worker: String,
}

#[derive(Template)]
#[template(path = "events/erased.html")]
struct ErasedPage {
    frame: Frame,
    created: CreatedErasure,
    message: String,
}

/// `GET /evidence`: the API's stream as a file.
pub async fn evidence(state: AppState, visitor: Visitor, query: Query) -> HandlerResult {
    let filters = Filters::of(query);
    let mut response = evidence::stream(state, visitor.caller(), filters.for_api()?).await?;
    let file = if filters.value("format") == "csv" { TABLE } else { LINES };
    response.headers_mut().insert(CONTENT_DISPOSITION, file);
    Ok(response)
}

/// `GET /erasures`: what it means, and whether to.
pub async fn ask_to_erase(visitor: Visitor, query: Query) -> HandlerResult {
    visitor.caller().require(Scope::EventsErase)?;
    let worker = query.get("worker_id").unwrap_or_default().to_owned();
    page(&ErasePage { frame: Frame::of(&visitor, "Erase a worker's events", "/events"), worker })
}

/// `POST /erasures`.
pub async fn erase(state: AppState, visitor: Visitor, form: Form) -> HandlerResult {
    let body = json!({"worker_id": form.text("worker_id"), "deliver_pending": form.has("deliver_pending")});
    let One { data, message } = read(erasure::create(state, visitor.caller(), JsonText::of(&body)).await).await?;
    page(&ErasedPage { frame: Frame::of(&visitor, "Erasure started", "/events"), created: data, message })
}
