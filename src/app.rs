//! Puts the product together: opens the store, starts the threads and the server, knows the bound address, and stops
//! everything in the order in which nothing is lost. Runs on the main thread.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::web;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::Certificate;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::server::ControlServer;
use crate::delivery::guard::Guard;
use crate::delivery::transport::TransportSettings;
use crate::delivery::{Dispatcher, Pipeline, Transport};
use crate::domain::address::AddressRule;
use crate::domain::endpoint::EndpointPolicy;
use crate::domain::retry::RetryRule;
use crate::http::{self, HttpSettings, HttpState, ServerSettings, Vitals};
use crate::storage::error::OpenError;
use crate::storage::writer::{Listeners, WriterHandle};
use crate::storage::{Opened, RetentionRule, Rules, Store, StoreSettings};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or key could not be used.
    #[error("{path} cannot be used: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The control socket could not be made.
    #[error("the control socket {path} cannot be made: {source}")]
    Control {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A thread could not be started, or the outbox not be read.
    #[error("cannot start: {0}")]
    Threads(String),
    /// The configuration asks for something that this version cannot do yet.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// The server at work.
pub struct App {
    address: SocketAddr,
    is_tls: bool,
    drain: Duration,
    server: ServerHandle,
    http: JoinHandle<std::io::Result<()>>,
    control: ControlServer,
    dispatcher: Arc<Dispatcher>,
    pipeline: Pipeline,
    writer: WriterHandle,
    writer_thread: JoinHandle<()>,
    vitals: Arc<Vitals>,
}

/// How long the last outcomes may take to be recorded when the server stops.
const FLUSH: Duration = Duration::from_secs(10);

/// What the store needs to know of the configuration.
#[must_use]
pub fn store_settings(config: &Config) -> StoreSettings {
    let delivery = &config.delivery;
    StoreSettings {
        data_dir: config.storage.data_dir.clone(),
        cache_bytes: usize::try_from(config.storage.cache_bytes).unwrap_or(usize::MAX),
        free_space_reserve_bytes: config.storage.free_space_reserve_bytes,
        rules: Rules {
            retry: RetryRule { waits: delivery.retry_schedule.clone(), retry_after_max: delivery.retry_after_max },
            disable_after: delivery.disable_after,
            retention: RetentionRule { events: config.retention.events, attempts: config.retention.attempts },
            subscriptions_per_account: config.limits.subscriptions_per_account,
        },
    }
}

/// Where the control socket is.
#[must_use]
pub fn control_socket(config: &Config) -> PathBuf {
    config.server.control_socket.clone().unwrap_or_else(|| config.storage.data_dir.join("control.sock"))
}

impl App {
    /// Opens the store and starts everything. `on_failure` is called once, from another thread, when the store has
    /// failed for good and the process has to end.
    pub fn start(config: &Config, on_failure: impl Fn() + Send + 'static) -> Result<Self, StartError> {
        if config.storage.encryption_key_file.is_some() {
            return Err(StartError::Unsupported("storage.encryption_key_file is not supported yet; leave it empty"));
        }
        if config.server.metrics_listen.is_some() {
            return Err(StartError::Unsupported("server.metrics_listen is not supported yet; leave it empty"));
        }
        let clock = Clock::start();
        let tls = server_tls(config)?;
        let roots = Arc::new(trusted_roots(config)?);
        let opened = Opened::open(&store_settings(config), clock)?;
        let listener = listen(config.server.listen)?;
        let delivery = &config.delivery;
        let dispatcher = Dispatcher::new(delivery.threads, delivery.max_in_flight_per_endpoint, clock);
        let vitals = Arc::new(Vitals::default());
        let Store { writer, reader, thread } = opened.start(listeners(&dispatcher, &vitals, on_failure))?;
        dispatcher.resume(&reader).map_err(|error| StartError::Threads(error.to_string()))?;
        let rule = AddressRule::new(delivery.allow_networks.clone(), delivery.allow_hosts.clone());
        let transport_settings = TransportSettings {
            timeout: delivery.timeout,
            per_endpoint: delivery.max_in_flight_per_endpoint,
            allow_http: delivery.allow_http,
            roots,
        };
        let transport = Transport::new(transport_settings, Guard::new(rule.clone()), clock);
        let path = control_socket(config);
        let control = ControlServer::start(path.clone(), reader.clone(), writer.clone(), clock)
            .map_err(|source| StartError::Control { path, source })?;
        let state = HttpState::new(
            http_settings(config, rule),
            (reader.clone(), writer.clone()),
            (Arc::clone(&dispatcher), Arc::clone(&transport)),
            clock,
            Arc::clone(&vitals),
        );
        let is_tls = tls.is_some();
        let threads = |error: std::io::Error| StartError::Threads(error.to_string());
        let (server, address, http) =
            start_http(listener, tls, web::Data::new(state), server_settings(config)).map_err(threads)?;
        // Last, so that a start that fails before repeats no attempt.
        let pipeline = Pipeline::start(&dispatcher, &transport, &reader, &writer, delivery.threads).map_err(threads)?;
        let drain = delivery.drain;
        Ok(Self {
            address,
            is_tls,
            drain,
            server,
            http,
            control,
            dispatcher,
            pipeline,
            writer,
            writer_thread: thread,
            vitals,
        })
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.address)
    }

    /// Stops: no new requests, attempts in flight end within the drain time, everything is committed, threads end.
    /// Whatever is not delivered is due at the next start.
    pub fn stop(self) {
        let deadline = Instant::now() + self.drain;
        self.vitals.is_stopping.store(true, Ordering::Relaxed);
        self.dispatcher.begin_stop();
        self.control.stop();
        let server = self.server;
        actix_web::rt::System::new().block_on(async move {
            // Requests under way wait for the writer, which goes on until the end.
            server.stop(true).await;
        });
        if self.http.join().is_err() {
            log::error!("the HTTP thread had panicked");
        }
        let cut_off = self.pipeline.stop(deadline);
        if cut_off > 0 {
            log::warn!(
                "{cut_off} attempts in flight were cut off by the drain time; they are made again at the next start"
            );
        }
        // Delivery threads that were cut off still hold a way to the writer, so it cannot be waited for to end; what
        // they have reported is recorded all the same.
        if !self.writer.flush(FLUSH) {
            log::warn!("not all outcomes could be recorded; these attempts are made again at the next start");
        }
        drop(self.writer);
        if cut_off == 0 && self.writer_thread.join().is_err() {
            log::error!("the writer had panicked");
        }
    }
}

