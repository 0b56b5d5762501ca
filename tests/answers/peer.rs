//! A receiver that carries out plans, byte for byte, and sees on which connection each request comes. One thread.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustls::{ServerConfig, ServerConnection};
use tempclock_webhooks::domain::EventId;

use super::dice::Dice;
use super::plan::{Later, Plan};

/// Kept for less than this, a connection has to be used again.
const QUICK: Duration = Duration::from_secs(5);

/// What was seen of one plan.
#[derive(Default)]
pub struct Seen {
    /// How often its request came.
    pub requests: usize,
    /// A new connection was spoken to first.
    pub has_spoken_first: bool,
    /// How many connections were made.
    pub connections: usize,
    /// What must not have happened.
    pub fault: Option<String>,
    /// The next request has to go there, if that is elsewhere.
    pub moved_to: Option<SocketAddr>,
}

pub struct Peer {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    connections: Vec<Connection>,
    dice: Dice,
    marker: Marker,
    kept_at: Option<Instant>,
    /// Something was sent that nobody asked for, after which nobody has to use a connection again.
    has_strayed: bool,
}

struct Connection {
    stream: TcpStream,
    /// The other side's.
    address: SocketAddr,
    session: Option<Box<ServerConnection>>,
    inbox: Vec<u8>,
    /// Why no request may come on it.
    spoiled: Option<&'static str>,
    /// The next request has to come on it.
    must_be_used: bool,
}

/// Shows that what was sent has arrived: a datagram to itself goes the same way in the kernel, behind it.
struct Marker(UdpSocket);

impl Marker {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(socket.local_addr().unwrap()).unwrap();
        Self(socket)
    }

    fn pass(&self) {
        self.0.send(b"x").unwrap();
        self.0.recv(&mut [0]).unwrap();
    }
}

