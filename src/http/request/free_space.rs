//! Free disk space for unauthenticated requests: read at most once a second, and never on an HTTP worker, because a
//! file system can hang. Shared by the HTTP workers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web;
use tokio::sync::Mutex;

use crate::disk::free_bytes;

/// How long a reading is cached.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Free space of a file system, read by one thread at a time.
pub struct FreeSpace {
    folder: PathBuf,
    last: Arc<Mutex<Option<Reading>>>,
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    /// `None` if unknown.
    bytes: Option<u64>,
}

impl FreeSpace {
    /// That of the file system of this folder, which was not read yet.
    pub fn of(folder: PathBuf) -> Self {
        Self { folder, last: Arc::default() }
    }

    /// How many bytes are free, if that is known.
    pub async fn bytes(&self) -> Option<u64> {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some(reading) = *last
            && reading.at.elapsed() < READ_EVERY
        {
            return reading.bytes;
        }
        let folder = self.folder.clone();
        // The thread keeps the lock: a caller who leaves must not let the next one start a second thread.
        let read = web::block(move || {
            let bytes = free_bytes(&folder);
            *last = Some(Reading { at: Instant::now(), bytes });
            bytes
        });
        read.await.unwrap_or(None)
    }
}
