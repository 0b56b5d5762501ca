//! `/subscriptions/new` and `/subscriptions/{id}/edit`: one form with every option. What is wrong is said by the API, and
//! shown beside the field. Runs on the HTTP workers.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::{Map, Value};

use crate::domain::FieldError;
use crate::domain::access::Scope;
use crate::http::api::{event_types, option_schemas, subscriptions};
use crate::http::dashboard::answers::{EventType, List, One, Subscription, read};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, go_to, page, page_with};
use crate::http::dashboard::pages::option_form::{self, Field};
use crate::http::dashboard::pages::subscriptions::{SecretPage, find};
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::JsonText;
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;

const SECTION: &str = "/subscriptions";
/// The event types beside those that have a box.
const FURTHER: &str = "further_events";

#[derive(Template)]
#[template(path = "subscriptions/form.html")]
struct FormPage {
    frame: Frame,
    /// Of the one that is changed.
    id: Option<u32>,
    action: String,
    url: String,
    description: String,
    types: Vec<(EventType, bool)>,
    is_every_type: bool,
    further_events: String,
    options: Vec<Field>,
    /// What is wrong, each with the field that it concerns.
    problems: Vec<FieldError>,
    message: String,
}

/// What is wrong with what was sent.
struct Wrong {
    status: u16,
    message: String,
    problems: Vec<FieldError>,
}

impl Wrong {
    fn of(error: &ApiError) -> Self {
        Self { status: error.status(), message: error.message().to_owned(), problems: error.fields().to_vec() }
    }

    fn with(problems: Vec<FieldError>) -> Self {
        Self { status: 400, message: "Some fields could not be read.".to_owned(), problems }
    }
}

/// `GET /subscriptions/new`.
pub async fn new(state: AppState, visitor: Visitor) -> HandlerResult {
    visitor.caller().require(Scope::WebhooksWrite)?;
    show(&state, &visitor, None, &Value::Null, None).await
}

/// `POST /subscriptions/new`.
pub async fn create(state: AppState, visitor: Visitor, form: Form) -> HandlerResult {
    let body = match sent(&form) {
        Ok(body) => body,
        Err((body, problems)) => return show(&state, &visitor, None, &body, Some(Wrong::with(problems))).await,
    };
    let mut kept = body.clone();
    // Defaults are the API's to know.
    if let Some(fields) = kept.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
        let secret = form.text("secret");
        if !secret.is_empty() {
            fields.insert("secret".to_owned(), secret.into());
        }
    }
    match read(subscriptions::create(state.clone(), visitor.caller(), JsonText::of(&kept)).await).await {
        Ok(One { data: Subscription { id, secret, .. }, message }) => page(&SecretPage {
            frame: Frame::of(&visitor, format!("Subscription {id} created"), SECTION),
            what: "Signing secret",
            secret,
            message,
            further: Vec::new(),
            next: format!("{SECTION}/{id}"),
            next_name: "I have stored the secret: continue to the subscription and send a test ping",
        }),
        Err(error) if is_of_form(&error) => show(&state, &visitor, None, &body, Some(Wrong::of(&error))).await,
        Err(error) => Err(error),
    }
}

/// `GET /subscriptions/{id}/edit`.
pub async fn edit(state: AppState, visitor: Visitor, id: web::Path<String>) -> HandlerResult {
    visitor.caller().require(Scope::WebhooksWrite)?;
    let subscription = find(&state, &visitor, id).await?;
    show(&state, &visitor, Some(subscription.id), &values(&subscription), None).await
}

