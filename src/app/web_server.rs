//! Runs an HTTP server on a thread of its own, with the bound address known before the first request.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use actix_web::dev::{Server, ServerHandle};

use super::StartError;

/// A server at work.
pub struct WebServer {
    address: SocketAddr,
    handle: ServerHandle,
    thread: JoinHandle<std::io::Result<()>>,
}

/// Connections that may wait to be taken in; the system may allow fewer.
const WAITING_CONNECTIONS: i32 = 1024;

/// Takes the address, so that it is known whether it is free before anything else is done.
pub fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The standard library's queue is so short that a burst of callers would wait a second for the next try.
    rustix::net::listen(&listener, WAITING_CONNECTIONS).map_err(|error| failed(error.into()))?;
    Ok(listener)
}

impl WebServer {
    /// Builds the server on its thread and runs it until it is stopped.
    pub fn start(
        name: &str,
        listener: TcpListener,
        build: impl FnOnce(TcpListener) -> std::io::Result<Server> + Send + 'static,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                match build(listener) {
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
        actix_web::rt::System::new().block_on(async move { handle.stop(true).await });
        if self.thread.join().is_err() {
            log::error!("an HTTP thread had panicked");
        }
    }
}
