//! What a server on standby answers: that it lives, that it is not ready, and that others have to be asked. Runs on the HTTP
//! workers; it knows of no store.

use std::net::TcpListener;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, web};

use super::{Ready, ServerSettings, transport};
use crate::http::api::health;
use crate::http::request::error::ApiError;
use crate::http::request::extract::request_id;
use crate::http::request::middleware::finish_response;

/// Builds the server on a listener that is bound already.
pub fn server(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    settings: &ServerSettings,
    ready: Ready,
) -> std::io::Result<Server> {
    transport::serve(listener, tls, settings, move || {
        ready.tell();
        App::new().wrap(from_fn(finish_response)).default_service(web::to(answer))
    })
}

async fn answer(request: HttpRequest) -> HttpResponse {
    match request.path().trim_start_matches("/api/v1") {
        "/healthz" => health::healthz().await,
        "/readyz" => health::on_standby(),
        // Not as an error, which would be logged each time.
        _ => ApiError::on_standby().response(&request_id(&request)),
    }
}