/// `POST /subscriptions/{id}/edit`: sends what differs, so that what somebody else changed meanwhile stays.
pub async fn update(state: AppState, visitor: Visitor, id: web::Path<String>, form: Form) -> HandlerResult {
    let stored = find(&state, &visitor, web::Path::from(id.clone())).await?;
    let number = stored.id;
    let body = match sent(&form) {
        Ok(body) => body,
        Err((body, problems)) => return show(&state, &visitor, Some(number), &body, Some(Wrong::with(problems))).await,
    };
    let mut changed = body.clone();
    let before = values(&stored);
    if let Some(fields) = changed.as_object_mut() {
        fields.retain(|name, value| before[name.as_str()] != *value);
    }
    let answer = subscriptions::update(state.clone(), visitor.caller(), id, JsonText::of(&changed)).await;
    match read::<One<Value>>(answer).await {
        Ok(_) => Ok(go_to(&format!("{SECTION}/{number}?done=changed"))),
        Err(error) if is_of_form(&error) => show(&state, &visitor, Some(number), &body, Some(Wrong::of(&error))).await,
        Err(error) => Err(error),
    }
}

/// Whether the visitor can put it right in the form.
fn is_of_form(error: &ApiError) -> bool {
    matches!(error.status(), 400 | 409)
}

/// What the form shows of a subscription, in the API's shape.
fn values(subscription: &Subscription) -> Value {
    let mut values = subscription.further.clone();
    let Subscription { url, description, events, .. } = subscription;
    values.insert("url".to_owned(), url.as_str().into());
    values.insert("description".to_owned(), description.as_str().into());
    values.insert("events".to_owned(), events.clone().into());
    Value::Object(values)
}

/// What the form sent, in the API's shape; null for what is left empty. With what cannot be read, all the rest.
fn sent(form: &Form) -> Result<Value, (Value, Vec<FieldError>)> {
    let (mut body, mut problems) = (Map::new(), Vec::new());
    let chosen = form.all("events").map(str::to_owned).chain(option_form::list(form.text(FURTHER)));
    body.insert("url".to_owned(), form.text("url").into());
    body.insert("description".to_owned(), form.text("description").into());
    body.insert("events".to_owned(), chosen.collect::<Vec<_>>().into());
    for (name, schema) in option_schemas::all() {
        match option_form::value(name, &schema, form) {
            Ok(value) => drop(body.insert(name.to_owned(), value)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(body.into()) } else { Err((body.into(), problems)) }
}

async fn show(
    state: &AppState,
    visitor: &Visitor,
    id: Option<u32>,
    values: &Value,
    wrong: Option<Wrong>,
) -> HandlerResult {
    let known: List<EventType> = read(event_types::list(state.clone(), visitor.caller()).await).await?;
    let text = |name: &str| values[name].as_str().unwrap_or_default().to_owned();
    let events: Vec<&str> = values["events"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let has = |name: &str| events.contains(&name);
    let has_box = |name: &str| name == "*" || known.data.iter().any(|known| known.name == name);
    let further = events.iter().filter(|name| !has_box(name)).copied().collect::<Vec<_>>().join(", ");
    let is_every_type = has("*");
    let Wrong { status, message, problems } =
        wrong.unwrap_or_else(|| Wrong { status: 200, message: String::new(), problems: Vec::new() });
    let options = option_schemas::all();
    let options = options.iter().map(|(name, schema)| Field::of(name, schema, &values[*name], &problems)).collect();
    let (title, action) = match id {
        Some(id) => (format!("Change subscription {id}"), format!("{SECTION}/{id}/edit")),
        None => ("New subscription".to_owned(), format!("{SECTION}/new")),
    };
    let shown = FormPage {
        frame: Frame::of(visitor, title, SECTION),
        id,
        action,
        url: text("url"),
        description: text("description"),
        is_every_type,
        further_events: further,
        types: known
            .data
            .iter()
            .map(|known| has(&known.name))
            .collect::<Vec<_>>()
            .into_iter()
            .zip(known.data)
            .map(|(is, known)| (known, is))
            .collect(),
        options,
        problems,
        message,
    };
    match StatusCode::from_u16(status) {
        Ok(status) if status != StatusCode::OK => page_with(HttpResponse::build(status), &shown),
        _ => page(&shown),
    }
}

impl FormPage {
    /// What is wrong with one of the form's own fields.
    fn problem(&self, name: &str) -> String {
        let is_meant = |error: &&FieldError| {
            error.field == name || error.field.strip_prefix(name).is_some_and(|rest| rest.starts_with('['))
        };
        self.problems.iter().filter(is_meant).map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ")
    }
}
