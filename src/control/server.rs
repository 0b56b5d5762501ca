//! The server side of the control socket: the API's handlers with the operator as caller, on one worker thread. The
//! socket is created with mode 0600 after locking the database, so an existing socket is stale. It must never be served
//! on an address that others can reach.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, Error, HttpServer, web};
use rustix::io::Errno;

use super::{alerts, backup, clock, dashboard, keys, nodes};
use crate::http::relay::ask::{OfOperator, Relay, relay};
use crate::http::server_thread::ServerThread;
use crate::http::{self, HttpState};
use crate::notify::status::WaysStatus;

/// Maximum number of connections; others wait.
const CONNECTIONS: usize = 32;
/// Size of the blocking pool.
const BLOCKING_THREADS: usize = 4;
/// Time limit for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for requests in progress when the server stops.
const SHUTDOWN_TIMEOUT_S: u64 = 1;

/// Why the control socket is not served.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Something lies in its place; the text says what, and what to do.
    #[error("{0}")]
    Taken(&'static str),
    /// No socket can be created in that place.
    #[error("{0}")]
    Place(std::io::Error),
    /// Whatever the place, it could not be started.
    #[error("{0}")]
    Start(#[from] std::io::Error),
}

/// The running control socket.
pub struct ControlServer {
    path: PathBuf,
    thread: ServerThread,
}

impl ControlServer {
    /// Creates the socket and starts its thread.
    pub fn start(path: PathBuf, state: web::Data<HttpState>, ways: Arc<WaysStatus>) -> Result<Self, ControlError> {
        let listener = bind(&path)?;
        let (ways, backups) = (web::Data::from(ways), web::Data::new(backup::BackupPermits::default()));
        let make_app = move || operator_app(&state, &ways, &backups);
        let thread = ServerThread::start("control", move || serve(listener, make_app))?;
        Ok(Self { path, thread })
    }

    /// The same on standby, where the active server answers.
    pub fn on_standby(path: PathBuf, relayed: Relay) -> Result<Self, ControlError> {
        let listener = bind(&path)?;
        let relayed = web::Data::new(relayed);
        let make_app = move || {
            let app = App::new().app_data(relayed.clone()).app_data(OfOperator);
            app.wrap(from_fn(http::finish_response)).default_service(web::to(relay))
        };
        let thread = ServerThread::start("control", move || serve(listener, make_app))?;
        Ok(Self { path, thread })
    }

    /// Stops accepting requests, waits up to a second for those in progress, and removes the socket.
    pub fn stop(self) {
        self.end(true);
    }

    /// Stops at once, when no request is in progress.
    pub fn stop_idle(self) {
        self.end(false);
    }

    fn end(self, is_graceful: bool) {
        self.thread.stop(is_graceful);
        drop(fs::remove_file(&self.path));
    }
}

/// What answers the operator.
#[must_use]
pub fn operator_app(
    state: &web::Data<HttpState>,
    ways: &web::Data<WaysStatus>,
    backups: &web::Data<backup::BackupPermits>,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
    + use<>,
> {
    App::new()
        .app_data(state.clone())
        .app_data(backups.clone())
        .app_data(ways.clone())
        .wrap(from_fn(http::finish_response))
        .configure(routes)
        .configure(http::operator_routes)
}

/// The same for requests that servers on standby pass on.
#[must_use]
pub fn relayed_operator_app(
    state: &web::Data<HttpState>,
    ways: Arc<WaysStatus>,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
    + use<>,
> {
    operator_app(state, &web::Data::from(ways), &web::Data::new(backup::BackupPermits::default()))
}

fn serve<F, I, S, B>(listener: UnixListener, make_app: F) -> std::io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let server = HttpServer::new(make_app)
        .workers(1)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .max_connections(CONNECTIONS)
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(HEAD_TIMEOUT)
        .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
        .disable_signals();
    Ok(server.listen_uds(listener)?.run())
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/control")
            .route("/keys", web::get().to(keys::list))
            .route("/keys", web::post().to(keys::create))
            .route("/keys/rotate", web::post().to(keys::rotate))
            .route("/keys/revoke", web::post().to(keys::revoke))
            .route("/sign-in-link", web::post().to(dashboard::sign_in_link))
            .route("/attempts", web::get().to(http::api::follow::list))
            .route("/alerts", web::get().to(alerts::show))
            .route("/nodes", web::get().to(nodes::list))
            .route("/clock", web::get().to(clock::show))
            .route("/clock/confirm", web::post().to(clock::confirm))
            .route("/backup", web::get().to(backup::stream))
            .route("/backup/note", web::post().to(backup::note)),
    );
}

fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() && UnixStream::connect(path).is_ok() => {
            return Err(ControlError::Taken("another server listens there; set a different path for each"));
        }
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(ControlError::Place)?,
        Ok(_) => return Err(ControlError::Taken("a file that is not a socket exists there; it was not changed")),
        Err(_) => {}
    }
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => ControlError::Start(error),
        _ => ControlError::Place(error),
    })?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(ControlError::Place)?;
    Ok(listener)
}
