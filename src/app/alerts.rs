//! Makes the ways by which alerts go out from the configuration, and tells by them when there is no store to keep an alert
//! in. Runs on the main thread; each hand-over has a thread of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use lettre::transport::smtp::authentication::Credentials;

use crate::app::certificates::client_config;
use crate::app::error::StartError;
use crate::app::files::certificate_warnings;
use crate::app::parts::transport;
use crate::clock::Clock;
use crate::config::{Config, StorageEngine};
use crate::delivery::Transport;
use crate::descriptors::{Shares, raise_limit};
use crate::domain::Timestamp;
use crate::domain::alert::{Alert, AlertKind};
use crate::domain::endpoint::address::AddressRule;
use crate::domain::endpoint::{Endpoint, EndpointPolicy};
use crate::domain::ids::EventIds;
use crate::domain::signing::SigningSecret;
use crate::notify::mail::{Mail, MailSettings};
use crate::notify::program::Program;
use crate::notify::watch::{Limits, Watch};
use crate::notify::way::{HandOverError, Way};
use crate::notify::webhook::Webhook;
use crate::storage::Randomness;

/// How long the process waits with its end for the alert that its store has failed.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long a test waits for all ways.
const TEST: Duration = Duration::from_mins(1);
/// Beside the database: the store has failed, and not everybody was told.
const FAILED_FILE: &str = "store-failed";

/// All ways that are configured.
pub fn ways(config: &Config, transport: &Arc<Transport>, rule: &AddressRule) -> Result<Vec<Arc<dyn Way>>, StartError> {
    let alerts = &config.alerts;
    let mut ways: Vec<Arc<dyn Way>> = Vec::new();
    if let (Some(server), Some(from)) = (&alerts.smtp, &alerts.email_from) {
        let settings = Arc::new(MailSettings {
            server: server.clone(),
            credentials: alerts.smtp_credentials_file.as_deref().map(credentials).transpose()?,
            from: from.clone(),
            tls: Arc::new(client_config(config)?),
            host: host_name(),
            time_of_day: alerts.digest,
        });
        let mail = |to: &String| Arc::new(Mail::new(Arc::clone(&settings), to.clone())) as Arc<dyn Way>;
        ways.extend(alerts.email_to.iter().map(mail));
    }
    if let (Some(url), Some(file)) = (&alerts.webhook_url, &alerts.webhook_secret_file) {
        let policy = EndpointPolicy { allow_http: config.delivery.allow_http, addresses: rule.clone() };
        let wrong = |reason: String| StartError::Alerts { key: "alerts.webhook_url", reason };
        let endpoint = Endpoint::parse(url, &policy).map_err(|error| wrong(error.to_string()))?;
        let key = "alerts.webhook_secret_file";
        let secret = SigningSecret::parse(&secret_text(key, file)?);
        let secret = secret.ok_or_else(|| StartError::Alerts { key, reason: SigningSecret::WANTED.to_owned() })?;
        let webhook = Webhook::new(Arc::clone(transport), endpoint, secret);
        ways.push(Arc::new(webhook.ok_or_else(|| wrong("cannot be used".to_owned()))?));
    }
    if let Some(path) = &alerts.command {
        ways.push(Arc::new(Program::new(path.clone())));
    }
    Ok(ways)
}

/// A file's text without the line's end. The error says nothing of what is in it.
fn secret_text(key: &'static str, path: &Path) -> Result<String, StartError> {
    let text = fs::read_to_string(path)
        .map_err(|error| StartError::Alerts { key, reason: format!("the file cannot be read: {error}") })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn credentials(path: &Path) -> Result<Credentials, StartError> {
    let key = "alerts.smtp_credentials_file";
    let text = secret_text(key, path)?;
    let wrong = || StartError::Alerts { key, reason: "the file must contain user:password on one line".to_owned() };
    let (user, password) = text.split_once(':').filter(|_| !text.contains(char::is_control)).ok_or_else(wrong)?;
    Ok(Credentials::new(user.to_owned(), password.to_owned()))
}

/// The name by which this machine introduces itself to a mail server.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    if is_name { name } else { "localhost".to_owned() }
}

