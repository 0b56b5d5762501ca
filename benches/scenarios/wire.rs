//! As much of HTTP/1.1 as driver and receiver need: heads with a content length, on sockets kept open.
//!
//! Written by hand because both ends share two cores with the server under test: a microsecond here is one the server
//! does not get.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Where a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the start line and the headers, blank line included.
    pub head: usize,
    /// Bytes of the body.
    pub body: usize,
}

impl Extent {
    /// Of the first message in `bytes`, once it is there as a whole.
    pub fn of(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(head) = find(bytes, b"\r\n\r\n").map(|at| at + 4) else {
            return Ok(None);
        };
        let mut body = None;
        for line in bytes[..head].split(|&byte| byte == b'\n') {
            if line.len() > 15 && line[..15].eq_ignore_ascii_case(b"content-length:") {
                body = std::str::from_utf8(&line[15..]).ok().and_then(|text| text.trim().parse().ok());
            }
        }
        let body = body.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message without a length"))?;
        Ok((bytes.len() >= head + body).then_some(Self { head, body }))
    }

    /// Bytes of the whole message.
    pub fn total(self) -> usize {
        self.head + self.body
    }
}

/// The status of a response of which at least the start line is there.
pub fn status(bytes: &[u8]) -> u16 {
    number(bytes.get(9..12).unwrap_or_default()).map_or(0, |(value, _)| u16::try_from(value).unwrap_or(0))
}

/// Where `needle` begins in `hay`.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let (&first, rest) = needle.split_first()?;
    let mut from = 0;
    loop {
        let at = from + hay[from..].iter().position(|&byte| byte == first)?;
        if hay[at + 1..].starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// What follows `label` where it comes first.
pub fn behind<'a>(hay: &'a [u8], label: &[u8]) -> Option<&'a [u8]> {
    find(hay, label).map(|at| &hay[at + label.len()..])
}

/// The decimal number that `bytes` begin with, and what follows it.
pub fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(end);
    (1..=19).contains(&end).then(|| (digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')), rest))
}

/// Appends what has come in; 0 at the end of the stream.
pub async fn read(stream: &mut TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    // `poll_read` rather than `try_read`: after a short read it knows the socket to be empty and saves a system call.
    poll_fn(|context| {
        let mut space = [MaybeUninit::uninit(); 16 * 1024];
        let mut chunk = ReadBuf::uninit(&mut space);
        Pin::new(&mut *stream).poll_read(context, &mut chunk).map_ok(|()| {
            into.extend_from_slice(chunk.filled());
            chunk.filled().len()
        })
    })
    .await
}

/// Writes all of `bytes`.
pub async fn write(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Microseconds since 1970: the one clock that two processes of one machine share.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
