//! The routes for those who manage an account: its API keys, its audit, and erasure. Part of the table in `routes`. Pure; the
//! handlers run on the HTTP workers.

use actix_web::http::Method;

use crate::domain::AuditId;
use crate::domain::access::Scope::{AuditRead, EventsErase, KeysAdmin};
use crate::http::api::audit::AuditView;
use crate::http::api::jobs::erasure::{self, CreatedErasure};
use crate::http::api::keys::KeyView;
use crate::http::api::{audit, keys};
use crate::http::openapi::operation::{Resource, at, list, operation, single};
use crate::http::openapi::parameters as take;

/// All of them.
pub fn admin_routes() -> Vec<Resource> {
    let mut all = key_routes();
    all.push(audit_route());
    all.push(erasure_route());
    all
}

fn key_routes() -> Vec<Resource> {
    const HEADING: &str = "API keys";
    vec![
        at(HEADING, "/keys", [
            operation(Method::GET, keys::list, "listKeys", "List the API keys of the account")
                .needs(KeysAdmin)
                .takes(take::page())
                .answers(200, "A page of keys, oldest first.", list::<KeyView>),
            operation(Method::POST, keys::create, "createKey", "Create an API key")
                .details("The key itself is only in this response. It cannot have more rights than your own key.")
                .needs(KeysAdmin)
                .body("NewKey")
                .answers(201, "The new key, with its text.", single::<KeyView>)
                .always_with(&["key"])
                .with_message(keys::CREATED)
                .may_conflict(),
        ]),
        at(HEADING, "/keys/{id}", [operation(Method::DELETE, keys::revoke, "revokeKey", "Revoke an API key")
            .details("The key is refused from now on. It stays listed for as long as events are kept.")
            .needs(KeysAdmin)
            .takes(take::key())
            .answers(200, "The key, with `revoked_at`.", single::<KeyView>)
            .with_message(keys::REVOKED)]),
        at(HEADING, "/keys/{id}/rotate", [operation(Method::POST, keys::rotate, "rotateKey", "Rotate an API key")
            .details("Creates a new key with the same rights. The old key stays valid for the overlap, but not longer than before.")
            .needs(KeysAdmin)
            .takes(take::key())
            .optional_body("KeyRotation")
            .answers(200, "The new key, with its text.", single::<KeyView>)
            .always_with(&["key", "previous_id", "previous_valid_until"])
            .with_message(keys::ROTATED)
            .may_conflict()]),
    ]
}

fn audit_route() -> Resource {
    at("Audit", "/audit", [operation(Method::GET, audit::list, "listAudit", "List who changed what")
        .details("Every change of subscriptions, keys, deliveries and jobs of the account, stored together with the change.")
        .needs(AuditRead)
        .takes(take::page_by_cursor::<AuditId>())
        .takes(take::span())
        .answers(200, "A page of changes, newest first.", list::<AuditView>)])
}

fn erasure_route() -> Resource {
    at("Events", "/erasures", [operation(Method::POST, erasure::create, "eraseEvents", "Erase the events of a worker")
        .details(
            "A job removes the body, tags and receivers' responses of every event of the worker that is stored up to now. The event stays with the SHA-256 of its body and its deliveries, and can be read by its id. Pending deliveries are cancelled unless `deliver_pending` is true. Existing backups are not changed.",
        )
        .needs(EventsErase)
        .body("NewErasure")
        .answers(202, "The job was created.", single::<CreatedErasure>)
        .with_message(erasure::CREATED)
        .may_conflict()])
}
