//! Runs an HTTP server on its own thread; the bound address is known before the first request.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::sync_channel;

use actix_web::dev::Server;

use super::error::StartError;
use crate::http::Ready;
use crate::http::server_thread::ServerThread;

/// A running server.
pub struct WebServer {
    address: SocketAddr,
    thread: ServerThread,
}

/// Listen backlog; the system may allow fewer.
const WAITING_CONNECTIONS: i32 = 1024;

/// Send buffer per connection (the kernel doubles it). Without it the kernel would buffer some MiB for a slow reader.
const UNTAKEN_BYTES: usize = 128 * 1024;
/// TCP user timeout.
const GONE_MS: u32 = 60_000;

/// Binds the address, before anything else is done.
pub fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The standard library's backlog is so short that a burst of clients would wait a second for a retransmission.
    rustix::net::listen(&listener, WAITING_CONNECTIONS).map_err(|error| failed(error.into()))?;
    // Connections inherit these options from the listener.
    rustix::net::sockopt::set_socket_send_buffer_size(&listener, UNTAKEN_BYTES)
        .and_then(|()| rustix::net::sockopt::set_tcp_user_timeout(&listener, GONE_MS))
        // Otherwise responses to pipelined requests wait for the client's delayed ACK.
        .and_then(|()| rustix::net::sockopt::set_tcp_nodelay(&listener, true))
        .map_err(|error| failed(error.into()))?;
    Ok(listener)
}

impl WebServer {
    /// Builds the server on its thread and runs it until it is stopped. Returns when each worker has started, so that a
    /// lack of threads or descriptors is an error here.
    pub fn start(
        name: &str,
        listener: TcpListener,
        workers: usize,
        build: impl FnOnce(TcpListener, Ready) -> std::io::Result<Server> + Send + 'static,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (ready, is_ready) = sync_channel(workers);
        let thread = ServerThread::start(name, move || build(listener, Ready(ready)))?;
        for _ in 0..workers {
            if is_ready.recv().is_err() {
                return Err(thread.join());
            }
        }
        Ok(Self { address, thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting connections, waits for requests in progress, and ends the thread.
    pub fn stop(self) {
        self.thread.stop(true);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn answers_are_sent_without_waiting_for_the_one_before() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(listener.accept().unwrap().0.nodelay().unwrap());
    }
}
