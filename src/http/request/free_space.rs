//! The store's free space for unauthenticated requests: read at most once a second, and never on an HTTP worker, because
//! a file system can hang. Shared by the HTTP workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web;
use tokio::sync::Mutex;

use crate::storage::read::reader::Reader;

/// How long a reading is cached.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Free space of a store, read by one thread at a time.
pub struct FreeSpace {
    reader: Reader,
    last: Arc<Mutex<Option<Reading>>>,
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    /// `None` if unknown.
    bytes: Option<u64>,
}

impl FreeSpace {
    /// That of this store, which was not read yet.
    pub fn of(reader: Reader) -> Self {
        Self { reader, last: Arc::default() }
    }

    /// How many bytes are free, if that is known.
    pub async fn bytes(&self) -> Option<u64> {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some(reading) = *last
            && reading.at.elapsed() < READ_EVERY
        {
            return reading.bytes;
        }
        let reader = self.reader.clone();
        // The thread keeps the lock: a caller who leaves must not let the next one start a second thread.
        let read = web::block(move || {
            let bytes = reader.vitals().free_bytes;
            *last = Some(Reading { at: Instant::now(), bytes });
            bytes
        });
        read.await.unwrap_or(None)
    }
}
