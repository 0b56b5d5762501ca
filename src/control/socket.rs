//! Lets the HTTP client speak over a Unix socket.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

/// A control socket, and the folder whose owner may serve it.
#[derive(Clone, Debug)]
pub struct ControlSocket {
    /// The socket's path.
    pub path: PathBuf,
    /// The folder of the database.
    pub data_dir: PathBuf,
}

impl ControlSocket {
    /// Connects to the socket, unless a user without rights on the database serves it: such a user could have placed it
    /// there to collect secrets or to impersonate the server.
    pub fn connect(&self) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.path)?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw();
        let owner = std::fs::metadata(&self.data_dir).ok().map(|folder| folder.uid());
        if peer == ROOT || peer == rustix::process::geteuid().as_raw() || Some(peer) == owner {
            return Ok(stream);
        }
        let message = format!("{} is served by user {peer}, who does not own the database", self.path.display());
        Err(std::io::Error::new(ErrorKind::PermissionDenied, message))
    }

    /// The process that serves the socket, if it is a trusted one.
    #[must_use]
    pub fn server(&self) -> Option<i32> {
        let peer = rustix::net::sockopt::socket_peercred(self.connect().ok()?).ok()?;
        Some(peer.pid.as_raw_nonzero().get())
    }
}

const ROOT: u32 = 0;

/// Connects to one socket, whatever the URL says.
#[derive(Debug)]
pub struct UnixConnector(pub ControlSocket);

/// A connection over it.
#[derive(Debug)]
pub struct UnixTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Connector for UnixConnector {
    type Out = UnixTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<UnixTransport>, Error> {
        let stream = self.0.connect()?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(UnixTransport { stream, buffers }))
    }
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.stream.set_write_timeout(timeout.not_zero().map(|limit| *limit))?;
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output).map_err(|error| timed_out(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        self.stream.set_read_timeout(timeout.not_zero().map(|limit| *limit))?;
        let read = self.stream.read(self.buffers.input_append_buf()).map_err(|error| timed_out(error, timeout))?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        // There must be neither an end of stream nor unexpected data.
        let mut byte = [0; 1];
        recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) == Err(Errno::AGAIN)
    }
}

fn timed_out(error: std::io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}
