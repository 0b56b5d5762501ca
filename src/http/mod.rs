//! Turns requests into commands and reads, and answers. Handlers hold no rules; a rule that turns up here belongs in
//! `domain`. Nothing in this module blocks the thread that it runs on: writes are awaited, reads go beside the
//! executor.

mod compat;
mod deliveries;
pub mod error;
pub mod event_body;
mod event_types;
mod events;
pub mod extract;
mod health;
pub mod metrics;
mod middleware;
mod rate_limit;
pub mod respond;
mod state;
pub mod subscription_body;
mod subscriptions;
mod unread;
mod view;

use std::net::TcpListener;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpServer, web};

use self::error::ApiError;
pub use self::event_types::catalogue;
use self::extract::Operator;
pub use self::middleware::dress;
pub use self::state::{HttpSettings, HttpState, Vitals};

/// How the server listens.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// HTTP worker threads.
    pub workers: usize,
    /// Connections at most.
    pub max_connections: usize,
    /// How long a request's head may take to arrive.
    pub request_timeout: Duration,
    /// How long requests under way may take to end when the server stops.
    pub drain: Duration,
}

/// With what each HTTP worker says that it has started.
#[derive(Clone)]
pub struct Ready(pub SyncSender<()>);

impl Ready {
    fn tell(&self) {
        // Nobody listens any more when a worker is started again later.
        let _ = self.0.try_send(());
    }
}

/// Reads that wait beside the executor, for each worker.
const BLOCKING_THREADS: usize = 16;

/// Builds the server on a listener that is bound already. It runs when awaited, and stops when told by its handle.
pub fn server(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    state: web::Data<HttpState>,
    settings: &ServerSettings,
    ready: Ready,
) -> std::io::Result<Server> {
    let make_app = move || {
        ready.tell();
        App::new().app_data(state.clone()).wrap(from_fn(middleware::dress)).configure(routes)
    };
    let server = HttpServer::new(make_app)
        .workers(settings.workers)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .max_connections(settings.max_connections.div_ceil(settings.workers))
        .client_request_timeout(settings.request_timeout)
        .shutdown_timeout(settings.drain.as_secs().max(1))
        .disable_signals();
    let server = match tls {
        None => server.listen(listener)?,
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
    };
    Ok(server.run())
}

/// The same routes for callers that are the operator: no key, every scope, no rate limit, and the account that the
/// query names. To be served where nobody else can connect.
pub fn operator_routes(config: &mut web::ServiceConfig) {
    config.app_data(Operator).configure(routes);
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(open("/healthz", health::healthz))
        .service(open("/readyz", health::readyz))
        .service(web::scope("/api/v1").configure(api_routes))
        .default_service(web::to(no_route));
}

fn open<F, Args>(path: &'static str, handler: F) -> actix_web::Resource
where
    F: actix_web::Handler<Args> + Clone,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    resource(path, "GET, HEAD", [web::get().to(handler.clone()), web::head().to(handler)])
}

/// A resource that answers every other method with 405 and what is allowed.
fn resource<const N: usize>(path: &str, allow: &'static str, routes: [actix_web::Route; N]) -> actix_web::Resource {
    let wrong_method = move || async move { Err::<actix_web::HttpResponse, _>(ApiError::method_not_allowed(allow)) };
    routes.into_iter().fold(web::resource(path), actix_web::Resource::route).default_service(web::to(wrong_method))
}

fn api_routes(config: &mut web::ServiceConfig) {
    use web::{delete, get, post, put};
    config
        .service(open("/healthz", health::healthz))
        .service(open("/readyz", health::readyz))
        .service(resource("/webhooks", "GET, POST", [get().to(subscriptions::list), post().to(subscriptions::create)]))
        .service(resource(
            "/webhooks.php",
            "GET, POST, PUT, DELETE",
            [get().to(compat::get), post().to(compat::post), put().to(compat::put), delete().to(compat::delete)],
        ))
        .service(resource(
            "/webhooks/{id}",
            "GET, PUT, DELETE",
            [get().to(subscriptions::read), put().to(subscriptions::update), delete().to(subscriptions::delete)],
        ))
        .service(resource("/webhooks/{id}/test", "POST", [post().to(subscriptions::test)]))
        .service(resource("/webhooks/{id}/deliveries", "GET", [get().to(deliveries::list_of_subscription)]))
        .service(resource("/events", "GET, POST", [get().to(events::list), post().to(events::publish)]))
        .service(resource("/events/batch", "POST", [post().to(events::publish_batch)]))
        .service(resource("/events/{id}", "GET", [get().to(events::read)]))
        .service(resource("/deliveries", "GET", [get().to(deliveries::list)]))
        .service(resource("/deliveries/{id}", "GET", [get().to(deliveries::read)]))
        .service(resource("/deliveries/{id}/retry", "POST", [post().to(deliveries::retry)]))
        .service(resource("/event-types", "GET", [get().to(event_types::list)]))
        .default_service(web::to(no_route));
}

async fn no_route(request: HttpRequest) -> Result<actix_web::HttpResponse, ApiError> {
    Err(ApiError::not_found(&format!("route {} {}", request.method(), request.path())))
}
