//! What a scenario sets beside the server's defaults, and the configuration file that comes of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::receiver::PemFiles;

/// What a scenario sets beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Replaces the retry schedule.
    pub retry_schedule: Option<&'static [&'static str]>,
    /// A certificate authority for deliveries.
    pub authority: Option<PathBuf>,
    /// The client certificates that deliveries show.
    pub certificates: Vec<ShownCertificate>,
    /// Takes in this many connections that send nothing, for as long as a scenario takes.
    pub idle_connections: Option<usize>,
    /// Whether its wall clock can be moved.
    pub moves_clock: bool,
    /// Where it serves its metrics.
    pub metrics: Option<SocketAddr>,
    /// The PostgreSQL that it keeps everything in, instead of a file.
    pub postgres: Option<String>,
    /// Further sections of its configuration.
    pub sections: &'static str,
    /// Words in front of the program, for what it is to run through.
    pub through: &'static [&'static str],
}

/// A client certificate, who uses it, and for where.
#[derive(Clone, Debug)]
pub struct ShownCertificate {
    /// What subscriptions call it.
    pub name: String,
    /// The certificate and its key.
    pub files: PemFiles,
    /// Whose subscriptions use it.
    pub account: String,
    /// The host that it is shown to.
    pub host: String,
}

/// The configuration file of a server with these settings; the URL of its PostgreSQL is in that file, if it has one.
pub fn configuration(data_dir: &Path, settings: &Settings, url_file: &Path) -> String {
    // A TOML string of the plain kind is written as JSON writes it.
    let text = |value: &dyn std::fmt::Display| json!(value.to_string()).to_string();
    let schedule = settings.retry_schedule.map(|waits| format!("retry_schedule = {}\n", json!(waits)));
    let authority = settings.authority.as_ref().map(|path| format!("ca_certificates = {}\n", text(&path.display())));
    let metrics = settings.metrics.map(|address| format!("metrics_listen = {}\n", text(&address)));
    let postgres = settings
        .postgres
        .as_ref()
        .map(|_| format!("engine = \"postgres\"\n\n[storage.postgres]\nurl_file = {}\n", text(&url_file.display())));
    let connections = settings
        .idle_connections
        .map(|count| format!("max_connections = {}\nrequest_timeout = \"10m\"\n", count + 100));
    let certificate = |shown: &ShownCertificate| {
        format!(
            "[[delivery.client_certificate]]\nname = {}\ncertificate = {}\nkey = {}\naccounts = [{}]\nhosts = [{}]\n\n",
            text(&shown.name),
            text(&shown.files.certificate.display()),
            text(&shown.files.key.display()),
            text(&shown.account),
            text(&shown.host),
        )
    };
    format!(
        "[server]\n{}{}\n[storage]\ndata_dir = {}\n{}\n[delivery]\nallow_http = true\nallow_networks = [\"127.0.0.0/8\"]\n{}{}\n\
         {}{}\n[limits]\nsubscriptions_per_account = 10000\n\n\
         [rate_limit]\nmanagement_per_minute = 0\npublish_per_minute = 0\nwrong_keys_per_minute = 0\n",
        metrics.unwrap_or_default(),
        connections.unwrap_or_default(),
        text(&data_dir.display()),
        postgres.unwrap_or_default(),
        schedule.unwrap_or_default(),
        authority.unwrap_or_default(),
        settings.certificates.iter().map(certificate).collect::<String>(),
        settings.sections,
    )
}
