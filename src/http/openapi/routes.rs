//! Every route of the API: path, method, scope and handler. The server and the API's description are built from this
//! one table. Pure; the handlers run on the HTTP workers.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};

use crate::domain::access::Scope::{EventsRead, EventsWrite, WebhooksRead, WebhooksWrite};
use crate::domain::escape::{REPEATED_CHARS, shortened};
use crate::domain::event::catalogue::Catalogue;
use crate::domain::{DeliveryId, EventId};
use crate::http::api::event_types::EventTypeView;
use crate::http::api::events::{BatchView, PublishedView};
use crate::http::api::evidence::EvidenceView;
use crate::http::api::health::{Health, Readiness};
use crate::http::api::jobs::{CreatedView, JobView, SizeView};
use crate::http::api::subscription_tools::matching::MatchResult;
use crate::http::api::subscription_tools::rotation::Rotated;
use crate::http::api::subscription_tools::{matching, rotation};
use crate::http::api::subscriptions::Deleted;
use crate::http::api::test_ping::TestResult;
use crate::http::api::view::event::EventView;
use crate::http::api::view::{DeliveryView, SubscriptionView};
use crate::http::api::{compat, deliveries, event_types, events, evidence, health, jobs, subscriptions, test_ping};
use crate::http::openapi::Description;
use crate::http::openapi::admin_routes::admin_routes;
use crate::http::openapi::feed_routes::feed_routes;
use crate::http::openapi::operation::{BASE, Operation, Resource, at, list, operation, plain, single};
use crate::http::openapi::parameters as take;
use crate::http::request::error::ApiError;
use crate::http::request::extract;
use crate::http::request::state::HttpState;

/// Registers the table's routes.
pub fn serve(config: &mut web::ServiceConfig) {
    for resource in table().into_iter().filter(|resource| resource.is_at_root) {
        config.service(resource.into_service());
    }
    config.service(web::scope(BASE).configure(|config| {
        // Paths without parameters are compared; each one with parameters costs every request a regular expression.
        let (plain, parametric): (Vec<_>, Vec<_>) =
            table().into_iter().partition(|resource| !resource.path.contains('{'));
        for resource in plain.into_iter().chain(parametric) {
            config.service(resource.into_service());
        }
        config.default_service(web::to(no_route));
    }));
    config.default_service(web::to(no_route));
}

/// Of the event types that are always known. Made at the first request for it.
static DESCRIPTION: LazyLock<Arc<Description>> =
    LazyLock::new(|| Arc::new(Description::of(&table(), &Catalogue::built_in())));

/// Of the catalogue that was last asked for, where it is another one.
static DECLARED: Mutex<Option<(Arc<Catalogue>, Arc<Description>)>> = Mutex::new(None);

/// The `OpenAPI` document of these routes, with the event types that are always known.
#[must_use]
pub fn document() -> &'static Value {
    DESCRIPTION.document()
}

fn description_of(catalogue: Arc<Catalogue>) -> Arc<Description> {
    if catalogue == Catalogue::built_in() {
        return Arc::clone(&DESCRIPTION);
    }
    let mut last = DECLARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, description)) = last.as_ref().filter(|(known, _)| Arc::ptr_eq(known, &catalogue)) {
        return Arc::clone(description);
    }
    let description = Arc::new(Description::of(&table(), &catalogue));
    *last = Some((catalogue, Arc::clone(&description)));
    description
}

async fn show_description(state: web::Data<HttpState>) -> HttpResponse {
    description_of(state.settings.catalogue.get()).show()
}

async fn show_page(state: web::Data<HttpState>) -> HttpResponse {
    description_of(state.settings.catalogue.get()).show_page()
}

async fn no_route(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    extract::note_caller(&request)?;
    let shown = |text: &str| shortened(text, REPEATED_CHARS).into_owned();
    Err(ApiError::not_found(&format!("route {} {}", shown(request.method().as_str()), shown(request.path()))))
}

/// All routes. If two paths match a request, the one without parameters wins, otherwise the first.
pub fn table() -> Vec<Resource> {
    let groups = [
        subscription_routes(),
        subscription_tool_routes(),
        event_routes(),
        vec![evidence_route()],
        delivery_routes(),
        job_routes(),
        feed_routes(),
        admin_routes(),
        vec![compat_route()],
        open_routes(),
    ];
    groups.into_iter().flatten().collect()
}

