//! Accepts connections and serves an app on each of them, within limits. The threads are those of actix-server.

use std::fmt;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{ConnectionType, HttpService, Protocol, Request, Response};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, map_config,
};
use actix_tls::accept::rustls_0_23::Acceptor;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, fn_factory, fn_service};
use actix_web::rt::net::TcpStream;
use actix_web::{Error, HttpResponse};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::connection_limit::ConnectionLimit;
use super::first_byte;
use super::guarded_body::with_guard;
use super::guarded_stream::{GuardedStream, LINGER, serve_connection};

/// How the server accepts connections.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// HTTP worker threads.
    pub workers: usize,
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Time limit of a request's head, and of a stalled response.
    pub request_timeout: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Threads for blocking reads, for each worker.
    pub blocking_threads: usize,
    /// Time limit of requests in flight when the server stops.
    pub drain: Duration,
}

/// The stream of a connection, plain or TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Builds a server with one app for each worker. It runs when awaited.
pub fn serve<A, S, B>(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    settings: &ServerSettings,
    make_app: impl Fn() -> A + Clone + Send + 'static,
) -> std::io::Result<Server>
where
    A: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    S::Future: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let builder = Server::build()
        .workers(settings.workers)
        .worker_max_blocking_threads(settings.blocking_threads)
        .max_concurrent_connections(settings.max_connections.div_ceil(settings.workers))
        .shutdown_timeout(settings.drain.as_secs().max(1))
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let (limit, keep_alive) = (settings.request_timeout, settings.keep_alive);
    let connections = ConnectionLimit::new(settings.max_connections);
    let acceptor = tls.map(Acceptor::new);
    let make_services = move || {
        let (stopping, silent_until) = (stopping.clone(), stopping.clone());
        let app = make_app().into_factory().map_err(|error| error.into().error_response());
        let app = apply_fn_factory(app, |request: Request, app: &_| {
            let in_flight = request.conn_data::<Connection>().map(|connection| connection.begin(&request));
            let is_upgrade = request.head().upgrade();
            let response = Service::call(app, request);
            async move {
                let mut response: Response<B> = response.await?.into();
                if is_upgrade {
                    // No other protocol is supported.
                    response.head_mut().set_connection_type(ConnectionType::Close);
                }
                Ok::<_, HttpResponse>(response.map_body(|_, body| with_guard(body.boxed(), in_flight)))
            }
        });
        let http = HttpService::build()
            .on_connect_ext(|stream: &GuardedStream<Box<dyn Stream>>, data| {
                data.insert(stream.connection());
            })
            .client_request_timeout(limit)
            .keep_alive(keep_alive)
            .client_disconnect_timeout(LINGER)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .finish(map_config(app, |()| AppConfig::default()));
        let (acceptor, connections) = (acceptor.clone(), Arc::clone(&connections));
        fn_factory(move || {
            let (connections, stopping) = (Arc::clone(&connections), silent_until.clone());
            let http = http.new_service(());
            let acceptor = acceptor.as_ref().map(|acceptor| ServiceFactory::<TcpStream>::new_service(acceptor, ()));
            async move {
                let http = Rc::new(http.await?);
                let acceptor = match acceptor {
                    Some(acceptor) => Some(Rc::new(acceptor.await?)),
                    None => None,
                };
                Ok::<_, ()>(fn_service(move |stream: TcpStream| {
                    let (http, acceptor, connections) = (Rc::clone(&http), acceptor.clone(), Arc::clone(&connections));
                    let stopping = stopping.clone();
                    async move {
                        let peer = stream.peer_addr().ok();
                        let Some(_permit) = peer.and_then(|peer| connections.try_acquire(peer.ip())) else {
                            return Ok(());
                        };
                        if !first_byte::has_come(&stream, limit, stopping.notified()).await {
                            return Ok(());
                        }
                        let stream: Box<dyn Stream> = match acceptor {
                            Some(acceptor) => match Box::pin(acceptor.call(stream)).await {
                                Ok(stream) => Box::new(stream),
                                Err(_) => return Ok(()),
                            },
                            None => Box::new(stream),
                        };
                        serve_connection(stream, limit, |stream| http.call((stream, Protocol::Http1, peer))).await
                    }
                }))
            }
        })
    };
    Ok(builder.listen("callers", listener, make_services)?.run())
}
