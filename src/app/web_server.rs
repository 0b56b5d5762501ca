//! Runs an HTTP server on a thread of its own, with the bound address known before the first request.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use actix_web::dev::{Server, ServerHandle};

use super::error::StartError;
use crate::http::Ready;

/// A server at work.
pub struct WebServer {
    address: SocketAddr,
    handle: ServerHandle,
    thread: JoinHandle<std::io::Result<()>>,
}

/// Connections that may wait to be taken in; the system may allow fewer.
const WAITING_CONNECTIONS: i32 = 1024;

/// What the system keeps of answers that a caller has not taken yet, for each connection; it doubles this for its own
/// use. Without it, it would keep some MiB for whoever reads slowly.
const UNTAKEN_BYTES: usize = 128 * 1024;
/// How long the system goes on sending to a caller that is gone.
const GONE_MS: u32 = 60_000;

/// Takes the address, so that it is known whether it is free before anything else is done.
pub fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The standard library's queue is so short that a burst of callers would wait a second for the next try.
    rustix::net::listen(&listener, WAITING_CONNECTIONS).map_err(|error| failed(error.into()))?;
    // Connections have from their listener what is set here.
    rustix::net::sockopt::set_socket_send_buffer_size(&listener, UNTAKEN_BYTES)
        .and_then(|()| rustix::net::sockopt::set_tcp_user_timeout(&listener, GONE_MS))
        // Answers to pipelined requests would else wait for the caller's system to confirm the one before.
        .and_then(|()| rustix::net::sockopt::set_tcp_nodelay(&listener, true))
        .map_err(|error| failed(error.into()))?;
    Ok(listener)
}

impl WebServer {
    /// Builds the server on its thread and runs it until it is stopped. Comes back when each worker has reported with
    /// what `build` is given, so that a machine without threads or descriptors for them is noticed here.
    pub fn start(
        name: &str,
        listener: TcpListener,
        workers: usize,
        build: impl FnOnce(TcpListener, Ready) -> std::io::Result<Server> + Send + 'static,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, started) = sync_channel(1);
        let (ready, is_ready) = sync_channel(workers);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                match build(listener, Ready(ready)) {
                    Ok(server) => {
                        drop(sender.send(Ok(server.handle())));
                        server.await
                    }
                    Err(error) => {
                        drop(sender.send(Err(error)));
                        Ok(())
                    }
                }
            })
        })?;
        let handle = started.recv().unwrap_or_else(|_| Err(std::io::Error::other("the HTTP thread ended early")))?;
        for _ in 0..workers {
            if is_ready.recv().is_err() {
                return Err(match thread.join() {
                    Ok(Err(error)) => error,
                    _ => std::io::Error::other("an HTTP worker could not be started; the log has the cause"),
                });
            }
        }
        Ok(Self { address, handle, thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets requests under way end, and ends the thread.
    pub fn stop(self) {
        let handle = self.handle;
        // A thread that has died would never answer.
        if !self.thread.is_finished() {
            actix_web::rt::System::new().block_on(async move { handle.stop(true).await });
        }
        if self.thread.join().is_err() {
            log::error!("an HTTP thread had panicked");
        }
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
