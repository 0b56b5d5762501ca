//! The operator's route for a backup: a stream of one snapshot, written by a thread of its own at low priority. A
//! reader that stalls ends the backup, because its snapshot's pages cannot be reused while it lasts.

use std::io::{BufWriter, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, channel, error::TrySendError};

use crate::domain::Timestamp;
use crate::http::HttpState;
use crate::http::request::chunks::{Chunk, Chunks};
use crate::http::request::error::ApiError;
use crate::http::request::extract::JsonText;
use crate::http::request::respond;
use crate::storage::command::Command;
use crate::storage::command::server::ServerCommand;
use crate::storage::maintenance::DumpError;

/// Nice value of the backup thread.
const NICE: i32 = 10;
/// Maximum number of buffered chunks.
const CHUNKS: usize = 16;
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest time that the reader may stall.
const READER_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// Limits backups to one at a time.
pub struct BackupPermits(Arc<Semaphore>);

impl Default for BackupPermits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

pub async fn stream(state: web::Data<HttpState>, permits: web::Data<BackupPermits>) -> Result<HttpResponse, ApiError> {
    let place = Arc::clone(&permits.0).try_acquire_owned().map_err(|_| ApiError::too_many_backups())?;
    let (sender, chunks) = channel(CHUNKS);
    let (reader, created_at) = (state.reader.clone(), state.clock.wall());
    let thread = std::thread::Builder::new().name("backup".to_owned());
    let spawned = thread.spawn(move || {
        if rustix::process::nice(NICE).is_err() {
            log::debug!("the backup runs at normal priority");
        }
        let begun = Instant::now();
        let mut out = BufWriter::with_capacity(CHUNK_BYTES, ChunkWriter(sender));
        let written = reader.back_up(&mut out, created_at, &mut |_, _| {});
        let written = written.and_then(|_| out.flush().map_err(DumpError::from));
        // The rest of the buffer must not be sent as part of the backup.
        let (mut chunks, _) = out.into_parts();
        match written.and_then(|()| chunks.send(Chunk::End).map_err(DumpError::from)) {
            Ok(()) => log::info!("backup sent in {:.1} s", begun.elapsed().as_secs_f64()),
            Err(error) => log::warn!("a backup was not completed: {error}"),
        }
        drop(place);
    });
    spawned.map_err(|error| ApiError::internal(&error))?;
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .streaming(Chunks::new(chunks, "the backup was not completed")))
}

/// Notes of when a backup is that a command has written whole, so that it can be told how old the last one is.
pub async fn note(state: web::Data<HttpState>, body: JsonText) -> Result<HttpResponse, ApiError> {
    let sent: Value = serde_json::from_str(&body.text).map_err(|error| ApiError::not_json(&body.text, &error))?;
    let at = sent["at"].as_str().and_then(|text| Timestamp::read(text).ok());
    let at = at.ok_or_else(|| ApiError::invalid_field("at", "must be the time of a backup"))?.min(state.clock.wall());
    state.ask(|reply| Command::Server(ServerCommand::NoteBackup { at, reply })).await?;
    Ok(respond::single(HttpResponse::Ok(), &json!({"at": at})))
}

struct ChunkWriter(Sender<Chunk>);

impl ChunkWriter {
    fn send(&mut self, mut chunk: Chunk) -> std::io::Result<()> {
        let deadline = Instant::now() + READER_TIMEOUT;
        loop {
            match self.0.try_send(chunk) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => return Err(ErrorKind::BrokenPipe.into()),
                Err(TrySendError::Full(_)) if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
                Err(TrySendError::Full(back)) => chunk = back,
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.send(Chunk::Bytes(Bytes::copy_from_slice(bytes)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
