//! `/webhooks.php`, as `TempClock`'s clients call it: id and action in the query, the rest as in `subscriptions`. Runs
//! on the HTTP workers.

use actix_web::{FromRequest as _, HttpRequest, HttpResponse, web};

use crate::domain::SubscriptionId;
use crate::domain::access::Scope;
use crate::http::api::{subscriptions, test_ping};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, JsonText, OptionalJson, Query};
use crate::http::request::state::HttpState;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

fn required_id(query: &Query) -> Result<SubscriptionId, ApiError> {
    let id = query.get("id").ok_or_else(|| ApiError::invalid_field("id", "is missing from the query"))?;
    let id: u32 = id.parse().map_err(|_| ApiError::invalid_field("id", "must be an integer"))?;
    Ok(SubscriptionId(id))
}

pub async fn get(state: AppState, caller: Caller, query: Query) -> HandlerResult {
    if query.get("id").is_none() {
        return subscriptions::list(state, caller, query).await;
    }
    let account = caller.require(Scope::WebhooksRead)?;
    subscriptions::read_one(&state, caller.counted_account(), account, caller.seen(required_id(&query)?)?).await
}

pub async fn post(
    state: AppState,
    caller: Caller,
    query: Query,
    request: HttpRequest,
    payload: web::Payload,
) -> HandlerResult {
    match query.get("action") {
        None => {
            let body = JsonText::from_request(&request, &mut payload.into_inner()).await?;
            subscriptions::create(state, caller, body).await
        }
        Some("test") => {
            let account = caller.require(Scope::WebhooksWrite)?;
            let id = caller.seen(required_id(&query)?)?;
            let body = OptionalJson::from_request(&request, &mut payload.into_inner()).await?;
            test_ping::test_one(&state, account, id, query, &body).await
        }
        Some(_) => Err(ApiError::invalid_field("action", "must be \"test\"; omit it to create a subscription")),
    }
}

pub async fn put(state: AppState, caller: Caller, query: Query, body: JsonText) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    subscriptions::update_one(&state, &caller, account, caller.seen(required_id(&query)?)?, &body).await
}

pub async fn delete(state: AppState, caller: Caller, query: Query) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    subscriptions::delete_one(&state, &caller, account, caller.seen(required_id(&query)?)?).await
}
