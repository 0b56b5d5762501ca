//! Whether this process may answer: if its lease on the store has run out, another one may have taken over, and what this one
//! knows of keys and subscriptions may be out of date. Runs on the HTTP workers.

use std::time::{Duration, Instant};

use actix_web::dev::ServiceRequest;
use actix_web::web;

use crate::http::request::error::ApiError;
use crate::http::request::state::HttpState;

/// For how long a request waits until this process may answer again, as a commit waits for its database.
const WAIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// After how many seconds it is worth trying again.
const RETRY_AFTER_S: u64 = 5;
/// What tells nothing of what is stored.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Whether it may, which is mostly known at once.
pub async fn may_answer(request: &ServiceRequest) -> bool {
    let Some(state) = request.app_data::<web::Data<HttpState>>() else { return true };
    let lease = state.reader.lease();
    if lease.is_held() || PROBES.contains(&request.path().trim_start_matches("/api/v1")) {
        return true;
    }
    let begun = Instant::now();
    while begun.elapsed() < WAIT && !lease.is_held() {
        tokio::time::sleep(LOOK).await;
    }
    lease.is_held()
}

impl ApiError {
    /// The lease has run out, and could not be renewed.
    pub(in crate::http) fn no_lease() -> Self {
        Self::unavailable("busy", "this server cannot reach its database; retry in a moment", RETRY_AFTER_S)
    }

    /// This server is on standby, and there is nobody to pass a request on to.
    pub(in crate::http) fn on_standby() -> Self {
        let message =
            "this server is on standby, and no server over the same database is active; nothing was stored; retry";
        Self::unavailable("busy", message, RETRY_AFTER_S)
    }

    /// This server is on standby, and passes on as much as it can.
    pub(in crate::http) fn too_many_passed_on() -> Self {
        let message = "this server is on standby, and passes on as many requests as it can; nothing was stored; retry";
        Self::unavailable("busy", message, RETRY_AFTER_S)
    }
}
