//! `/deliveries`: the list with its filters, and sending many again. Runs on the HTTP workers.

use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::{Map, Value};

use crate::domain::access::Scope;
use crate::http::api::{deliveries, event_types, jobs};
use crate::http::dashboard::answers::{Created, Delivery, EventType, List, One, Size, read};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, go_to, page};
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{JsonText, Query};
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;

/// Filters that a list has and sending many again has not.
const ONLY_OF_LISTS: [&str; 7] =
    ["response_code", "worker_id", "entry_id", "shift_id", "document_id", "location_id", "tag"];

#[derive(Template)]
#[template(path = "deliveries.html")]
struct DeliveriesPage {
    frame: Frame,
    filters: Filters,
    statuses: Vec<&'static str>,
    types: Vec<String>,
    problem: String,
    deliveries: Vec<Delivery>,
    /// How many there are, in words.
    total: String,
    first: String,
    next: Option<String>,
    /// The page that sends all of these again, where there is such a thing.
    retry: Option<String>,
    /// Where live rows come from.
    live: String,
}

#[derive(Template)]
#[template(path = "retry.html")]
struct RetryPage {
    frame: Frame,
    fields: Vec<(&'static str, String)>,
    count: String,
    back: String,
}

/// `GET /deliveries`.
pub async fn list(state: AppState, visitor: Visitor, query: Query) -> HandlerResult {
    let filters = Filters::of(query);
    let asked = match filters.for_api() {
        Ok(query) => read(deliveries::list(state.clone(), visitor.caller(), query).await).await,
        Err(error) => Err(error),
    };
    let (found, problem) = shown(asked)?;
    let types: List<EventType> = read(event_types::list(state.clone(), visitor.caller()).await).await?;
    let next = found.pagination.next_cursor.filter(|_| found.pagination.has_more);
    let next = next.map(|cursor| filters.link("/deliveries", &[("cursor", &cursor)]));
    let may_retry = visitor.may(Scope::WebhooksWrite) && !filters.has_any(&ONLY_OF_LISTS);
    let can_be_retried = matches!(filters.value("status"), "exhausted" | "expired" | "delivered" | "cancelled");
    let retry = (may_retry && can_be_retried).then(|| filters.link("/deliveries/retry", &[]));
    page(&DeliveriesPage {
        frame: Frame::of(&visitor, "Deliveries", "/deliveries"),
        statuses: deliveries::status_filters().collect(),
        types: types.data.into_iter().map(|known| known.name).collect(),
        problem,
        total: total(found.pagination.total, found.pagination.total_is_exact),
        deliveries: found.data,
        first: filters.link("/deliveries", &[]),
        next,
        retry,
        live: filters.link("/deliveries/live", &[]),
        filters,
    })
}

/// A list, or an empty one with what is wrong with its filters.
pub fn shown<T>(asked: Result<List<T>, ApiError>) -> Result<(List<T>, String), ApiError> {
    match asked {
        Ok(found) => Ok((found, String::new())),
        Err(error) if error.status() == 400 => Ok((List::empty(), error.message().to_owned())),
        Err(error) => Err(error),
    }
}

/// How many rows a list has, in words.
#[must_use]
pub fn total(count: usize, is_exact: bool) -> String {
    let shown = parts::number(&(count as u64));
    if is_exact { shown } else { format!("{shown} or more") }
}

/// `GET /deliveries/retry`: how many that would be, and whether to.
pub async fn ask_to_retry(state: AppState, visitor: Visitor, query: Query) -> HandlerResult {
    let filters = Filters::of(query);
    if filters.has_any(&ONLY_OF_LISTS) {
        let message = "a redelivery of many can only be filtered by status, event type, subscription and days";
        return Err(ApiError::invalid_field("filters", message));
    }
    let fields = [
        ("subscription", filters.value("subscription").to_owned()),
        ("status", filters.value("status").to_owned()),
        ("event", filters.value("event").to_owned()),
        ("since", filters.since()?.unwrap_or_else(|| filters.value("since").to_owned())),
        ("until", filters.until()?.unwrap_or_else(|| filters.value("until").to_owned())),
    ];
    let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut body = selection(fields.iter().map(|(name, value)| (*name, value.as_str())))?;
    body.insert("dry_run".to_owned(), true.into());
    let answer = jobs::retry(state, visitor.caller(), JsonText::of(&body.into())).await;
    let Size { count, is_exact } = read::<One<Size>>(answer).await?.data;
    page(&RetryPage {
        frame: Frame::of(&visitor, "Redeliver", "/deliveries"),
        fields,
        count: total(usize::try_from(count).unwrap_or(usize::MAX), is_exact),
        back: filters.link("/deliveries", &[]),
    })
}

/// `POST /deliveries/retry`.
pub async fn retry(state: AppState, visitor: Visitor, form: Form) -> HandlerResult {
    let body = selection(form.pairs())?;
    let answer = jobs::retry(state, visitor.caller(), JsonText::of(&body.into())).await;
    let created: One<Created> = read(answer).await?;
    Ok(go_to(&format!("/jobs/{}", created.data.job.id)))
}

/// Which deliveries are meant, as the API takes it.
fn selection<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Map<String, Value>, ApiError> {
    let mut body = Map::new();
    for (name, text) in fields {
        let value: Value = match name {
            "subscription" => {
                let number: Result<u32, _> = text.parse();
                number.map_err(|_| ApiError::invalid_field(name, "must be a subscription's number"))?.into()
            }
            _ => text.into(),
        };
        body.insert(name.to_owned(), value);
    }
    Ok(body)
}
