//! Is the process up, and is it ready for work? Open to everybody, so neither tells anything else. Runs on the HTTP
//! workers.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::respond;
use super::state::HttpState;
use crate::storage::writer::free_bytes;

pub async fn healthz() -> HttpResponse {
    respond::json(&mut HttpResponse::Ok(), &json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

pub async fn readyz(state: web::Data<HttpState>) -> HttpResponse {
    let word = |is_well: bool| if is_well { "ok" } else { "failed" };
    let has_store = state.vitals.has_store();
    let has_threads = state.dispatcher.has_all_threads();
    let reserve = state.settings.free_space_reserve_bytes;
    let has_space = free_bytes(&state.settings.data_dir).is_none_or(|free| free >= reserve);
    let accepts = state.vitals.accepts();
    let is_ready = has_store && has_threads && has_space && accepts;
    let body = json!({
        "status": if !accepts { "stopping" } else if is_ready { "ready" } else { "not_ready" },
        "checks": {"store": word(has_store), "threads": word(has_threads), "disk_space": word(has_space)},
    });
    let mut response = if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    respond::json(&mut response, &body)
}
