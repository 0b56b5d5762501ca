//! What a server on standby answers: that it lives, whether it can have requests answered, and what the active server says.
//! Runs on the HTTP workers; it knows of no store.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, web};

use super::relay::ask::{Relay, relay};
use super::{Ready, ServerSettings, transport};
use crate::http::api::health;
use crate::http::request::middleware::finish_response;

/// Whether there is an active server, as far as is known.
pub type HasActive = Arc<AtomicBool>;

/// Builds the server on a listener that is bound already.
pub fn server(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    (relayed, has_active): (Relay, HasActive),
    settings: &ServerSettings,
    ready: Ready,
) -> std::io::Result<Server> {
    let (relayed, has_active) = (web::Data::new(relayed), web::Data::from(has_active));
    transport::serve(listener, tls, settings, move || {
        ready.tell();
        App::new()
            .app_data(relayed.clone())
            .app_data(has_active.clone())
            .wrap(from_fn(finish_response))
            .default_service(web::to(answer))
    })
}

async fn answer(
    request: HttpRequest,
    body: web::Payload,
    relayed: web::Data<Relay>,
    has_active: web::Data<AtomicBool>,
) -> HttpResponse {
    let path = request.path();
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let (is_health, is_readiness) = (path == "/healthz", path == "/readyz");
    if is_health {
        health::healthz().await
    } else if is_readiness {
        health::on_standby(has_active.load(Ordering::Relaxed))
    } else {
        relay(request, body, relayed).await
    }
}
