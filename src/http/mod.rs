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
pub mod follow;
mod free_space;
mod health;
pub mod metrics;
mod middleware;
mod openapi;
mod operation;
mod parameters;
mod pings;
mod rate_limit;
pub mod recent_attempts;
pub mod respond;
mod routes;
mod shares;
mod state;
pub mod subscription_body;
mod subscriptions;
mod transport;
mod view;

use std::net::TcpListener;
use std::sync::mpsc::SyncSender;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, web};

pub use self::event_types::{EventTypeView, catalogue};
use self::extract::Operator;
pub use self::middleware::finish_response;
pub use self::routes::document;
pub use self::state::{HttpSettings, HttpState, Vitals};
pub use self::transport::ServerSettings;

/// With what each HTTP worker says that it has started.
#[derive(Clone)]
pub struct Ready(pub SyncSender<()>);

impl Ready {
    fn tell(&self) {
        // Nobody listens any more when a worker is started again later.
        let _ = self.0.try_send(());
    }
}

/// Builds the server on a listener that is bound already. It runs when awaited, and stops when told by its handle.
pub fn server(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    state: web::Data<HttpState>,
    settings: &ServerSettings,
    ready: Ready,
) -> std::io::Result<Server> {
    transport::serve(listener, tls, settings, move || {
        ready.tell();
        App::new().app_data(state.clone()).wrap(from_fn(middleware::finish_response)).configure(routes::serve)
    })
}

/// The same routes for callers that are the operator: no key, every scope, no rate limit, and the account that the
/// query names. To be served where nobody else can connect.
pub fn operator_routes(config: &mut web::ServiceConfig) {
    config.app_data(Operator).configure(routes::serve);
}
