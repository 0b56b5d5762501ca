//! Why the server did not start, in words to act on. Pure; any thread.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::control::server::ControlError;
use crate::storage::error::OpenError;

/// What to do where an address cannot be listened on, if that is known.
fn advice_to_listen(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "; another program listens there: stop it, or configure another address",
        ErrorKind::AddrNotAvailable => "; this machine has no such address: configure one of its addresses",
        ErrorKind::PermissionDenied => {
            "; a port below 1024 needs CAP_NET_BIND_SERVICE, as docs/install.md shows; or configure another port"
        }
        _ => "",
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {source}{}", advice_to_listen(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or key could not be used.
    #[error("{key}: {path} cannot be used: {reason}")]
    Certificate {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file with a secret could not be used.
    #[error("{key}: the file cannot be used: {reason}")]
    SecretFile {
        /// The key of the configuration that names it.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// Alerts cannot go out as configured.
    #[error("{key}: {reason}")]
    Alerts {
        /// The key of the configuration.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// The control socket could not be made.
    #[error("the control socket {path} cannot be created: {source}{advice}")]
    Control {
        /// Where.
        path: PathBuf,
        /// Why.
        source: ControlError,
        /// What to do, where the source does not say it.
        advice: &'static str,
    },
    /// The database belongs to another user.
    #[error(
        "{path} belongs to {owner}, and this user may not use it; run the command as its owner: sudo -u {owner} tempclock-webhooks …"
    )]
    OtherUser {
        /// The folder or file.
        path: PathBuf,
        /// Its owner's name.
        owner: String,
    },
    /// The data folder or the database is this user's, and closed to it.
    #[error("{path} is not accessible to its own owner: Permission denied. Allow access with: chmod u+rwX {path}")]
    Closed {
        /// The folder or file.
        path: PathBuf,
    },
    /// Deliveries wait and their outcomes could not be recorded, so that each start would send them again.
    #[error(
        "{path} has {free_bytes} bytes free, which is not enough to record the outcomes of {pending} pending deliveries: No space left on device. Nothing was sent. Free some space, and start the server again, as systemd does by itself"
    )]
    NoRoom {
        /// The data folder.
        path: PathBuf,
        /// How much is free.
        free_bytes: u64,
        /// How many deliveries wait.
        pending: u64,
    },
    /// A thread could not be started, TLS not be set up, or the outbox not be read.
    #[error("cannot start: {0}")]
    Threads(String),
}
