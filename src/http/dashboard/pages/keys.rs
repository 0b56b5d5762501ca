//! `/keys`: the API keys of the account. A key is shown once, and never gives more than the visitor's own. Runs on the HTTP
//! workers.

use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::{Map, Value};

use crate::domain::access::Scope;
use crate::http::api::keys;
use crate::http::dashboard::answers::{Key, List, One, read};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, go_to, page};
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::pages::option_form::list as parts_of;
use crate::http::dashboard::pages::subscriptions::SecretPage;
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{JsonText, OptionalJson, Query};
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;

const SECTION: &str = "/keys";

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    keys: Vec<Key>,
    scopes: Vec<&'static str>,
    next: Option<String>,
}

/// `GET /keys`.
pub async fn list(state: AppState, visitor: Visitor, query: Query) -> HandlerResult {
    let note = if query.get("done") == Some("revoked") { keys::REVOKED } else { "" };
    let filters = Filters::of(query);
    let found: List<Key> = read(keys::list(state, visitor.caller(), filters.for_api()?).await).await?;
    let end = found.pagination.offset + found.data.len();
    page(&KeysPage {
        frame: Frame::of(&visitor, "API keys", SECTION).with_note(note),
        keys: found.data,
        scopes: Scope::ALL.map(Scope::name).to_vec(),
        next: found.pagination.has_more.then(|| filters.link(SECTION, &[("offset", &end.to_string())])),
    })
}

/// `POST /keys`.
pub async fn create(state: AppState, visitor: Visitor, form: Form) -> HandlerResult {
    let mut body = Map::new();
    body.insert("name".to_owned(), form.text("name").into());
    body.insert("scopes".to_owned(), form.all("scopes").map(Value::from).collect::<Vec<_>>().into());
    if form.has("expires") {
        body.insert("expires".to_owned(), form.text("expires").into());
    }
    if form.has("networks") {
        body.insert("networks".to_owned(), parts_of(form.text("networks")).into());
    }
    if form.has("subscriptions") {
        let numbers = parts_of(form.text("subscriptions"));
        // What is no number is told so by the API.
        let number = |text: String| text.parse::<u32>().map_or_else(|_| Value::from(text), Value::from);
        body.insert("subscriptions".to_owned(), numbers.into_iter().map(number).collect::<Vec<_>>().into());
    }
    let answer = keys::create(state, visitor.caller(), JsonText::of(&body.into())).await;
    let One { data, message } = read::<One<Key>>(answer).await?;
    show_once(&visitor, format!("Key {} created", data.id), data, message)
}

/// `POST /keys/{id}/rotate`.
pub async fn rotate(state: AppState, visitor: Visitor, path: web::Path<String>, _form: Form) -> HandlerResult {
    let answer = keys::rotate(state, visitor.caller(), path, OptionalJson::of(&Value::Object(Map::new()))).await;
    let One { data, message } = read::<One<Key>>(answer).await?;
    show_once(&visitor, format!("Key {} replaces", data.id), data, message)
}

fn show_once(visitor: &Visitor, title: String, key: Key, message: String) -> HandlerResult {
    let further =
        (!key.previous_valid_until.is_empty()).then_some(("The earlier key is valid until", key.previous_valid_until));
    page(&SecretPage {
        frame: Frame::of(visitor, title, SECTION),
        what: "API key",
        secret: key.text,
        message,
        further: further.into_iter().collect(),
        next: SECTION.to_owned(),
        next_name: "I have stored the key: continue to all keys",
    })
}

/// `POST /keys/{id}/revoke`.
pub async fn revoke(state: AppState, visitor: Visitor, path: web::Path<String>, _form: Form) -> HandlerResult {
    read::<One<Key>>(keys::revoke(state, visitor.caller(), path).await).await?;
    Ok(go_to(&format!("{SECTION}?done=revoked")))
}
