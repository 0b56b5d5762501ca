//! `/events` and `/event-types`: what was published, found by worker and other ids, and what can be. Runs on the HTTP
//! workers.

use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::Value;

use crate::domain::access::Scope;
use crate::http::api::{event_types, events};
use crate::http::dashboard::answers::{Event, EventType, List, One, read};
use crate::http::dashboard::frame::{Frame, page};
use crate::http::dashboard::pages::deliveries::{shown, total};
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Query;
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;

#[derive(Template)]
#[template(path = "events/list.html")]
struct EventsPage {
    frame: Frame,
    filters: Filters,
    types: Vec<String>,
    problem: String,
    events: Vec<Event>,
    total: String,
    first: String,
    next: Option<String>,
    may_erase: bool,
}

#[derive(Template)]
#[template(path = "events/one.html")]
struct EventPage {
    frame: Frame,
    event: Event,
    data: String,
}

#[derive(Template)]
#[template(path = "events/types.html")]
struct TypesPage {
    frame: Frame,
    types: Vec<Described>,
}

/// An event type, with JSON to be read.
struct Described {
    name: String,
    description: String,
    example: String,
    schema: String,
}

/// `GET /events`.
pub async fn list(state: AppState, visitor: Visitor, query: Query) -> HandlerResult {
    let filters = Filters::of(query);
    let asked = match filters.for_api() {
        Ok(query) => read(events::list(state.clone(), visitor.caller(), query).await).await,
        Err(error) => Err(error),
    };
    let (found, problem) = shown::<Event>(asked)?;
    let types: List<EventType> = read(event_types::list(state, visitor.caller()).await).await?;
    let next = found.pagination.next_cursor.filter(|_| found.pagination.has_more);
    page(&EventsPage {
        frame: Frame::of(&visitor, "Events", "/events"),
        types: types.data.into_iter().map(|known| known.name).collect(),
        problem,
        total: total(found.pagination.total, found.pagination.total_is_exact),
        events: found.data,
        first: filters.link("/events", &[]),
        next: next.map(|cursor| filters.link("/events", &[("cursor", &cursor)])),
        may_erase: visitor.may(Scope::EventsErase),
        filters,
    })
}

/// `GET /events/{id}`.
pub async fn show(state: AppState, visitor: Visitor, path: web::Path<String>) -> HandlerResult {
    let found: One<Event> = read(events::read(state, visitor.caller(), path).await).await?;
    let data = found.data.data.as_ref().map(|data| parts::indented(data.get())).unwrap_or_default();
    page(&EventPage { frame: Frame::of(&visitor, "Event", "/events"), event: found.data, data })
}

/// `GET /event-types`.
pub async fn types(state: AppState, visitor: Visitor) -> HandlerResult {
    let types: List<EventType> = read(event_types::list(state, visitor.caller()).await).await?;
    let indented = |value: &Value| parts::indented(&value.to_string());
    let describe = |EventType { name, description, example, schema }| Described {
        name,
        description,
        example: indented(&example),
        schema: indented(&schema),
    };
    let types = types.data.into_iter().map(describe).collect();
    page(&TypesPage { frame: Frame::of(&visitor, "Event types", "/event-types"), types })
}
