//! The thread that an HTTP server runs on. It is made and joined by the thread that starts and stops everything.

use std::io;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};

use actix_web::dev::{Server, ServerHandle};
use actix_web::rt::System;

/// A server on its thread.
pub struct ServerThread {
    name: String,
    handle: ServerHandle,
    thread: JoinHandle<io::Result<()>>,
}

impl ServerThread {
    /// Builds a server on a thread of that name, which runs it until it is stopped. Returns when it is built.
    pub fn start(name: &str, build: impl FnOnce() -> io::Result<Server> + Send + 'static) -> io::Result<Self> {
        let (sender, started) = sync_channel(1);
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            System::new().block_on(async move {
                match build() {
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
        let ended = || Err(io::Error::other(format!("the thread {name} ended early")));
        let handle = started.recv().unwrap_or_else(|_| ended())?;
        Ok(Self { name: name.to_owned(), handle, thread })
    }

    /// Stops accepting connections, waits for requests in progress if that is wanted, and ends the thread.
    pub fn stop(self, is_graceful: bool) {
        let Self { name, handle, thread } = self;
        // A dead thread would never reply.
        if !thread.is_finished() {
            System::new().block_on(async move { handle.stop(is_graceful).await });
        }
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::error!("the thread {name} failed: {error}"),
            Err(_) => log::error!("the thread {name} had panicked"),
        }
    }

    /// Why it ended, after it has.
    #[must_use]
    pub fn join(self) -> io::Error {
        match self.thread.join() {
            Ok(Err(error)) => error,
            _ => {
                io::Error::other(format!("the thread {} could not start all workers; the log has the cause", self.name))
            }
        }
    }
}
