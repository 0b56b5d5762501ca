//! `/subscriptions`: the list, one subscription, and what can be done with it: test, pause, resume, rotate its secret,
//! delete. Runs on the HTTP workers.

use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::{Value, json};

use crate::domain::SubscriptionId;
use crate::domain::access::Scope;
use crate::http::api::subscription_tools::rotation;
use crate::http::api::{option_schemas, subscriptions, test_ping};
use crate::http::dashboard::answers::{Attempt, List, One, Rotated, Subscription, TestResult, read};
use crate::http::dashboard::chart::{self, Chart, Total};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, go_to, page};
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{JsonText, OptionalJson, Query};
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;
type Id = web::Path<String>;

const SECTION: &str = "/subscriptions";

#[derive(Template)]
#[template(path = "subscriptions/list.html")]
struct SubscriptionsPage {
    frame: Frame,
    /// Each with what it attempted in the last 24 hours.
    subscriptions: Vec<(Subscription, Total)>,
    total: usize,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "subscriptions/one.html")]
struct SubscriptionPage {
    frame: Frame,
    subscription: Subscription,
    /// The options that were set, as text.
    options: Vec<(&'static str, String)>,
    attempts: Vec<Attempt>,
    chart: Chart,
}

#[derive(Template)]
#[template(path = "subscriptions/test_result.html")]
struct TestPage {
    frame: Frame,
    id: u32,
    result: TestResult,
    message: String,
}

/// A page with something that is shown once.
#[derive(Template)]
#[template(path = "secret.html")]
pub struct SecretPage {
    pub frame: Frame,
    /// What it is.
    pub what: &'static str,
    pub secret: String,
    pub message: String,
    /// What else there is to say, with its value.
    pub further: Vec<(&'static str, String)>,
    /// Where to go on.
    pub next: String,
    pub next_name: &'static str,
}

#[derive(Template)]
#[template(path = "subscriptions/rotate.html")]
struct RotatePage {
    frame: Frame,
    id: u32,
}

#[derive(Template)]
#[template(path = "subscriptions/delete.html")]
struct DeletePage {
    frame: Frame,
    subscription: Subscription,
}

/// What is said after something was done.
fn note(query: &Query) -> &'static str {
    match query.get("done") {
        Some("changed") => "Subscription changed.",
        Some("on") => "Subscription enabled. Its pending deliveries are due now.",
        Some("off") => "Subscription disabled. Its deliveries are held until it is enabled.",
        Some("deleted") => "Subscription deleted.",
        _ => "",
    }
}

/// `GET /subscriptions`.
pub async fn list(state: AppState, visitor: Visitor, query: Query) -> HandlerResult {
    let note = note(&query);
    let filters = Filters::of(query);
    let (history, now) = (state.dashboard.activity.history(), state.clock.wall());
    let asked = subscriptions::list(state, visitor.caller(), filters.for_api()?).await;
    let found: List<Subscription> = read(asked).await?;
    let end = found.pagination.offset + found.data.len();
    let with_last_day = found.data.into_iter().map(|subscription| {
        let total = Total::of(&history.last_day_of(SubscriptionId(subscription.id), now));
        (subscription, total)
    });
    page(&SubscriptionsPage {
        frame: Frame::of(&visitor, "Subscriptions", SECTION).with_note(note),
        total: found.pagination.total,
        next: found.pagination.has_more.then(|| filters.link(SECTION, &[("offset", &end.to_string())])),
        subscriptions: with_last_day.collect(),
    })
}

/// One subscription, as the API shows it to the visitor.
pub async fn find(state: &AppState, visitor: &Visitor, id: Id) -> Result<Subscription, ApiError> {
    let answer = subscriptions::read(state.clone(), visitor.caller(), id).await;
    Ok(read::<One<Subscription>>(answer).await?.data)
}

/// `GET /subscriptions/{id}`.
pub async fn show(state: AppState, visitor: Visitor, id: Id, query: Query) -> HandlerResult {
    let mut subscription = find(&state, &visitor, id).await?;
    let further = &subscription.further;
    let options = option_schemas::all().into_iter().filter_map(|(name, _)| {
        let value = further.get(name).filter(|value| !value.is_null())?;
        Some((name, if value.is_object() { parts::indented(&value.to_string()) } else { parts::plain(value) }))
    });
    let options = options.collect();
    let id = SubscriptionId(subscription.id);
    let (history, path) = (state.dashboard.activity.history(), format!("{SECTION}/{id}"));
    let chart = Chart::of(&history, state.clock.wall(), query.get(chart::RANGE), &path, |wanted| wanted == id);
    page(&SubscriptionPage {
        frame: Frame::of(&visitor, format!("Subscription {}", subscription.id), SECTION).with_note(note(&query)),
        options,
        attempts: std::mem::take(&mut subscription.recent_deliveries),
        chart,
        subscription,
    })
}

/// `POST /subscriptions/{id}/active`.
pub async fn set_active(state: AppState, visitor: Visitor, id: Id, form: Form) -> HandlerResult {
    let wanted = form.text("active") == "true";
    let back = format!("{SECTION}/{}?done={}", form_id(&id)?, if wanted { "on" } else { "off" });
    let body = JsonText::of(&json!({"active": wanted}));
    read::<One<Value>>(subscriptions::update(state, visitor.caller(), id, body).await).await?;
    Ok(go_to(&back))
}

/// The number in a path, for the path to go back to.
pub fn form_id(id: &Id) -> Result<u32, ApiError> {
    subscriptions::parse_id(id).map(|id| id.0)
}

/// `POST /subscriptions/{id}/test`.
pub async fn test(state: AppState, visitor: Visitor, id: Id, form: Form) -> HandlerResult {
    let number = form_id(&id)?;
    let pairs = if form.has("newest") { vec![("secret".to_owned(), test_ping::NEWEST.to_owned())] } else { Vec::new() };
    let body = OptionalJson::of(&json!({"verify": form.has("verify")}));
    let answer = test_ping::test(state, visitor.caller(), id, Query::of(pairs), body).await;
    let One { data, message } = read(answer).await?;
    let frame = Frame::of(&visitor, "Test ping", SECTION);
    page(&TestPage { frame, id: number, result: data, message })
}

/// `GET /subscriptions/{id}/rotate`.
pub async fn ask_to_rotate(state: AppState, visitor: Visitor, id: Id) -> HandlerResult {
    visitor.caller().require(Scope::WebhooksWrite)?;
    let subscription = find(&state, &visitor, id).await?;
    page(&RotatePage { frame: Frame::of(&visitor, "Rotate the secret", SECTION), id: subscription.id })
}

/// `POST /subscriptions/{id}/rotate`.
pub async fn rotate(state: AppState, visitor: Visitor, id: Id, form: Form) -> HandlerResult {
    let number = form_id(&id)?;
    let given = [("overlap", form.text("overlap")), ("secret", form.text("secret"))];
    let given = given.into_iter().filter(|(_, text)| !text.is_empty());
    let body: serde_json::Map<_, _> = given.map(|(name, text)| (name.to_owned(), text.into())).collect();
    let answer = rotation::rotate(state, visitor.caller(), id, OptionalJson::of(&body.into())).await;
    let One { data: Rotated { secret, previous_valid_until }, message } = read(answer).await?;
    page(&SecretPage {
        frame: Frame::of(&visitor, "The new secret", SECTION),
        what: "Signing secret",
        secret,
        message,
        further: vec![("The earlier secret is valid until", previous_valid_until)],
        next: format!("{SECTION}/{number}"),
        next_name: "I have stored the secret: continue to the subscription",
    })
}

/// `GET /subscriptions/{id}/delete`.
pub async fn ask_to_delete(state: AppState, visitor: Visitor, id: Id) -> HandlerResult {
    visitor.caller().require(Scope::WebhooksWrite)?;
    let subscription = find(&state, &visitor, id).await?;
    page(&DeletePage { frame: Frame::of(&visitor, "Delete the subscription", SECTION), subscription })
}

/// `POST /subscriptions/{id}/delete`.
pub async fn delete(state: AppState, visitor: Visitor, id: Id, _form: Form) -> HandlerResult {
    read::<One<Value>>(subscriptions::delete(state, visitor.caller(), id).await).await?;
    Ok(go_to(&format!("{SECTION}?done=deleted")))
}
