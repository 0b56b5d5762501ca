//! Makes the parts of the server from the configuration. Runs on the main thread.

use crate::app::client_certificates;
use crate::app::error::StartError;
use crate::app::proxy::proxy;
use crate::clock::Clock;
use crate::config::{Config, EVENTS_KEPT, StorageEngine};
use crate::control::client::ControlSocket;
use crate::control::server::{ControlError, ControlServer};
use crate::delivery::Transport;
use crate::delivery::send::address::guard::Guard;
use crate::delivery::send::transport::TransportSettings;
use crate::descriptors::{Shares, raise_limit};
use crate::domain::delivery::health::HealthRule;
use crate::domain::delivery::retry::RetryRule;
use crate::domain::endpoint::EndpointPolicy;
use crate::domain::endpoint::address::AddressRule;
use crate::domain::options::OptionLimits;
use crate::http::dashboard::settings::DashboardSettings;
use crate::http::{HttpSettings, HttpState, ServedCatalogue, ServerSettings};
use crate::notify::status::WaysStatus;
use crate::storage::{AlertRule, PostgresSettings, RetentionRule, Rules, StoreSettings};
use actix_web::web;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// Size of the blocking pool, per HTTP worker.
const BLOCKING_THREADS: usize = 16;
/// How many of one account may be under way at a time, whichever worker its connections belong to.
const READS_OF_ONE: usize = BLOCKING_THREADS / 4;

/// What to do where the server's control socket cannot be.
pub const ANOTHER_SOCKET: &str = "; set server.control_socket to a shorter path, or one on another file system, in a folder that this user may write to";

/// The store's settings from the configuration.
#[must_use]
pub fn store_settings(config: &Config) -> StoreSettings {
    let (delivery, retention) = (&config.delivery, &config.retention);
    let retry = RetryRule { waits: delivery.retry_schedule.clone(), retry_after_max: delivery.retry_after_max };
    let schema = &config.storage.postgres_schema;
    let url_file = config.storage.postgres_url_file.clone();
    let is_postgres = config.storage.engine == StorageEngine::Postgres;
    StoreSettings {
        data_dir: config.storage.data_dir.clone(),
        postgres: url_file
            .filter(|_| is_postgres)
            .map(|url_file| PostgresSettings { url_file, schema: schema.clone() }),
        encryption_key_file: config.storage.encryption_key_file.clone(),
        cache_bytes: usize::try_from(config.storage.cache_bytes).unwrap_or(usize::MAX),
        free_space_reserve_bytes: config.storage.free_space_reserve_bytes,
        rules: Rules {
            health: HealthRule::new(delivery.disable_after, retry.longest_wait()),
            retry,
            retention: RetentionRule {
                events: retention.events.max(EVENTS_KEPT),
                idempotency: retention.idempotency,
                attempts: retention.attempts,
                held: retention.held,
            },
            audit_kept: retention.audit,
            alerts: config.alerts.is_on().then_some(AlertRule {
                failing_after: config.alerts.failing_after,
                feed_behind_after: config.alerts.feed_behind_after,
            }),
            subscriptions_per_account: config.limits.subscriptions_per_account,
        },
    }
}

/// Where the data is, for people.
#[must_use]
pub fn place_of_data(config: &Config) -> String {
    match config.storage.engine {
        StorageEngine::Embedded => config.storage.data_dir.display().to_string(),
        StorageEngine::Postgres => format!("schema {} of PostgreSQL", config.storage.postgres_schema),
    }
}

/// The control socket's location and trusted owner.
#[must_use]
pub fn control_socket(config: &Config) -> ControlSocket {
    let data_dir = config.storage.data_dir.clone();
    let path = config.server.control_socket.clone().unwrap_or_else(|| data_dir.join("control.sock"));
    ControlSocket { path, data_dir }
}

