//! The command line's end of the control socket. Runs in a command, on the main thread.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Request, Response};

const PATIENCE: Duration = Duration::from_mins(1);

/// Connects to the server, if one listens there.
#[must_use]
pub fn connect(socket: &Path) -> Option<UnixStream> {
    UnixStream::connect(socket).ok()
}

/// Asks for a backup; the stream follows.
pub fn ask_for_backup(stream: UnixStream) -> std::io::Result<impl std::io::Read> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_string(&Request::BackUp)?;
    text.push('\n');
    let mut sender = &stream;
    sender.write_all(text.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match serde_json::from_str(&line)? {
        Response::Done(_) => Ok(reader),
        Response::Failed { message, .. } => Err(std::io::Error::other(message)),
    }
}

/// Sends one request and waits for what came of it.
pub fn ask(stream: &UnixStream, request: &Request) -> std::io::Result<Response> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    let mut sender = stream;
    sender.write_all(text.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