fn subscription_routes() -> Vec<Resource> {
    const HEADING: &str = "Subscriptions";
    vec![
        at(HEADING, "/webhooks", [
            operation(Method::GET, subscriptions::list, "listSubscriptions", "List subscriptions")
                .needs(WebhooksRead)
                .takes(take::page())
                .answers(200, "A page of subscriptions, oldest first.", list::<SubscriptionView>),
            operation(Method::POST, subscriptions::create, "createSubscription", "Create a subscription")
                .details("The signing secret is only in this response.")
                .needs(WebhooksWrite)
                .body("NewSubscription")
                .answers(201, "The subscription, with its secret.", single::<SubscriptionView>)
                .always_with(&["secret"])
                .with_message(subscriptions::CREATED)
                .may_conflict(),
        ]),
        at(HEADING, "/webhooks/{id}", [
            operation(Method::GET, subscriptions::read, "readSubscription", "Read a subscription")
                .needs(WebhooksRead)
                .takes(take::subscription())
                .answers(200, "The subscription, with its last 10 attempts.", single::<SubscriptionView>)
                .always_with(&["recent_deliveries"]),
            operation(Method::PUT, subscriptions::update, "updateSubscription", "Change a subscription")
                .details("Omitted fields keep their values. Enabling it clears `disabled_reason`. Enabling it or changing its URL makes its pending deliveries due now. Removing an event type cancels its pending deliveries of that type.")
                .needs(WebhooksWrite)
                .takes(take::subscription())
                .body("SubscriptionChange")
                .answers(200, "The changed subscription.", single::<SubscriptionView>)
                .with_message(subscriptions::UPDATED),
            operation(Method::DELETE, subscriptions::delete, "deleteSubscription", "Delete a subscription")
                .details("Its delivery history is deleted too. Pending deliveries are dropped; attempts in flight finish.")
                .needs(WebhooksWrite)
                .takes(take::subscription())
                .answers(200, "It was deleted.", single::<Deleted>)
                .with_message(subscriptions::DELETED),
        ]),
        at(HEADING, "/webhooks/{id}/test", [
            operation(Method::POST, test_ping::test, "testSubscription", "Send a test ping")
                .details("Sends one signed `ping` now, without retries, and waits for the result. The status is 200 even if the ping fails. If the endpoint responds with a 2xx, its pending deliveries are due now.")
                .needs(WebhooksWrite)
                .takes(take::subscription())
                .takes(take::newest_secret())
                .optional_body("SubscriptionTest")
                .answers(200, "The result.", single::<TestResult>)
                .with_message(test_ping::ACCEPTED)
                .may_conflict(),
        ]),
        at(HEADING, "/webhooks/{id}/replay", [
            operation(Method::POST, jobs::replay, "replayEvents", "Deliver stored events to a subscription")
                .details("A job creates deliveries of stored events, a few at a time and after new ones. A subscription has one replay at a time. Pings are not included.")
                .needs(WebhooksWrite)
                .takes(take::subscription())
                .body("NewReplay")
                .answers(202, "The job was created.", single::<CreatedView>)
                .with_message(jobs::CREATED)
                .answers(200, "With `dry_run`: the number of deliveries that would be due.", single::<SizeView>)
                .may_conflict(),
        ]),
        at(HEADING, "/webhooks/{id}/deliveries", [
            operation(Method::GET, deliveries::list_of_subscription, "listDeliveriesOfSubscription", "List the deliveries of a subscription")
                .needs(WebhooksRead)
                .takes(take::subscription())
                .takes(take::page_by_cursor::<DeliveryId>())
                .takes(take::delivery_filters())
                .answers(200, "A page of deliveries, newest event first.", list::<DeliveryView>),
        ]),
    ]
}

