//! The HTTP API: turns requests into commands and reads, and responds. Handlers hold no rules; a rule found here
//! belongs in `domain`. Handlers do not block their thread: writes are awaited, reads run on the blocking pool.

pub mod api;
pub mod dashboard;
pub mod metrics;
mod openapi;
pub mod relay;
pub mod request;
pub mod server_thread;
pub mod standby;
mod transport;

use std::net::TcpListener;
use std::sync::mpsc::SyncSender;

use actix_service::ServiceFactory;
use actix_web::body::BoxBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, Error, web};

pub use self::transport::ServerSettings;
pub use crate::http::api::event_types::{EventTypeView, shown};
pub use crate::http::openapi::routes::document;
use crate::http::request::extract::Operator;
pub use crate::http::request::middleware::finish_response;
pub use crate::http::request::served_catalogue::ServedCatalogue;
pub use crate::http::request::state::{HttpSettings, HttpState, Vitals};

/// The channel on which each HTTP worker reports that it has started.
#[derive(Clone)]
pub struct Ready(pub SyncSender<()>);

impl Ready {
    fn tell(&self) {
        // The receiver is gone when a worker is restarted later.
        let _ = self.0.try_send(());
    }
}

/// Builds the server on a bound listener. It runs when awaited, and stops through its handle.
pub fn server(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    state: web::Data<HttpState>,
    settings: &ServerSettings,
    ready: Ready,
) -> std::io::Result<Server> {
    transport::serve(listener, tls, settings, move || {
        ready.tell();
        callers_app(&state)
    })
}

/// What answers those who call over the network.
#[must_use]
pub fn callers_app(
    state: &web::Data<HttpState>,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
    + use<>,
> {
    let is_served = state.dashboard.settings.is_served;
    App::new()
        .app_data(state.clone())
        .wrap(from_fn(request::middleware::finish_response))
        // First: a request tries the paths in this order, and each with a parameter costs it a regular expression.
        .configure(openapi::routes::serve)
        .configure(|config| {
            if is_served {
                dashboard::routes::serve(config);
            }
        })
}

/// The same routes for the operator: no key, every scope, no rate limit, and the account named in the query. Serve them
/// only where nobody else can connect.
pub fn operator_routes(config: &mut web::ServiceConfig) {
    config.app_data(Operator).configure(openapi::routes::serve);
}
