//! The TLS sessions that can be resumed, a few for each of a bounded number of servers. Delivery threads put them in and
//! take them out, and never wait. rustls's own cache keeps eight tickets a server, each with a copy of the certificates;
//! whoever is called rarely needs one.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// With certificates of 4 KB, 16 MB at most.
const SERVERS: usize = 2048;
/// As many as most servers give at a time.
const TICKETS: usize = 2;

/// The sessions.
#[derive(Default)]
pub(in crate::delivery) struct Sessions(Mutex<Servers>);

#[derive(Default)]
struct Servers {
    by_name: HashMap<ServerName<'static>, Server>,
    /// All names, the one that was put in first in front.
    names: VecDeque<ServerName<'static>>,
}

#[derive(Default)]
struct Server {
    key_exchange: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// Each is used once; the newest is the last.
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Servers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit(&self, name: ServerName<'static>, edit: impl FnOnce(&mut Server)) {
        let mut servers = self.lock();
        if !servers.by_name.contains_key(&name) {
            if servers.names.len() >= SERVERS
                && let Some(oldest) = servers.names.pop_front()
            {
                servers.by_name.remove(&oldest);
            }
            servers.names.push_back(name.clone());
        }
        edit(servers.by_name.entry(name).or_default());
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.edit(name, |server| server.key_exchange = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().by_name.get(name)?.key_exchange
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.edit(name, |server| server.tls12 = Some(session));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().by_name.get(name)?.tls12.clone()
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        if let Some(server) = self.lock().by_name.get_mut(name) {
            server.tls12 = None;
        }
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.edit(name, |server| {
            if server.tls13.len() >= TICKETS {
                server.tls13.pop_front();
            }
            server.tls13.push_back(ticket);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().by_name.get_mut(name)?.tls13.pop_back()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it holds is secret.
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_so_many_servers_the_first_is_forgotten() {
        let sessions = Sessions::default();
        let name = |number: usize| ServerName::try_from(format!("host-{number}.example")).unwrap();
        for number in 0..=SERVERS {
            // Twice, because one that is there already takes no other's place.
            sessions.set_kx_hint(name(number), NamedGroup::X25519);
            sessions.set_kx_hint(name(number), NamedGroup::X25519);
        }
        let known = (0..=SERVERS).filter(|number| sessions.kx_hint(&name(*number)).is_some());
        assert_eq!(known.collect::<Vec<_>>(), (1..=SERVERS).collect::<Vec<_>>());
    }
}
