//! The thread of all connections to the database. Any other thread hands work to it and waits, for a bounded time; nothing
//! else runs there, and it never waits for another thread.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::storage::postgres::connection::fault::Fault;

/// Threads for look-ups of names.
const LOOK_UPS: usize = 4;

/// Until the last clone is dropped.
#[derive(Clone)]
pub(in crate::storage::postgres) struct Runtime {
    handle: Handle,
    _running: Arc<oneshot::Sender<()>>,
}

impl Runtime {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        // Names of hosts are looked up beside it.
        let runtime = Builder::new_current_thread().max_blocking_threads(LOOK_UPS).enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        thread::Builder::new().name("postgres".to_owned()).spawn(move || drop(runtime.block_on(ended)))?;
        Ok(Self { handle, _running: Arc::new(running) })
    }

    /// Has the thread do it, and waits for the result.
    pub fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let (sender, result) = sync_channel(1);
        self.spawn(async move {
            let done = timeout(limit, work).await.unwrap_or_else(|_| Err(Fault::Late(limit)));
            // The one that asked waits.
            let _ = sender.send(done);
        });
        result.recv().unwrap_or_else(|_| Err(Fault::Closed("the request was broken off".to_owned())))
    }

    /// Has the thread do it some time.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(work));
    }
}
