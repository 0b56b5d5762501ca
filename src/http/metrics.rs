//! The metrics page, on a listener of its own so that it can be kept apart from the API. Runs on one HTTP worker.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};

use super::Ready;
use crate::clock::Clock;
use crate::delivery::Dispatcher;
use crate::metrics::{Gauges, Metrics};
use crate::storage::error::StorageError;
use crate::storage::reader::Reader;
use crate::storage::writer::free_bytes;

/// What the page is made from.
#[derive(Clone)]
pub struct MetricsPage {
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// For the outbox and the subscriptions.
    pub reader: Reader,
    /// For what is under way.
    pub dispatcher: Arc<Dispatcher>,
    /// For the age of what is pending.
    pub clock: Clock,
    /// The database file.
    pub database: PathBuf,
}

/// Workers of this listener.
pub const WORKERS: usize = 1;

/// The text form of `OpenMetrics`, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Builds the server on a listener that is bound already.
pub fn server(listener: TcpListener, page: MetricsPage, ready: Ready) -> std::io::Result<Server> {
    let page = web::Data::new(page);
    let server = HttpServer::new(move || {
        ready.tell();
        App::new().app_data(page.clone()).route("/metrics", web::get().to(show))
    });
    Ok(server
        .workers(WORKERS)
        .worker_max_blocking_threads(1)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run())
}

async fn show(page: web::Data<MetricsPage>) -> HttpResponse {
    let failed = |error: &dyn std::fmt::Display| {
        log::error!("the metrics could not be read: {error}");
        HttpResponse::InternalServerError()
            .content_type(ContentType::plaintext())
            .body("the metrics could not be read\n")
    };
    let read = page.clone();
    match web::block(move || read.gauges()).await {
        Ok(Ok(gauges)) => match page.metrics.render(gauges) {
            Ok(text) => HttpResponse::Ok().content_type(OPEN_METRICS).body(text),
            Err(error) => failed(&error),
        },
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

impl MetricsPage {
    fn gauges(&self) -> Result<Gauges, StorageError> {
        let backlog = self.reader.backlog()?;
        let registry = self.reader.registry();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let active = registry.subscriptions().filter(|subscription| subscription.state.is_active()).count();
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
        let folder = self.database.parent();
        Ok(Gauges {
            pending: backlog.pending.fresh + backlog.pending.retrying,
            retrying: backlog.pending.retrying,
            oldest_pending: backlog.oldest.map_or_else(Default::default, |oldest| self.clock.wall().since(oldest)),
            in_flight: count(self.dispatcher.in_flight()),
            threads: count(self.dispatcher.alive_threads()),
            active: count(active),
            off: count(registry.subscriptions().count() - active),
            database_bytes: size(&self.database),
            free_bytes: folder.and_then(free_bytes).unwrap_or_default(),
        })
    }
}
