//! The metrics page, on its own listener so that it can be separated from the API. Runs on one HTTP worker.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::{ACCEPT, ContentType, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, web};

use super::transport::keep_unread;
use super::{Ready, ServerSettings, transport};
use crate::clock::Clock;
use crate::delivery::Dispatcher;
use crate::domain::Timestamp;
use crate::metrics::{Gauges, Metrics, TextForm};
use crate::storage::error::StorageError;
use crate::storage::nodes::{NodeState, NodeStatus};
use crate::storage::read::reader::Reader;
use crate::storage::read::row_check::CheckProgress;

/// The sources of the page.
#[derive(Clone)]
pub struct MetricsPage {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// For gauges of outbox, subscriptions and store.
    pub reader: Reader,
    /// For attempts in flight.
    pub dispatcher: Arc<Dispatcher>,
    /// How far the check of all rows has come.
    pub check: Arc<CheckProgress>,
    /// For the age of pending deliveries.
    pub clock: Clock,
}

/// Short, so that a client that takes all connections and sends nothing blocks others only briefly.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Settings for a page read by a few programs.
pub const SETTINGS: ServerSettings = ServerSettings {
    workers: 1,
    max_connections: 32,
    request_timeout: REQUEST_TIMEOUT,
    keep_alive: REQUEST_TIMEOUT,
    drain: Duration::from_secs(1),
    blocking_threads: 1,
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The exposition format and its media type, by the Accept header.
fn form_for(request: &HttpRequest) -> (TextForm, &'static str) {
    let mut accepted = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    if accepted.any(|value| value.contains("application/openmetrics-text")) {
        (TextForm::OpenMetrics, OPEN_METRICS)
    } else {
        (TextForm::Prometheus, PROMETHEUS)
    }
}

/// Builds the server on a listener that is bound already.
pub fn server(listener: TcpListener, page: MetricsPage, ready: Ready) -> std::io::Result<Server> {
    let page = web::Data::new(page);
    transport::serve(listener, None, &SETTINGS, move || {
        ready.tell();
        let headers = DefaultHeaders::new().add((X_CONTENT_TYPE_OPTIONS, "nosniff"));
        App::new()
            .app_data(page.clone())
            .wrap(headers)
            .wrap(from_fn(keep_unread))
            .route("/metrics", web::get().to(show))
    })
}

async fn show(request: HttpRequest, page: web::Data<MetricsPage>) -> HttpResponse {
    let (form, media_type) = form_for(&request);
    let failed = |error: &dyn std::fmt::Display| {
        log::error!("the metrics could not be read: {error}");
        HttpResponse::InternalServerError()
            .content_type(ContentType::plaintext())
            .body("the metrics could not be read\n")
    };
    let read = page.clone();
    match web::block(move || read.gauges()).await {
        Ok(Ok(gauges)) => match page.metrics.render(gauges, form) {
            Ok(text) => HttpResponse::Ok().content_type(media_type).body(text),
            Err(error) => failed(&error),
        },
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

impl MetricsPage {
    fn gauges(&self) -> Result<Gauges, StorageError> {
        let snapshot = self.reader.view();
        let backlog = snapshot.backlog()?;
        let registry = snapshot.registry();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let active = registry.subscriptions().filter(|subscription| subscription.state.is_active()).count();
        let age = |oldest: Option<Timestamp>| oldest.map_or(Duration::ZERO, |oldest| self.clock.wall().since(oldest));
        let vitals = self.reader.vitals();
        let nodes = self.reader.nodes()?.unwrap_or_else(|| vec![NodeStatus::alone("")]);
        let in_state =
            |state: NodeState| (state.name(), count(nodes.iter().filter(|node| node.state == state).count()));
        Ok(Gauges {
            pending: backlog.pending.unattempted + backlog.pending.retrying,
            retrying: backlog.pending.retrying,
            oldest_pending: age(backlog.oldest),
            oldest_held: age(backlog.oldest_held),
            feed_lag: age(backlog.oldest_in_feeds),
            in_flight: count(self.dispatcher.in_flight()),
            threads: count(self.dispatcher.alive_threads()),
            active: count(active),
            disabled: count(registry.subscriptions().count() - active),
            database_bytes: vitals.size_bytes,
            // What is not known counts as enough, as for publishing.
            free_bytes: vitals.free_bytes.unwrap_or(i64::MAX.cast_unsigned()),
            unchecked_rows: self.check.left(),
            damaged_rows: self.check.damaged(),
            servers: [NodeState::Active, NodeState::Standby, NodeState::Gone].map(in_state),
            lease: nodes.iter().find_map(|node| node.lease_left).unwrap_or_default(),
        })
    }
}