/// What the notifier looks after by itself, and when the store failed before, if nobody was told.
#[must_use]
pub fn watch(config: &Config, failed_at: Option<String>) -> Watch {
    let config = config.clone();
    // Backups of a database server are not this program's, and it does not hear of them.
    let is_embedded = config.storage.engine == StorageEngine::Embedded;
    let backup_missed_after = if is_embedded { config.alerts.backup_missed_after } else { Duration::ZERO };
    let limits = Limits { backup_missed_after, feed_behind_after: config.alerts.feed_behind_after };
    Watch::new(limits, failed_at, Box::new(move |now| certificate_warnings(&config, now)))
}

fn alert(kind: AlertKind, message: String, now: Timestamp) -> Alert {
    // Without random bits it is as unique as its time.
    let id = EventIds::after(None).next(now, Randomness::new().next_u128().unwrap_or_default());
    Alert { id, kind, endpoint: None, message }
}

/// What came of a hand-over; none: it has not ended.
pub type HandedOver = (String, Option<Result<(), HandOverError>>);

/// Hands one alert over by all ways at once.
fn hand_over_all(ways: &[Arc<dyn Way>], alert: &Alert, limit: Duration) -> Vec<HandedOver> {
    let (sender, results) = channel();
    let mut handed: Vec<HandedOver> = ways.iter().map(|way| (way.name().to_owned(), None)).collect();
    for (place, way) in ways.iter().enumerate() {
        let (way, alert, sender) = (Arc::clone(way), alert.clone(), sender.clone());
        let spawned = std::thread::Builder::new().name("alert".to_owned());
        drop(spawned.spawn(move || drop(sender.send((place, way.hand_over(std::slice::from_ref(&alert)))))));
    }
    drop(sender);
    let end = Instant::now() + limit;
    while let Ok((place, result)) = results.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if let Some((_, known)) = handed.get_mut(place) {
            *known = Some(result);
        }
    }
    handed
}

/// Sends a test by each way.
pub fn test_alerts(config: &Config) -> Result<Vec<HandedOver>, StartError> {
    let clock = Clock::start();
    let shares = Shares::of(raise_limit(), config.server.max_connections);
    let (transport, rule) = transport(config, shares, clock)?;
    let ways = ways(config, &transport, &rule)?;
    let message = "this is a test: alerts arrive here".to_owned();
    Ok(hand_over_all(&ways, &alert(AlertKind::Test, message, clock.wall()), TEST))
}

/// Tells that the store has failed, which no store can keep: at once, or at the next start.
pub struct LastWords {
    ways: Vec<Arc<dyn Way>>,
    file: PathBuf,
}

impl LastWords {
    /// By these ways, for the store in that folder.
    #[must_use]
    pub fn new(ways: Vec<Arc<dyn Way>>, folder: &Path) -> Self {
        Self { ways, file: folder.join(FAILED_FILE) }
    }

    /// Tells it now.
    pub fn tell(&self, now: Timestamp) {
        if self.ways.is_empty() {
            return;
        }
        if let Err(error) = fs::write(&self.file, now.to_string()) {
            log::error!("the alert of the failed store could not be kept for the next start: {error}");
        }
        let message = format!("the store failed at {now}, and the server exited; its log says why");
        let handed = hand_over_all(&self.ways, &alert(AlertKind::StoreFailed, message, now), LAST_WORDS);
        for (way, result) in &handed {
            match result {
                Some(Ok(())) => {}
                Some(Err(error)) => log::error!("the alert of the failed store could not be sent by {way}: {error}"),
                None => log::error!("the alert of the failed store was not sent by {way} in time"),
            }
        }
        if handed.iter().any(|(_, result)| matches!(result, Some(Ok(())))) {
            drop(fs::remove_file(&self.file));
        }
    }

    /// When the store failed, if nobody was told of it. It is forgotten with this.
    #[must_use]
    pub fn take_untold(&self) -> Option<String> {
        let at = fs::read_to_string(&self.file).ok()?;
        drop(fs::remove_file(&self.file));
        Timestamp::parse(&at).map(|at| at.to_string())
    }
}
