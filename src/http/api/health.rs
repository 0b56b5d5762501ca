//! Is the process up, and is it ready for work? Open to everybody, so neither tells anything else, and both cost the same
//! however many ask. Runs on the HTTP workers; the disk is asked beside them.

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::request::respond;
use crate::http::request::state::HttpState;

/// The process is up.
#[derive(Serialize, JsonSchema)]
pub struct Health {
    #[schemars(extend("const" = "ok"))]
    status: &'static str,
    /// The version of the server.
    #[schemars(example = VERSION)]
    version: &'static str,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether the server is ready for work.
#[derive(Serialize, JsonSchema)]
pub struct Readiness {
    #[schemars(extend("enum" = ["ready", "not_ready", "stopping"]))]
    status: &'static str,
    checks: Checks,
}

/// What readiness depends on.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Checks {
    /// The store can be written.
    #[schemars(extend("enum" = WORDS))]
    store: &'static str,
    /// Every thread is alive.
    #[schemars(extend("enum" = WORDS))]
    threads: &'static str,
    /// The disk has more free space than the reserve.
    #[schemars(extend("enum" = WORDS))]
    disk_space: &'static str,
}

const OK: &str = "ok";
const FAILED: &str = "failed";
const WORDS: [&str; 2] = [OK, FAILED];

/// What is said of a server on standby, which is as ready as the active one, if there is one.
pub fn on_standby(has_active: bool) -> HttpResponse {
    let (status, store) = if has_active { ("ready", OK) } else { ("not_ready", FAILED) };
    let checks = Checks { store, threads: OK, disk_space: OK };
    let mut response = if has_active { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    respond::json(&mut response, &Readiness { status, checks })
}

pub async fn healthz() -> HttpResponse {
    respond::json(&mut HttpResponse::Ok(), &Health { status: OK, version: VERSION })
}

pub async fn readyz(state: web::Data<HttpState>) -> HttpResponse {
    let word = |is_well: bool| if is_well { OK } else { FAILED };
    let has_store = state.vitals.has_store() && state.reader.lease().is_held();
    let has_threads = state.dispatcher.has_all_threads();
    let reserve = state.settings.free_space_reserve_bytes;
    let has_space = state.free_space.bytes().await.is_none_or(|free| free >= reserve);
    let accepts = state.vitals.accepts();
    let is_ready = has_store && has_threads && has_space && accepts;
    let body = Readiness {
        status: if !accepts {
            "stopping"
        } else if is_ready {
            "ready"
        } else {
            "not_ready"
        },
        checks: Checks { store: word(has_store), threads: word(has_threads), disk_space: word(has_space) },
    };
    let mut response = if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    respond::json(&mut response, &body)
}