/// How the descriptors of this process are divided, after as many as possible were made available.
pub fn divide_descriptors(config: &Config) -> Shares {
    let (limit, max_connections) = (raise_limit(), config.server.max_connections);
    let shares = Shares::of(limit, max_connections);
    if let Some(shortage) = shares.shortage(limit, max_connections, config.delivery.threads) {
        log::warn!("{shortage}; raise LimitNOFILE of the unit, or ulimit -Hn");
    }
    shares
}

/// The transport and the address rule.
pub fn transport(config: &Config, shares: Shares, clock: Clock) -> Result<(Arc<Transport>, AddressRule), StartError> {
    let delivery = &config.delivery;
    let rule = AddressRule::new(delivery.allow_networks.clone(), delivery.allow_hosts.clone());
    let settings = TransportSettings {
        timeout: delivery.timeout,
        per_endpoint: delivery.max_in_flight_per_endpoint,
        connections: shares.endpoint_connections,
        allow_http: delivery.allow_http,
        retry_after_max: delivery.retry_after_max,
    };
    let (tls, guard) = (client_certificates::tls_settings(config)?, Guard::new(rule.clone(), shares.look_ups));
    Ok((Transport::new(settings, tls, guard, proxy(config)?, clock), rule))
}

/// `elsewhere` says how to choose another place, for one that cannot hold a socket.
pub fn start_control(
    path: PathBuf,
    (state, ways): (&web::Data<HttpState>, Arc<WaysStatus>),
    elsewhere: &'static str,
) -> Result<ControlServer, StartError> {
    ControlServer::start(path.clone(), state.clone(), ways).map_err(|source| control_failed(path, source, elsewhere))
}

/// Why there is no control socket.
pub fn control_failed(path: PathBuf, source: ControlError, elsewhere: &'static str) -> StartError {
    let advice = if matches!(source, ControlError::Place(_)) { elsewhere } else { "" };
    StartError::Control { path, source, advice }
}

/// The dashboard of a server that listens on this address.
pub fn dashboard_settings(config: &Config, listens: SocketAddr) -> DashboardSettings {
    let is_tls = config.server.tls_certificate.is_some();
    let mut address = listens;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    DashboardSettings {
        is_served: config.server.dashboard,
        public_url: config.server.public_url.clone(),
        own_url: format!("{}://{address}", if is_tls { "https" } else { "http" }),
        is_tls,
        port: listens.port(),
        feed_behind_after: config.alerts.feed_behind_after,
    }
}

pub fn http_settings(config: &Config, rule: AddressRule, dashboard: DashboardSettings) -> HttpSettings {
    HttpSettings {
        policy: EndpointPolicy { allow_http: config.delivery.allow_http, addresses: rule },
        options: OptionLimits {
            timeout: config.delivery.timeout,
            max_in_flight: config.delivery.max_in_flight_per_endpoint.min(config.delivery.threads),
        },
        client_certificates: client_certificates::uses(config),
        request_timeout: config.server.request_timeout,
        event_bytes: config.limits.event_bytes,
        management_per_minute: config.rate_limit.management_per_minute,
        publish_per_minute: config.rate_limit.publish_per_minute,
        feed_per_minute: config.rate_limit.feed_per_minute,
        feed_waiters: Arc::default(),
        wrong_keys_per_minute: config.rate_limit.wrong_keys_per_minute,
        read_threads: config.server.workers * BLOCKING_THREADS,
        read_threads_of_one: READS_OF_ONE,
        free_space_reserve_bytes: config.storage.free_space_reserve_bytes,
        dashboard,
        catalogue: ServedCatalogue::new(Arc::clone(&config.catalogue)),
    }
}

pub fn server_settings(config: &Config, shares: Shares) -> ServerSettings {
    ServerSettings {
        workers: config.server.workers,
        max_connections: shares.api_connections,
        request_timeout: config.server.request_timeout,
        keep_alive: config.server.keep_alive,
        drain: config.delivery.drain,
        blocking_threads: BLOCKING_THREADS,
    }
}
