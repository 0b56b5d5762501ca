//! `/subscriptions/{id}/replay`: delivers stored events to a subscription: what is asked for, how many that would be, and
//! then the job. Runs on the HTTP workers.

use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::{Map, Value};

use crate::domain::access::Scope;
use crate::http::api::jobs;
use crate::http::dashboard::answers::{Created, One, Size, read};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, go_to, page};
use crate::http::dashboard::pages::deliveries::total;
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::pages::option_form::list;
use crate::http::dashboard::pages::subscriptions::{find, form_id};
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{JsonText, Query};
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;

#[derive(Template)]
#[template(path = "subscriptions/replay.html")]
struct ReplayPage {
    frame: Frame,
    id: u32,
    filters: Filters,
    /// How many deliveries that would be, if it was asked.
    count: Option<String>,
    problem: String,
}

/// `GET /subscriptions/{id}/replay`: the form, and with its fields in the query how many deliveries that would be.
pub async fn ask(state: AppState, visitor: Visitor, id: web::Path<String>, query: Query) -> HandlerResult {
    visitor.caller().require(Scope::WebhooksWrite)?;
    let number = find(&state, &visitor, web::Path::from(id.clone())).await?.id;
    let filters = Filters::of(query);
    let (mut count, mut problem) = (None, String::new());
    if filters.is_filtered() {
        match counted(state, &visitor, id, &filters).await {
            Ok(size) => count = Some(size),
            Err(error) if error.status() == 400 => error.message().clone_into(&mut problem),
            Err(error) => return Err(error),
        }
    }
    let frame = Frame::of(&visitor, format!("Replay to subscription {number}"), "/subscriptions");
    page(&ReplayPage { frame, id: number, filters, count, problem })
}

async fn counted(
    state: AppState,
    visitor: &Visitor,
    id: web::Path<String>,
    filters: &Filters,
) -> Result<String, ApiError> {
    let mut body = wish(filters)?;
    body.insert("dry_run".to_owned(), true.into());
    let answer = jobs::replay(state, visitor.caller(), id, JsonText::of(&body.into())).await;
    let Size { count, is_exact } = read::<One<Size>>(answer).await?.data;
    Ok(total(usize::try_from(count).unwrap_or(usize::MAX), is_exact))
}

/// `POST /subscriptions/{id}/replay`.
pub async fn replay(state: AppState, visitor: Visitor, id: web::Path<String>, form: Form) -> HandlerResult {
    form_id(&id)?;
    let pairs = form.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let body = wish(&Filters::of(Query::of(pairs)))?;
    let answer = jobs::replay(state, visitor.caller(), id, JsonText::of(&body.into())).await;
    let created: One<Created> = read(answer).await?;
    Ok(go_to(&format!("/jobs/{}", created.data.job.id)))
}

/// What is asked for, as the API takes it.
fn wish(filters: &Filters) -> Result<Map<String, Value>, ApiError> {
    let mut body = Map::new();
    let times = [("since", filters.since()?), ("until", filters.until()?)];
    body.extend(times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), time?.into()))));
    let events = list(filters.value("events"));
    if !events.is_empty() {
        body.insert("events".to_owned(), events.into());
    }
    if !filters.value("only").is_empty() {
        body.insert("only".to_owned(), filters.value("only").into());
    }
    Ok(body)
}