fn subscription_tool_routes() -> Vec<Resource> {
    const HEADING: &str = "Subscriptions";
    vec![
        at(
            HEADING,
            "/webhooks/{id}/secret",
            [operation(Method::POST, rotation::rotate, "rotateSecret", "Rotate the signing secret")
                .details("The current secret stays valid for the overlap. The new one is only in this response.")
                .needs(WebhooksWrite)
                .takes(take::subscription())
                .optional_body("SecretRotation")
                .answers(200, "The new secret.", single::<Rotated<'static>>)
                .with_message(rotation::ROTATED)],
        ),
        at(
            HEADING,
            "/webhooks/{id}/match",
            [operation(
                Method::POST,
                matching::match_event,
                "matchEvent",
                "Check whether an event matches a subscription",
            )
            .details("Returns whether the subscription would get such an event, and why. Nothing is stored or sent.")
            .needs(WebhooksRead)
            .takes(take::subscription())
            .body("EventToMatch")
            .answers(200, "Whether it matches.", single::<MatchResult>)],
        ),
    ]
}

fn event_routes() -> Vec<Resource> {
    const HEADING: &str = "Events";
    vec![
        at(
            HEADING,
            "/events",
            [
                operation(Method::GET, events::list, "listEvents", "List events")
                    .needs(EventsRead)
                    .takes(take::page_by_cursor::<EventId>())
                    .takes(take::event_filters())
                    .takes(take::find_filters())
                    .answers(200, "A page of events, newest first.", list::<EventView>),
                operation(Method::POST, events::publish, "publishEvent", "Publish an event")
                    .details("202 means that the event and all its deliveries are on disk.")
                    .needs(EventsWrite)
                    .takes(take::idempotency_key())
                    .body("NewEvent")
                    .answers(202, "The event was stored.", single::<PublishedView>)
                    .may_conflict(),
            ],
        ),
        at(
            HEADING,
            "/events/batch",
            [operation(Method::POST, events::publish_batch, "publishEvents", "Publish many events")
                .details(
                    "All or none are stored, unless `partial` is true. An `Idempotency-Key` covers the whole batch.",
                )
                .needs(EventsWrite)
                .takes(take::partial())
                .takes(take::idempotency_key())
                .body("NewEvents")
                .answers(202, "The events were stored; one row for each, in order.", plain::<BatchView>)
                .may_conflict()],
        ),
        at(
            HEADING,
            "/events/{id}",
            [operation(Method::GET, events::read, "readEvent", "Read an event")
                .needs(EventsRead)
                .takes(take::event())
                .answers(200, "The event, with its deliveries.", single::<EventView>)
                .always_with(&["deliveries"])],
        ),
        at(
            HEADING,
            "/event-types",
            [operation(Method::GET, event_types::list, "listEventTypes", "List event types").needs_a_key().answers(
                200,
                "Every event type, with the JSON Schema of its data and an example.",
                list::<EventTypeView<'static>>,
            )],
        ),
    ]
}

fn evidence_route() -> Resource {
    at("Events", "/evidence", [operation(Method::GET, evidence::stream, "streamEvidence", "Export a worker's events with every delivery attempt")
        .details(
            "Every event of the worker with the SHA-256 of its body, and every delivery with its attempts: URL, headers with the signature, times and response. Newest first and without a limit: one line of JSON for each event, or with `format=csv` one row for each attempt. An incomplete response ends without the final chunk.",
        )
        .needs(EventsRead)
        .takes(take::evidence())
        .takes(take::span())
        .answers_in("application/x-ndjson", 200, "A line of JSON for each event.", plain::<EvidenceView>)
        .answers_in("text/csv", 200, "A row for each attempt.", plain::<String>)])
}

fn delivery_routes() -> Vec<Resource> {
    const HEADING: &str = "Deliveries";
    vec![
        at(
            HEADING,
            "/deliveries",
            [operation(Method::GET, deliveries::list, "listDeliveries", "List deliveries")
                .needs(WebhooksRead)
                .takes([take::subscription_filter()])
                .takes(take::page_by_cursor::<DeliveryId>())
                .takes(take::delivery_filters())
                .answers(200, "A page of deliveries, newest event first.", list::<DeliveryView>)],
        ),
        at(
            HEADING,
            "/deliveries/retry",
            [operation(Method::POST, jobs::retry, "retryDeliveries", "Redeliver many deliveries")
                .details(
                    "A job redelivers all matching deliveries that are stored up to now: they are due at once, with the full retry schedule. Test pings are not included.",
                )
                .needs(WebhooksWrite)
                .body("NewRetry")
                .names_in_body()
                .answers(202, "The job was created.", single::<CreatedView>)
                .with_message(jobs::CREATED)
                .answers(200, "With `dry_run`: the number of deliveries that would be due.", single::<SizeView>)
                .may_conflict()],
        ),
        at(
            HEADING,
            "/deliveries/{id}",
            [operation(Method::GET, deliveries::read, "readDelivery", "Read a delivery")
                .needs(WebhooksRead)
                .takes(take::delivery())
                .answers(200, "The delivery, with its attempts and the body that is sent.", single::<DeliveryView>)
                .always_with(&["attempts", "body"])],
        ),
        at(
            HEADING,
            "/deliveries/{id}/retry",
            [operation(Method::POST, deliveries::retry, "retryDelivery", "Redeliver a delivery")
                .details(
                    "The delivery is due now, with the full retry schedule; a test ping is attempted once. It keeps its id, and attempt numbers continue.",
                )
                .needs(WebhooksWrite)
                .takes(take::delivery())
                .answers(202, "The delivery is due now.", single::<DeliveryView>)
                .always_with(&["attempts", "body"])
                .with_message(deliveries::DUE_AGAIN)
                .may_conflict()],
        ),
    ]
}

fn job_routes() -> Vec<Resource> {
    const HEADING: &str = "Jobs";
    vec![
        at(
            HEADING,
            "/jobs",
            [operation(Method::GET, jobs::list, "listJobs", "List jobs")
                .details("The last 100 jobs of the account are kept, but not longer than events.")
                .needs(WebhooksRead)
                .takes(take::page())
                .answers(200, "A page of jobs, newest first.", list::<JobView>)],
        ),
        at(
            HEADING,
            "/jobs/{id}",
            [
                operation(Method::GET, jobs::read, "readJob", "Read a job")
                    .needs(WebhooksRead)
                    .takes(take::job())
                    .answers(200, "The job with its progress.", single::<JobView>),
                operation(Method::DELETE, jobs::stop, "stopJob", "Stop a job")
                    .details("What it has already done is kept. A job that has ended does not change.")
                    .needs(WebhooksWrite)
                    .takes(take::job())
                    .answers(200, "The job.", single::<JobView>)
                    .with_message(jobs::STOPPED),
            ],
        ),
    ]
}

fn compat_route() -> Resource {
    at(
        "TempClock's own addresses",
        "/webhooks.php",
        [
            operation(Method::GET, compat::get, "phpReadSubscriptions", "List subscriptions, or read one")
                .details("With `id` like `GET /webhooks/{id}`, otherwise like `GET /webhooks`.")
                .needs(WebhooksRead)
                .takes([take::subscription_in_query(false)])
                .takes(take::page())
                .answers(200, "A page of subscriptions.", list::<SubscriptionView>)
                .answers(200, "One subscription, with its last 10 attempts.", single::<SubscriptionView>)
                .always_with(&["recent_deliveries"]),
            operation(
                Method::POST,
                compat::post,
                "phpCreateOrTestSubscription",
                "Create a subscription, or send a test ping",
            )
            .details("With `id` and `action=test` like `POST /webhooks/{id}/test`, otherwise like `POST /webhooks`.")
            .needs(WebhooksWrite)
            .takes([take::subscription_in_query(false), take::action()])
            .optional_body("NewSubscription")
            .answers(201, "The subscription, with its secret.", single::<SubscriptionView>)
            .always_with(&["secret"])
            .with_message(subscriptions::CREATED)
            .answers(200, "The result of the test ping.", single::<TestResult>)
            .with_message(test_ping::ACCEPTED)
            .may_conflict(),
            operation(Method::PUT, compat::put, "phpUpdateSubscription", "Change a subscription")
                .details("Like `PUT /webhooks/{id}`.")
                .needs(WebhooksWrite)
                .takes([take::subscription_in_query(true)])
                .body("SubscriptionChange")
                .answers(200, "The changed subscription.", single::<SubscriptionView>)
                .with_message(subscriptions::UPDATED),
            operation(Method::DELETE, compat::delete, "phpDeleteSubscription", "Delete a subscription")
                .details("Like `DELETE /webhooks/{id}`.")
                .needs(WebhooksWrite)
                .takes([take::subscription_in_query(true)])
                .answers(200, "It was deleted.", single::<Deleted>)
                .with_message(subscriptions::DELETED),
        ],
    )
}

fn open_routes() -> Vec<Resource> {
    let health = |method, name| {
        operation(method, health::healthz, name, "Check whether the process is up").answers(
            200,
            "The process is up.",
            plain::<Health>,
        )
    };
    let ready = |method, name| {
        operation(method, health::readyz, name, "Check whether the server is ready")
            .answers(200, "The server is ready.", plain::<Readiness>)
            .answers(503, "The server is not ready; `checks` says why.", plain::<Readiness>)
    };
    let description = |method, name| {
        operation(method, show_description, name, "This description").answers(
            200,
            "OpenAPI 3.1, in JSON.",
            plain::<Map<String, Value>>,
        )
    };
    let page = |method, name| {
        operation(method, show_page, name, "This description as a web page").answers_in(
            "text/html",
            200,
            "A page without scripts and external assets.",
            plain::<String>,
        )
    };
    let open = |path, operations: [Operation; 2]| Resource { is_at_root: true, ..at("Server", path, operations) };
    vec![
        open("/healthz", [health(Method::GET, "health"), health(Method::HEAD, "healthHead")]),
        open("/readyz", [ready(Method::GET, "readiness"), ready(Method::HEAD, "readinessHead")]),
        open("/openapi.json", [description(Method::GET, "openapi"), description(Method::HEAD, "openapiHead")]),
        open("/docs", [page(Method::GET, "docs"), page(Method::HEAD, "docsHead")]),
    ]
}
