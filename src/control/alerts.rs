//! The operator's route for alerts: how many wait, and how each way does. Runs on the control socket's worker.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::http::HttpState;
use crate::http::request::error::ApiError;
use crate::http::request::respond;
use crate::notify::status::WaysStatus;

pub async fn show(state: web::Data<HttpState>, ways: web::Data<WaysStatus>) -> Result<HttpResponse, ApiError> {
    let waiting = state.read(None, |snapshot| Ok(snapshot.notices()?.len())).await?;
    Ok(respond::single(HttpResponse::Ok(), &json!({"waiting": waiting, "ways": ways.all()})))
}