fn listeners(dispatcher: &Arc<Dispatcher>, vitals: &Arc<Vitals>, on_failure: impl Fn() + Send + 'static) -> Listeners {
    let (dispatcher, vitals) = (Arc::clone(dispatcher), Arc::clone(vitals));
    Listeners {
        committed: Box::new(move |committed, registry| dispatcher.committed(committed, registry)),
        failed: Box::new(move |_| {
            vitals.store_failed.store(true, Ordering::Relaxed);
            on_failure();
        }),
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })
}

fn http_settings(config: &Config, rule: AddressRule) -> HttpSettings {
    HttpSettings {
        policy: EndpointPolicy { allow_http: config.delivery.allow_http, addresses: rule },
        request_timeout: config.server.request_timeout,
        event_bytes: config.limits.event_bytes,
        management_per_minute: config.rate_limit.management_per_minute,
        publish_per_minute: config.rate_limit.publish_per_minute,
        attempt_timeout: config.delivery.timeout,
        data_dir: config.storage.data_dir.clone(),
        free_space_reserve_bytes: config.storage.free_space_reserve_bytes,
    }
}

fn server_settings(config: &Config) -> ServerSettings {
    ServerSettings {
        workers: config.server.workers,
        max_connections: config.server.max_connections,
        request_timeout: config.server.request_timeout,
        drain: config.delivery.drain,
    }
}

type HttpThread = JoinHandle<std::io::Result<()>>;

fn start_http(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    state: web::Data<HttpState>,
    settings: ServerSettings,
) -> std::io::Result<(ServerHandle, SocketAddr, HttpThread)> {
    let (sender, started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            match http::server(listener, tls, state, &settings) {
                Ok((server, address)) => {
                    drop(sender.send(Ok((server.handle(), address))));
                    server.await
                }
                Err(error) => {
                    drop(sender.send(Err(error)));
                    Ok(())
                }
            }
        })
    })?;
    let (handle, address) =
        started.recv().unwrap_or_else(|_| Err(std::io::Error::other("the HTTP thread ended early")))?;
    Ok((handle, address, thread))
}

fn server_tls(config: &Config) -> Result<Option<rustls::ServerConfig>, StartError> {
    let (Some(certificate), Some(key)) = (&config.server.tls_certificate, &config.server.tls_key) else {
        return Ok(None);
    };
    let failed = |path: &PathBuf, reason: String| StartError::Certificate { path: path.clone(), reason };
    let chain = read_certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map(Some)
        .map_err(|error| failed(certificate, error.to_string()))
}

fn read_certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let failed = |reason: String| StartError::Certificate { path: path.clone(), reason };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?.collect();
    let certificates = certificates.map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() { Err(failed("it holds no PEM certificate".to_owned())) } else { Ok(certificates) }
}

/// The roots that deliveries trust: the public ones and the operator's own.
pub fn trusted_roots(config: &Config) -> Result<Vec<Certificate<'static>>, StartError> {
    let own = config.delivery.ca_certificates.as_ref().map(read_certificates).transpose()?.unwrap_or_default();
    let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let all = public.map(|root| root.as_ref().to_vec()).chain(own.into_iter().map(|root| root.as_ref().to_vec()));
    Ok(all.map(|der| Certificate::from_der(&der).to_owned()).collect())
}
