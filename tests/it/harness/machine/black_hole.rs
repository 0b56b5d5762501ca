//! An address that takes packets and never answers, as behind a firewall that drops them.

use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::net::listen;

/// Whoever connects to it waits, because its queue is full and nobody takes from it.
pub struct BlackHole {
    _listener: TcpListener,
    _queued: TcpStream,
}

impl BlackHole {
    pub fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listen(&listener, 0).unwrap();
        let queued = TcpStream::connect(address).unwrap();
        Self { _listener: listener, _queued: queued }
    }
}
