//! The server's end of the control socket: one thread that takes one request a connection. The socket is made with
//! mode 0600 after the database lock is held, so a socket that lies there already belongs to nobody.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Request, Response, execute};
use crate::clock::Clock;
use crate::storage::dump::DumpError;
use crate::storage::reader::Reader;
use crate::storage::writer::WriterHandle;

const REQUEST_BYTES: u64 = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// How far a backup stands back behind publishing and delivering on a busy machine.
const BACKUP_NICE: i32 = 10;
const FAREWELL: Duration = Duration::from_secs(1);

/// The control socket at work.
pub struct ControlServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl ControlServer {
    /// Makes the socket and starts its thread.
    pub fn start(path: PathBuf, reader: Reader, writer: WriterHandle, clock: Clock) -> std::io::Result<Self> {
        let listener = bind(&path)?;
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if is_stopping.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(error) = stream.and_then(|stream| serve(&stream, &reader, &writer, clock)) {
                    log::debug!("a request on the control socket failed: {error}");
                }
            }
        })?;
        Ok(Self { path, stop, thread })
    }

    /// Takes no more requests, ends the thread and removes the socket.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        // The thread waits for a connection; this is the last one. If somebody has removed the socket or put another
        // in its place, the thread cannot be reached and ends with the process.
        drop(UnixStream::connect(&self.path));
        let deadline = Instant::now() + FAREWELL;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.thread.is_finished() && self.thread.join().is_err() {
            log::error!("the control thread had panicked");
        }
        drop(fs::remove_file(&self.path));
    }
}

fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() && UnixStream::connect(path).is_ok() => {
            return Err(std::io::Error::other("another server listens there; give each a path of its own"));
        }
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(std::io::Error::other("something that is not a socket lies there; it was not touched")),
        Err(_) => {}
    }
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A backup takes long, and other commands shall not wait for it.
fn spawn_backup(mut stream: UnixStream, reader: Reader, clock: Clock) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("backup".to_owned());
    thread.spawn(move || {
        if rustix::process::nice(BACKUP_NICE).is_err() {
            log::debug!("the backup runs at the priority of everything else");
        }
        let begun = Instant::now();
        let answer = serde_json::to_string(&Response::Done(Value::Null)).map_err(std::io::Error::from);
        let sent = answer.and_then(|line| stream.write_all(format!("{line}\n").as_bytes()));
        match sent.map_err(DumpError::from).and_then(|()| reader.back_up(&stream, clock.wall(), &mut |_, _| {})) {
            Ok(_) => log::info!("backup sent in {:.1} s", begun.elapsed().as_secs_f64()),
            Err(error) => log::warn!("a backup was not completed: {error}"),
        }
    })?;
    Ok(())
}

fn serve(stream: &UnixStream, reader: &Reader, writer: &WriterHandle, clock: Clock) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_BYTES)).read_line(&mut line)?;
    let response = match serde_json::from_str(&line) {
        Ok(Request::BackUp) => return spawn_backup(stream.try_clone()?, reader.clone(), clock),
        Ok(request) => execute(reader, writer, clock, request),
        Err(error) => Response::usage(format!("the server does not understand this command: {error}")),
    };
    let mut text = serde_json::to_string(&response)?;
    text.push('\n');
    let mut stream = stream;
    stream.write_all(text.as_bytes())
}
