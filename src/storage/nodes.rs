//! What is known of the servers that use a store, for people. Types; any thread.

use std::time::Duration;

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It answers and sends.
    Active,
    /// It waits, and passes requests on.
    Standby,
    /// It has not been seen for a while.
    Gone,
}

impl NodeState {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Gone => "gone",
        }
    }
}

impl NodeStatus {
    /// This process, which has its store for itself.
    #[must_use]
    pub fn alone(version: &str) -> Self {
        let (id, host) = (std::process::id(), rustix::system::uname());
        let name = format!("process {id} on {}", host.nodename().to_string_lossy());
        let state = NodeState::Active;
        Self { name, version: version.to_owned(), state, seen_ago: Duration::ZERO, lease_left: None }
    }
}

/// A server.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its process and machine, and since when it runs.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub state: NodeState,
    /// How long ago it was seen.
    pub seen_ago: Duration,
    /// For how long it may act for the store unless it renews its lease.
    pub lease_left: Option<Duration>,
}

/// The server that has a store which this one waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveServer {
    /// Its process and machine, and since when it runs.
    pub name: String,
    /// Raised by each server that takes over.
    pub epoch: i64,
}
