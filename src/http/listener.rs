//! Takes connections in and serves an app on each of them, within limits. The threads are the HTTP library's.

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

use super::connection::{Connection, FAREWELL, Patient, attend};
use super::holding::hold;
use super::sources::Sources;

/// How the server listens.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// HTTP worker threads.
    pub workers: usize,
    /// Connections at most.
    pub max_connections: usize,
    /// How long a request's head may take to arrive, and a piece of an answer to be taken.
    pub request_timeout: Duration,
    /// How long a connection is kept without a request behind an answered one.
    pub keep_alive: Duration,
    /// Reads that wait beside the executor, for each worker.
    pub blocking_threads: usize,
    /// How long requests under way may take to end when the server stops.
    pub drain: Duration,
}

/// What a caller is talked to through.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Builds a server of the app that `make_app` makes for each worker. It runs when awaited.
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
    let sources = Sources::new(settings.max_connections);
    let acceptor = tls.map(Acceptor::new);
    let make_services = move || {
        let stopping = stopping.clone();
        let app = make_app().into_factory().map_err(|error| error.into().error_response());
        let app = apply_fn_factory(app, |request: Request, app: &_| {
            let under_way = request.conn_data::<Connection>().map(|connection| connection.begin(&request));
            let is_upgrade = request.head().upgrade();
            let answer = Service::call(app, request);
            async move {
                let mut answer: Response<B> = answer.await?.into();
                if is_upgrade {
                    // No other protocol is spoken here.
                    answer.head_mut().set_connection_type(ConnectionType::Close);
                }
                Ok::<_, HttpResponse>(answer.map_body(|_, body| hold(body.boxed(), under_way)))
            }
        });
        let http = HttpService::build()
            .on_connect_ext(|stream: &Patient<Box<dyn Stream>>, data| {
                data.insert(stream.connection());
            })
            .client_request_timeout(limit)
            .keep_alive(keep_alive)
            .client_disconnect_timeout(FAREWELL)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .finish(map_config(app, |()| AppConfig::default()));
        let (acceptor, sources) = (acceptor.clone(), Arc::clone(&sources));
        fn_factory(move || {
            let sources = Arc::clone(&sources);
            let http = http.new_service(());
            let acceptor = acceptor.as_ref().map(|acceptor| ServiceFactory::<TcpStream>::new_service(acceptor, ()));
            async move {
                let http = Rc::new(http.await?);
                let acceptor = match acceptor {
                    Some(acceptor) => Some(Rc::new(acceptor.await?)),
                    None => None,
                };
                Ok::<_, ()>(fn_service(move |stream: TcpStream| {
                    let (http, acceptor, sources) = (Rc::clone(&http), acceptor.clone(), Arc::clone(&sources));
                    async move {
                        let peer = stream.peer_addr().ok();
                        let Some(_place) = peer.and_then(|peer| sources.admit(peer.ip())) else { return Ok(()) };
                        let stream: Box<dyn Stream> = match acceptor {
                            Some(acceptor) => match Box::pin(acceptor.call(stream)).await {
                                Ok(stream) => Box::new(stream),
                                Err(_) => return Ok(()),
                            },
                            None => Box::new(stream),
                        };
                        attend(stream, limit, |stream| http.call((stream, Protocol::Http1, peer))).await
                    }
                }))
            }
        })
    };
    Ok(builder.listen("callers", listener, make_services)?.run())
}
