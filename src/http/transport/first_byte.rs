//! Waits for the first byte of a connection. Until then a connection is its socket and a time limit; actix-http and TLS
//! allocate their buffers as they are given it, some 20 KiB, which many silent connections fill the memory with and leave
//! fragmented. Runs on the HTTP workers; it never reads.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

/// Whether something has come, or the end of the connection, within the time limit and before the server stops.
pub async fn has_come(stream: &TcpStream, limit: Duration, stopping: impl Future<Output = ()>) -> bool {
    tokio::select! {
        // First, so that what has come is answered also by a server that stops.
        biased;
        ready = stream.readable() => ready.is_ok(),
        () = stopping => false,
        () = sleep(limit) => false,
    }
}
