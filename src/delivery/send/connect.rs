//! Makes the connections of deliveries, or takes a kept one: resolves the host, dials an allowed address, sets up TLS. Runs
//! on delivery threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use ureq::Error;
use ureq::http::Uri;

use crate::delivery::send::address::failed::FailedAddresses;
use crate::delivery::send::address::guard::Guard;
use crate::delivery::send::address::order::in_order;
use crate::delivery::send::budget::Budget;
use crate::delivery::send::connection::{Connection, ConnectionError, Open, Place, Stream};
use crate::delivery::send::dial::{DialError, Dialler};
use crate::delivery::send::exchange::{Received, Request, exchange};
use crate::delivery::send::kept::{KeptConnections, ServerName as Server};
use crate::delivery::send::phase;
use crate::delivery::send::tcp::Limit;
use crate::delivery::send::tls::TlsClient;
use crate::delivery::send::tls::stream::TlsStream;
use crate::domain::delivery::outcome::Phase;

/// Makes connections, and keeps them for the next request.
#[derive(Debug)]
pub(in crate::delivery) struct Connections {
    pub(in crate::delivery) guard: Guard,
    pub(in crate::delivery) tls: Arc<TlsClient>,
    pub(in crate::delivery) failed: Arc<FailedAddresses>,
    pub(in crate::delivery) budget: Arc<Budget>,
    pub(in crate::delivery) kept: Arc<KeptConnections<Open>>,
}

/// Which connections a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Use {
    /// A kept one, if there is one.
    Kept,
    /// A new one.
    New,
}

impl Connections {
    /// Sends a request to the server of a URL and reads the answer, of whose body so many bytes are kept.
    pub(in crate::delivery) fn ask(
        &self,
        uri: &Uri,
        request: &Request<'_>,
        used: Use,
        most_kept: usize,
        limit: &mut Limit,
    ) -> Result<Received, Error> {
        let mut try_once = |used| exchange(self.connect(uri, used, limit)?, request, most_kept, limit);
        let mut result = try_once(used);
        // Each of the kept connections may turn out to be of no use before a byte of the request is sent.
        for left in (0..self.kept.per_server()).rev() {
            if !matches!(result.as_ref().err().and_then(ConnectionError::of), Some(ConnectionError::Unused)) {
                break;
            }
            result = try_once(if left > 0 { used } else { Use::New });
        }
        result
    }

    /// A connection to the host of a URL: a kept one if that is allowed and there is one. For a new one those that
    /// are kept are closed otherwise, as a receiver that serves one connection at a time may wait on one of them.
    fn connect(&self, uri: &Uri, used: Use, limit: &mut Limit) -> Result<Connection, Error> {
        let server = Server::of(uri).ok_or(Error::HostNotFound)?;
        let generation = self.kept.generation();
        phase::enter(Phase::Resolve);
        let addresses = self.guard.addresses(uri, limit)?;
        phase::enter(Phase::Connect);
        if used == Use::New {
            self.kept.close_all_of(&server);
        } else if let Some((peer, open)) = self.kept.take(&server, &addresses) {
            return Ok(Connection::kept(open, self.place(server, peer, generation)));
        }
        let now = Instant::now();
        let ordered = in_order(&addresses, |address| self.failed.failed_at(address, now));
        let make_room = || self.kept.close_oldest();
        let dialler = Dialler { budget: &self.budget, failed: &self.failed, make_room: &make_room };
        let (socket, permit) = dialler.dial(&ordered, limit).map_err(|error| match error {
            DialError::NoneLeft => ConnectionError::NoneLeft.into(),
            DialError::Failed(error) => error,
        })?;
        let peer = socket.peer();
        let waiting = self.kept.wait(&server, Instant::now());
        let place = self.place(server, peer, generation);
        let stream = if uri.scheme_str() == Some("https") {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|_| Error::Tls("no certificate can be made for that host name"))?;
            phase::enter(Phase::Handshake);
            let stream = TlsStream::connect(socket, self.tls.config(), name, limit);
            Stream::Tls(Box::new(stream.inspect_err(|_| place.note_silence())?))
        } else {
            Stream::Plain(socket)
        };
        Ok(Connection::new(stream, permit, place, waiting))
    }

    fn place(&self, server: Server, peer: SocketAddr, generation: u64) -> Place {
        let (kept, budget, failed) = (Arc::clone(&self.kept), Arc::clone(&self.budget), Arc::clone(&self.failed));
        Place { kept, budget, failed, server, peer, generation }
    }
}
