//! Rules across keys, and warnings about settings that are allowed but rarely intended.
//!
//! Runs at start-up, on the main thread only. It must never check a key that has an error already: its value here is
//! not the intended one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::ErrorCollector;
use super::origin::Origin;
use super::sections::{Config, StorageEngine};
use crate::config::address_entries;
use crate::domain::smtp::MailSecurity;

/// Idempotency keys are guaranteed for this long, and are stored with their event.
const IDEMPOTENCY: Duration = Duration::from_hours(24);

/// An event is kept for so long after its last delivery was settled or expired, whatever is set: a receiver that finds out late
/// can still be sent what it has lost.
pub const EVENTS_KEPT: Duration = Duration::from_hours(7 * 24);

/// Adds an error for every rule that is broken.
pub(super) fn check(config: &Config, origins: &BTreeMap<&'static str, Origin>, errors_found: &mut ErrorCollector) {
    let mut rules = RuleCheck { origins, errors_found };
    let server = &config.server;
    for (set, given, missing, lacking) in [
        ("server.tls_certificate", server.tls_certificate.is_some(), "server.tls_key", server.tls_key.is_none()),
        ("server.tls_key", server.tls_key.is_some(), "server.tls_certificate", server.tls_certificate.is_none()),
    ] {
        rules.require(!(given && lacking), missing, set, || {
            format!("{set} is set but {missing} is not; set both or none")
        });
    }
    let alerts = &config.alerts;
    let has_mail = !alerts.email_to.is_empty();
    for (set, given, missing, lacking) in [
        ("alerts.email_to", has_mail, "alerts.email_from", alerts.email_from.is_none()),
        ("alerts.email_to", has_mail, "alerts.smtp", alerts.smtp.is_none()),
        (
            "alerts.webhook_url",
            alerts.webhook_url.is_some(),
            "alerts.webhook_secret_file",
            alerts.webhook_secret_file.is_none(),
        ),
    ] {
        rules.require(!(given && lacking), missing, set, || {
            format!("{set} is set but {missing} is not; set both or none")
        });
    }
    let (credentials, smtp) = ("alerts.smtp_credentials_file", "alerts.smtp");
    let is_plain = alerts.smtp.as_ref().is_some_and(|server| server.security == MailSecurity::Plain);
    rules.require(!(is_plain && alerts.smtp_credentials_file.is_some()), credentials, smtp, || {
        format!("{credentials} is set, but {smtp} is not encrypted; use smtp+starttls:// or smtps://")
    });
    let (most, threads) = ("delivery.max_in_flight_per_endpoint", "delivery.threads");
    let delivery = &config.delivery;
    // The default adapts to fewer threads.
    let is_given = origins.get(most).is_some_and(|origin| *origin != Origin::Default);
    rules.require(!is_given || delivery.max_in_flight_per_endpoint <= delivery.threads, most, threads, || {
        format!("{most} is {}, but {threads} is only {}", delivery.max_in_flight_per_endpoint, delivery.threads)
    });
    let (credentials, proxy) = ("delivery.proxy_credentials_file", "delivery.proxy");
    rules.require(delivery.proxy_credentials_file.is_none() || delivery.proxy.is_some(), credentials, proxy, || {
        format!("{credentials} is set but {proxy} is not; set both or neither")
    });
    let (url_file, engine) = ("storage.postgres.url_file", "storage.engine");
    let is_postgres = config.storage.engine == StorageEngine::Postgres;
    rules.require(!is_postgres || config.storage.postgres_url_file.is_some(), url_file, engine, || {
        format!("{engine} is \"postgres\" but {url_file} is not set; name the file with the database's URL")
    });
    let events = "retention.events";
    rules.require(config.retention.events >= IDEMPOTENCY, events, events, || {
        format!("{events} is shorter than 24h, the minimum for recognizing repeated events")
    });
}

struct RuleCheck<'a> {
    origins: &'a BTreeMap<&'static str, Origin>,
    errors_found: &'a mut ErrorCollector,
}

impl RuleCheck<'_> {
    /// The error is about `key`, located at whichever of the two has the stronger source.
    fn require(&mut self, holds: bool, key: &'static str, other: &'static str, message: impl Fn() -> String) {
        if holds || self.errors_found.concerns(key) || self.errors_found.concerns(other) {
            return;
        }
        let (own, others) = (self.origins.get(key), self.origins.get(other));
        // A location is named after its key.
        if others > own {
            if let Some(origin) = others {
                self.errors_found.add_placed_by(origin, other, key, message());
            }
        } else if let Some(origin) = own {
            self.errors_found.add(origin, key, message());
        }
    }
}

/// Warnings for the operator, each a full sentence that names its key.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let (server, delivery) = (&config.server, &config.delivery);
    let mut warnings = Vec::new();
    if !server.listen.ip().to_canonical().is_loopback() && server.tls_certificate.is_none() {
        warnings.push(
            "server.listen is not on loopback and server.tls_certificate is not set: API keys and events can be read on the network, unless a proxy in front terminates TLS"
                .to_owned(),
        );
    }
    if config.retention.events < EVENTS_KEPT {
        warnings.push(
            "retention.events is shorter than 7d and counts as 7d: an event is kept for at least that long after its last \
             delivery was settled or expired"
                .to_owned(),
        );
    }
    if delivery.drain < delivery.timeout {
        warnings.push(
            "delivery.drain is shorter than delivery.timeout: attempts in flight when the server stops may be aborted and repeated"
                .to_owned(),
        );
    }
    if delivery.allow_http {
        warnings.push("delivery.allow_http is on: events sent to http endpoints can be read on the network".to_owned());
    }
    for network in &delivery.allow_networks {
        if let Some(danger) = address_entries::danger(network) {
            warnings.push(format!("delivery.allow_networks has {network}: {danger}"));
        }
    }
    if !delivery.allow_hosts.is_empty() {
        warnings.push(format!(
            "delivery.allow_hosts allows any address for {}: whoever controls these names in DNS decides where deliveries go",
            delivery.allow_hosts.join(", ")
        ));
    }
    warnings
}
