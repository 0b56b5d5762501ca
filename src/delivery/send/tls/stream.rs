//! A connection to an endpoint over TLS. Runs on delivery threads, which block in it. It knows of every byte that has
//! come, decrypted or not, so that nothing that came before a request can be taken for its answer.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, IoState};
use ureq::Error;

use crate::delivery::send::limit::Limit;
use crate::delivery::send::tcp::{Socket, Unasked, was_ended};

/// What is sent at a time: a record of TLS.
const PIECE_BYTES: usize = 16 * 1024;

/// The connection.
#[derive(Debug)]
pub(in crate::delivery) struct TlsStream {
    session: ClientConnection,
    socket: Socket,
    records: Records,
}

impl TlsStream {
    /// Agrees on keys with whoever proves to have that name.
    pub(in crate::delivery) fn connect(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        limit: &mut Limit,
    ) -> Result<Self, Error> {
        let session = ClientConnection::new(config, name)?;
        let mut stream = Self { session, socket, records: Records::default() };
        while stream.session.is_handshaking() {
            stream.flush(Some(limit))?;
            if stream.fill(Some(limit))? == 0 {
                return Err(Error::Io(ErrorKind::UnexpectedEof.into()));
            }
            stream.process()?;
        }
        stream.flush(Some(limit))?;
        Ok(stream)
    }

    /// Takes a piece of the parts to be sent, once what it took before has been sent, and says how long that is. Fails with
    /// [`ErrorKind::WouldBlock`] until then.
    pub(in crate::delivery) fn send_at_once(&mut self, parts: [&[u8]; 2]) -> Result<usize, Error> {
        self.flush(None)?;
        let mut room = PIECE_BYTES;
        let piece = parts.map(|part| {
            let part = part.get(..room).unwrap_or(part);
            room -= part.len();
            IoSlice::new(part)
        });
        let is_empty = room == PIECE_BYTES;
        // Both in one record; an empty one would be a record too.
        let taken = if is_empty { 0 } else { self.session.writer().write_vectored(&piece)? };
        if taken == 0 && !is_empty {
            return Err(Error::Io(ErrorKind::WriteZero.into()));
        }
        match self.flush(None) {
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            flushed => flushed?,
        }
        Ok(taken)
    }

    /// Has everything been sent that it took?
    pub(in crate::delivery) fn has_sent(&self) -> bool {
        !self.session.wants_write()
    }

    /// What it goes over.
    pub(in crate::delivery) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Waits until it can be sent to or received from.
    pub(in crate::delivery) fn wait(&self, limit: &mut Limit) -> Result<(), Error> {
        self.socket.wait(limit)
    }

