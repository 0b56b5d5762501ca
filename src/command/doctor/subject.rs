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
pub struct Subject {
    pub config: Config,
    /// Where the server is to answer; `None` if it takes a port of its own choice.
    pub url: Option<String>,
    pub key: Option<Zeroizing<String>>,
    /// The running server's control socket, where it is the server that is meant.
    pub control: Option<Client>,
    pub agent: Agent,
    pub host: Option<String>,
    pub now: Timestamp,
}