impl Peer {
    pub fn new(tls: Option<Arc<ServerConfig>>, dice: Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let marker = Marker::new();
        Self { listener, tls, connections: Vec::new(), dice, marker, kept_at: None, has_strayed: false }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Carries out a plan. The bell rings when the delivery has ended.
    pub fn carry_out(&mut self, plan: &Plan, bell: &UnixStream) -> Seen {
        let mut seen = Seen::default();
        let mut used = None;
        loop {
            let ready = self.wait(bell);
            if ready.contains(&1) {
                self.accept(plan, &mut seen);
            }
            // From the last on, as those that ended are taken out.
            for index in (0..self.connections.len()).rev().filter(|index| ready.contains(&(index + 2))) {
                let connection = &mut self.connections[index];
                let mut is_open = connection.take_in().is_ok_and(|is_open| is_open);
                if let Some(number) = take_request(&mut connection.inbox) {
                    seen.requests += 1;
                    if number != plan.number {
                        seen.fault.get_or_insert(format!("request {number} came instead of {}", plan.number));
                    }
                    if let Some(why) = connection.spoiled {
                        seen.fault.get_or_insert(format!("request {number} came on a connection on which {why}"));
                    }
                    connection.must_be_used = false;
                    is_open &= connection.answer(plan, &mut self.dice).is_ok() && !plan.ends;
                    used = is_open.then_some(connection.address);
                }
                if !is_open {
                    self.connections.swap_remove(index);
                }
            }
            if ready.contains(&0) {
                let _ = (&mut &*bell).read(&mut [0]);
                break;
            }
        }
        let is_quick = self.kept_at.take().is_some_and(|at| at.elapsed() < QUICK);
        if is_quick && self.connections.iter().any(|connection| connection.must_be_used) {
            seen.fault.get_or_insert(format!("request {} did not come on a kept connection", plan.number));
        }
        self.has_strayed |= seen.has_spoken_first || !plan.is_quiet();
        if let Some(used) = used {
            self.go_on(plan, used);
        }
        self.marker.pass();
        if self.has_strayed && self.dice.one_in(2) {
            seen.moved_to = Some(self.move_on());
        }
        seen
    }

    /// Becomes another receiver, of which nothing is known.
    fn move_on(&mut self) -> SocketAddr {
        self.connections.clear();
        self.listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.has_strayed = false;
        self.address()
    }

    /// Which of bell, listener and connections have something, in this order.
    fn wait(&self, bell: &UnixStream) -> Vec<usize> {
        let mut all = vec![PollFd::new(bell, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        all.extend(self.connections.iter().map(|connection| PollFd::new(&connection.stream, PollFlags::IN)));
        while poll(&mut all, None).is_err() {}
        all.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(index, _)| index).collect()
    }

    fn accept(&mut self, plan: &Plan, seen: &mut Seen) {
        let (stream, address) = self.listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        seen.connections += 1;
        let session = self.tls.as_ref().map(|config| {
            let mut session = Box::new(ServerConnection::new(Arc::clone(config)).unwrap());
            if config.send_half_rtt_data && !plan.early.is_empty() {
                session.writer().write_all(&plan.early).unwrap();
                seen.has_spoken_first = true;
            }
            session
        });
        let spoiled = seen.has_spoken_first.then_some("an answer came first");
        let connection = Connection { stream, address, session, inbox: Vec::new(), spoiled, must_be_used: false };
        self.connections.push(connection);
    }

    /// Does what comes after the delivery on the connection that it went over.
    fn go_on(&mut self, plan: &Plan, used: SocketAddr) {
        let Some(index) = self.connections.iter().position(|connection| connection.address == used) else { return };
        let connection = &mut self.connections[index];
        if !plan.behind.is_empty() {
            connection.spoiled = Some("something lay behind an answer");
        }
        let gone_on = match &plan.later {
            Later::Nothing => Ok(()),
            Later::Send(bytes) => {
                connection.spoiled = Some("something came later");
                connection.send(bytes, &mut self.dice)
            }
            Later::SendTorn(bytes) => {
                connection.spoiled = Some("a part of something came later");
                connection.send_torn(bytes, &mut self.dice)
            }
            Later::RenewKeys => connection.renew_keys(),
            Later::End => Err(ErrorKind::ConnectionAborted.into()),
        };
        if gone_on.is_err() {
            let mut connection = self.connections.swap_remove(index);
            connection.end(&mut self.dice);
        } else if plan.must_be_kept && !self.has_strayed {
            connection.must_be_used = true;
            self.kept_at = Some(Instant::now());
        } else if !plan.may_be_kept {
            connection.spoiled.get_or_insert("an answer was the last");
        }
    }
}

impl Connection {
    /// Takes in what has come; `false` when nothing more will.
    fn take_in(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let Some(session) = &mut self.session else {
            let count = self.stream.read(&mut buffer)?;
            self.inbox.extend_from_slice(&buffer[..count]);
            return Ok(count > 0);
        };
        let count = session.read_tls(&mut self.stream)?;
        session.process_new_packets().map_err(io::Error::other)?;
        while session.wants_write() {
            session.write_tls(&mut self.stream)?;
        }
        loop {
            match session.reader().read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.inbox.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count > 0),
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&mut self, plan: &Plan, dice: &mut Dice) -> io::Result<()> {
        self.send(&[&plan.answer[..], &plan.behind].concat(), dice)?;
        if plan.ends {
            self.end(dice);
        }
        Ok(())
    }

    /// Sends bytes in pieces, over TLS in records that are cut elsewhere.
    fn send(&mut self, bytes: &[u8], dice: &mut Dice) -> io::Result<()> {
        let wire = self.wire(bytes, dice)?;
        self.send_pieces(&wire, dice)
    }

    fn send_torn(&mut self, bytes: &[u8], dice: &mut Dice) -> io::Result<()> {
        let wire = self.wire(bytes, dice)?;
        let most = wire.len().max(2) - 1;
        self.send_pieces(&wire[..=dice.below(most)], dice)
    }

    fn send_pieces(&mut self, mut wire: &[u8], dice: &mut Dice) -> io::Result<()> {
        while !wire.is_empty() {
            let (piece, rest) = wire.split_at(piece(dice, wire.len()));
            self.stream.write_all(piece)?;
            wire = rest;
        }
        Ok(())
    }

    fn wire(&mut self, mut bytes: &[u8], dice: &mut Dice) -> io::Result<Vec<u8>> {
        let Some(session) = &mut self.session else { return Ok(bytes.to_vec()) };
        let mut wire = Vec::new();
        while !bytes.is_empty() {
            let (record, rest) = bytes.split_at(piece(dice, bytes.len()).min(16 * 1024));
            session.writer().write_all(record)?;
            while session.wants_write() {
                session.write_tls(&mut wire)?;
            }
            bytes = rest;
        }
        Ok(wire)
    }

    fn renew_keys(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        // Older TLS has no such thing.
        if session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
            session.refresh_traffic_keys().map_err(io::Error::other)?;
        }
        while session.wants_write() {
            session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// Over TLS with a word of it, or without.
    fn end(&mut self, dice: &mut Dice) {
        if let Some(session) = &mut self.session
            && dice.one_in(2)
        {
            session.send_close_notify();
            let _ = session.write_tls(&mut self.stream);
        }
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

/// The length of the next piece: mostly all, at times a byte.
fn piece(dice: &mut Dice, length: usize) -> usize {
    match dice.below(8) {
        0 => 1 + dice.below(length.min(8)),
        1 | 2 => 1 + dice.below(length),
        _ => length,
    }
}

/// Takes the next request out of the inbox, once it is there, and gives the number of its event.
fn take_request(inbox: &mut Vec<u8>) -> Option<u64> {
    let head = inbox.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&inbox[..head]).unwrap().to_lowercase();
    let header = |name: &str| text.split(&format!("\r\n{name}: ")).nth(1).unwrap().split("\r\n").next().unwrap();
    let length: usize = header("content-length").parse().unwrap();
    if inbox.len() < head + length {
        return None;
    }
    let number = EventId::parse(header("webhook-id")).unwrap().0;
    inbox.drain(..head + length);
    Some(u64::try_from(number).unwrap())
}
