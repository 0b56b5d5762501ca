//! What the checks of `doctor` examine: the configuration, and the ways to the server. Shared by the threads of the checks.

use std::time::Duration;

use ureq::Agent;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::control::client::Client;
use crate::domain::Timestamp;

/// Time limit of one response from the network; several fit into the limit of a check.
pub const NETWORK_LIMIT: Duration = Duration::from_secs(5);

/// What all checks may use.
pub struct DoctorContext {
    pub config: Config,
    /// The server's URL; `None` if it listens on a random port.
    pub url: Option<String>,
    /// Whether that is the server of this configuration, and not of a URL that was given.
    pub is_own: bool,
    pub key: Option<Zeroizing<String>>,
    /// A client of the running server's control socket, if it is that server.
    pub control: Option<Client>,
    pub agent: Agent,
    pub host: Option<String>,
    pub now: Timestamp,
}
