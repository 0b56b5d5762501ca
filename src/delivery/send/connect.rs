//! Makes the connections of deliveries, or takes a kept one: resolves the host, dials an allowed address or the operator's
//! proxy, sets up TLS. Runs on delivery threads.

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
use crate::delivery::send::limit::Limit;
use crate::delivery::send::proxy::{Proxy, target};
use crate::delivery::send::tls::clients::{NamedClient, TlsClients, certificate_refused};
use crate::delivery::send::tls::stream::TlsStream;
use crate::domain::delivery::outcome::Phase;
use crate::domain::secret_text::SecretText;

/// Makes connections, and keeps them for the next request.
#[derive(Debug)]
pub(in crate::delivery) struct Connections {
    pub(in crate::delivery) guard: Guard,
    pub(in crate::delivery) tls: Arc<TlsClients>,
    pub(in crate::delivery) proxy: Option<Arc<Proxy>>,
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

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Peer<'a> {
    pub(in crate::delivery) uri: &'a Uri,
    /// The client certificate that is shown there.
    pub(in crate::delivery) certificate: Option<&'a NamedClient>,
}

/// How a connection gets there.
#[derive(Clone, Copy)]
enum Way<'a> {
    Direct,
    /// By a tunnel through the proxy.
    Tunnel(&'a Proxy),
    /// The proxy takes the request, and hands it on.
    Forward(&'a Proxy),
}

impl Connections {
    fn way(&self, uri: &Uri) -> Way<'_> {
        let proxy = self.proxy.as_deref().filter(|proxy| proxy.is_for(uri.host().unwrap_or_default()));
        match proxy {
            None => Way::Direct,
            Some(proxy) if uri.scheme_str() == Some("https") => Way::Tunnel(proxy),
            Some(proxy) => Way::Forward(proxy),
        }
    }

    /// Sends a request and reads the answer, of whose body so many bytes are kept.
    pub(in crate::delivery) fn ask(
        &self,
        to: Peer<'_>,
        request: &Request<'_>,
        used: Use,
        most_kept: usize,
        limit: &mut Limit,
    ) -> Result<Received, Error> {
        let received = match self.way(to.uri) {
            Way::Direct => self.send(to, request, used, most_kept, limit),
            Way::Tunnel(proxy) => self.send(to, request, used, most_kept, limit).map_err(|error| proxy.ended(error)),
            Way::Forward(proxy) => {
                let mut send = |login: Option<&SecretText>| {
                    let request = request.through_proxy(to.uri, login.map(SecretText::expose));
                    self.send(to, &request, used, most_kept, limit).map_err(|error| proxy.ended(error))
                };
                let login = proxy.login_asked_for(Instant::now());
                let mut received = send(login.as_ref())?;
                // The receiver has not got it yet.
                if received.head.status == 407
                    && let Some(login) = proxy.asks(login.is_some(), Instant::now())
                {
                    received = send(Some(&login))?;
                }
                let (host, port) = target(to.uri);
                proxy.own_answer(&received.head, &format!("{host}:{port}")).map_or(Ok(received), Err)
            }
        };
        received.map_err(|error| if to.certificate.is_some() { certificate_refused(error) } else { error })
    }

    fn send(
        &self,
        to: Peer<'_>,
        request: &Request<'_>,
        used: Use,
        most_kept: usize,
        limit: &mut Limit,
    ) -> Result<Received, Error> {
        let mut try_once = |used| exchange(self.connect(to, used, limit)?, request, most_kept, limit);
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
    fn connect(&self, to: Peer<'_>, used: Use, limit: &mut Limit) -> Result<Connection, Error> {
        let Peer { uri, certificate } = to;
        let server = Server::of(uri, certificate.map(NamedClient::name)).ok_or(Error::HostNotFound)?;
        let generation = self.kept.generation();
        let way = self.way(uri);
        limit.enter(Phase::Resolve);
        let addresses = match way {
            Way::Direct => self.guard.addresses(uri, limit)?,
            Way::Tunnel(proxy) | Way::Forward(proxy) => {
                self.guard.check_known(uri)?;
                let (host, port) = proxy.address();
                let found = self.guard.any_addresses(host, port, limit);
                found.map_err(|error| proxy.unreachable(error, Phase::Resolve))?
            }
        };
        limit.enter(Phase::Connect);
        if used == Use::New {
            self.kept.close_all_of(&server);
        } else if let Some((peer, open)) = self.kept.take(&server, &addresses) {
            return Ok(Connection::kept(open, self.place(server, peer, generation)));
        }
        let now = Instant::now();
        let ordered = in_order(&addresses, |address| self.failed.failed_at(address, now));
        let make_room = || self.kept.close_oldest();
        let dialler = Dialler { budget: &self.budget, failed: &self.failed, make_room: &make_room };
        let (socket, permit) = dialler.dial(&ordered, limit).map_err(|error| match (error, way) {
            (DialError::NoneLeft, _) => ConnectionError::NoneLeft.into(),
            (DialError::Failed(error), Way::Direct) => error,
            (DialError::Failed(error), Way::Tunnel(proxy) | Way::Forward(proxy)) => {
                proxy.unreachable(error, Phase::Connect)
            }
        })?;
        let peer = socket.peer();
        let waiting = self.kept.wait(&server, Instant::now());
        let place = self.place(server, peer, generation);
        if let Way::Tunnel(proxy) = way {
            let (host, port) = target(uri);
            proxy.open_tunnel(&socket, host, port, limit)?;
        }
        let stream = if uri.scheme_str() == Some("https") {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|_| Error::Tls("no certificate can be made for that host name"))?;
            limit.enter(Phase::Handshake);
            let config = certificate.map_or_else(|| self.tls.plain(), NamedClient::config);
            let stream = TlsStream::connect(socket, config, name, limit);
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