    /// Takes what has come by now, and fails with [`ErrorKind::WouldBlock`] if nothing has.
    pub(in crate::delivery) fn receive_at_once(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.session.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Ok(done?),
            }
            self.fill(None)?;
            self.process()?;
        }
    }

    /// Waits for bytes to come and takes them; 0 are the end.
    pub(in crate::delivery) fn receive(&mut self, into: &mut [u8], limit: &mut Limit) -> Result<usize, Error> {
        loop {
            match self.session.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Ok(done?),
            }
            // An answer to what has come before, for which the other side may wait. If it takes no more, what it has sent
            // is still read.
            match self.flush(Some(limit)) {
                Err(Error::Io(error)) if was_ended(error.kind()) => {}
                flushed => flushed?,
            }
            self.fill(Some(limit))?;
            self.process()?;
        }
    }

    /// What has come by now. New keys and sessions are taken in and are nothing.
    pub(in crate::delivery) fn unasked(&mut self) -> Result<Unasked, Error> {
        loop {
            match self.held()? {
                Unasked::Nothing => {}
                unasked => return Ok(unasked),
            }
            match self.fill(None) {
                Ok(0) => return Ok(Unasked::End),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        // rustls says nothing of what it cannot decrypt yet.
        Ok(if self.is_in_record() { Unasked::Bytes } else { Unasked::Nothing })
    }

    /// As [`Self::unasked`], without a look at the socket.
    pub(in crate::delivery) fn held(&mut self) -> Result<Unasked, Error> {
        let state = self.process()?;
        Ok(match (state.plaintext_bytes_to_read(), state.peer_has_closed()) {
            (0, false) => Unasked::Nothing,
            (0, true) => Unasked::End,
            _ => Unasked::Bytes,
        })
    }

    /// Has a part of a record come, of which nothing is known yet?
    pub(in crate::delivery) fn is_in_record(&self) -> bool {
        self.records.is_in_one()
    }

    /// Lets rustls take what comes, or what has come if there is no limit to wait for.
    fn fill(&mut self, limit: Option<&mut Limit>) -> Result<usize, Error> {
        let mut incoming = Incoming { socket: &self.socket, records: &mut self.records, limit };
        Ok(self.session.read_tls(&mut incoming)?)
    }

    fn process(&mut self) -> Result<IoState, Error> {
        self.session.process_new_packets().map_err(|error| {
            // The other side may be told what is wrong; more cannot be done.
            drop(self.flush(None));
            Error::Rustls(error)
        })
    }

    /// Sends what rustls has to send, or what can be sent by now if there is no limit to wait for.
    fn flush(&mut self, mut limit: Option<&mut Limit>) -> Result<(), Error> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Outgoing { socket: &self.socket, limit: limit.as_deref_mut() })?;
        }
        Ok(())
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.session.send_close_notify();
        drop(self.flush(None));
    }
}

/// The socket as rustls reads from it.
struct Incoming<'a> {
    socket: &'a Socket,
    records: &'a mut Records,
    limit: Option<&'a mut Limit>,
}

impl Read for Incoming<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let received = match &mut self.limit {
            Some(limit) => self.socket.receive(into, limit),
            None => self.socket.receive_at_once(into),
        };
        let count = received.map_err(Error::into_io)?;
        self.records.pass(into.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// The socket as rustls writes to it.
struct Outgoing<'a> {
    socket: &'a Socket,
    limit: Option<&'a mut Limit>,
}

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = match &mut self.limit {
            Some(limit) => self.socket.send(bytes, limit),
            None => self.socket.send_at_once(bytes),
        };
        sent.map_err(Error::into_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where what has come so far ends: between two TLS records or within one.
#[derive(Debug, Default)]
struct Records {
    /// How much of a header has come: type, version, length.
    header: usize,
    /// How much of a record is still to come. While its header comes, the length as far as it is known.
    rest: usize,
}

impl Records {
    const HEADER: usize = 5;
    const LENGTH_AT: usize = 3;

    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&next, behind)) = bytes.split_first() {
            if self.header < Self::HEADER {
                if self.header >= Self::LENGTH_AT {
                    self.rest = (self.rest << 8) | usize::from(next);
                }
                self.header += 1;
                bytes = behind;
            } else {
                let inside = self.rest.min(bytes.len());
                self.rest -= inside;
                bytes = bytes.get(inside..).unwrap_or_default();
            }
            if self.header == Self::HEADER && self.rest == 0 {
                self.header = 0;
            }
        }
    }

    fn is_in_one(&self) -> bool {
        self.header > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_records_are_known_however_they_are_cut() {
        let record = |bytes: usize| {
            let mut record = vec![23, 3, 3];
            record.extend(u16::try_from(bytes).unwrap().to_be_bytes());
            record.resize(Records::HEADER + bytes, 0xff);
            record
        };
        let all = [record(1), record(0), record(300), record(16_384)];
        let ends: Vec<usize> = all
            .iter()
            .scan(0, |end, record| {
                *end += record.len();
                Some(*end)
            })
            .collect();
        let bytes = all.concat();
        for piece in [1, 2, 3, 4, 5, 6, 7, 305, 4_096, bytes.len()] {
            let (mut records, mut passed) = (Records::default(), 0);
            for part in bytes.chunks(piece) {
                records.pass(part);
                passed += part.len();
                assert_eq!(records.is_in_one(), !ends.contains(&passed), "{passed} bytes in pieces of {piece}");
            }
        }
    }
}
