//! The operator's route for a link that signs in to the dashboard. Runs on the control socket's worker.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::domain::access::Scope;
use crate::http::HttpState;
use crate::http::dashboard::make_link;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Caller;
use crate::http::request::respond;

/// Makes a link for the account that the query names.
pub async fn sign_in_link(state: web::Data<HttpState>, caller: Caller) -> Result<HttpResponse, ApiError> {
    let account = caller.require(Scope::WebhooksRead)?;
    let (url, valid_for) = make_link(&state, account, caller.origin().actor)?;
    let expires_at = state.clock.wall().plus(valid_for);
    Ok(respond::single(HttpResponse::Created(), &json!({"url": url, "expires_at": expires_at})))
}
