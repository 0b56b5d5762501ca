//! What is wrong with the files that the configuration names, before anything is started with them, and which certificates
//! end soon. Any thread; it reads the files.

use crate::app::{certificates, client_certificates, proxy};
use crate::config::Config;
use crate::domain::Timestamp;

/// The problems of the configured files, each with its key.
#[must_use]
pub fn check_files(config: &Config) -> Vec<String> {
    let mut problems = certificates::check_files(config);
    problems.extend(client_certificates::check_files(config));
    problems.extend(proxy::login(config).err().map(|error| error.to_string()));
    problems
}

/// Warnings of the server's own certificate and of client certificates that have expired or soon will.
#[must_use]
pub fn certificate_warnings(config: &Config, now: Timestamp) -> Vec<String> {
    let own = certificates::certificate_warning(config, now);
    own.into_iter().chain(client_certificates::warnings(config, now)).collect()
}
