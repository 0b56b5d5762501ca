//! Makes the TCP connection to one of a name's addresses, as `Race` decides. Runs on delivery threads, which block in it
//! until the attempt's time limit. It dials no address that it was not given.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use ureq::Error;

use crate::delivery::send::address::failed::FailedAddresses;
use crate::delivery::send::address::look_up::is_lack_of_descriptors;
use crate::delivery::send::address::order::{AT_A_TIME, Race, Step, in_order};
use crate::delivery::send::budget::{Budget, Permit};
use crate::delivery::send::limit::Limit;
use crate::delivery::send::tcp::Socket;

/// What dialling takes.
pub(in crate::delivery) struct Dialler<'a> {
    pub(in crate::delivery) budget: &'a Arc<Budget>,
    pub(in crate::delivery) failed: &'a FailedAddresses,
    /// Closes a kept connection, and says whether there was one.
    pub(in crate::delivery) make_room: &'a dyn Fn() -> bool,
}

/// Why there is no connection.
pub(in crate::delivery) enum DialError {
    /// All connections that may be open were in use until the time limit.
    NoneLeft,
    /// No address could be reached.
    Failed(Error),
}

/// A connection that is being made.
struct Dialled {
    number: usize,
    address: SocketAddr,
    socket: OwnedFd,
    permit: Permit,
}

impl Dialler<'_> {
    /// Connects to one of the addresses, which are in the order in which to try them. Gives the last error.
    pub(in crate::delivery) fn dial(
        &self,
        addresses: &[SocketAddr],
        limit: &mut Limit,
    ) -> Result<(Socket, Permit), DialError> {
        let mut permit = Some(self.first_permit(limit)?);
        let begun = Instant::now();
        let mut race = Race::new(addresses.len());
        let mut dialled: Vec<Dialled> = Vec::new();
        let mut cause = Error::ConnectionFailed;
        loop {
            match race.step(begun.elapsed()) {
                Step::Dial(number) => {
                    let Some(address) = addresses.get(number).copied() else { continue };
                    let Some(permit) = permit.take().or_else(|| self.further_permit(&mut dialled, &mut race)) else {
                        return Err(DialError::NoneLeft);
                    };
                    match self.begin(address) {
                        Ok(socket) => dialled.push(Dialled { number, address, socket, permit }),
                        Err(error) => {
                            race.failed(number);
                            cause = worse(cause, error);
                        }
                    }
                }
                Step::GiveUp(number) => {
                    self.give_up(&mut dialled, number);
                    cause = Limit::error();
                }
                Step::Wait(until) => {
                    let left = match limit.left() {
                        Ok(left) => left,
                        Err(error) => {
                            for dialled in &dialled {
                                self.note(dialled);
                            }
                            return Err(DialError::Failed(error));
                        }
                    };
                    let until = until.map(|until| until.saturating_sub(begun.elapsed()));
                    let wait = until.map_or(left, |until| Some(left.map_or(until, |left| left.min(until))));
                    if let Some(connected) = next_connected(&mut dialled, wait, |number, error| {
                        race.failed(number);
                        cause = worse(std::mem::replace(&mut cause, Error::ConnectionFailed), error);
                    }) {
                        // These were dialled before, and have not answered yet.
                        for slower in dialled.iter().filter(|dialled| dialled.number < connected.number) {
                            self.note(slower);
                        }
                        return over(connected).map_err(|error| DialError::Failed(Error::Io(error)));
                    }
                }
                Step::Lost => return Err(DialError::Failed(cause)),
            }
        }
    }

    fn first_permit(&self, limit: &mut Limit) -> Result<Permit, DialError> {
        let begun = Instant::now();
        let permit = self.budget.acquire(limit.deadline(), self.make_room);
        limit.add_wait(begun.elapsed());
        permit.ok_or(DialError::NoneLeft)
    }

    /// A permit for one more connection at a time, at the cost of the oldest if none is left.
    fn further_permit(&self, dialled: &mut Vec<Dialled>, race: &mut Race) -> Option<Permit> {
        let free = self.budget.try_acquire().or_else(|| (self.make_room)().then(|| self.budget.try_acquire())?);
        if free.is_some() {
            return free;
        }
        if dialled.is_empty() {
            return self.budget.try_acquire();
        }
        let oldest = dialled.remove(0);
        race.failed(oldest.number);
        self.note(&oldest);
        Some(oldest.permit)
    }

    fn begin(&self, address: SocketAddr) -> Result<OwnedFd, Errno> {
        match begin(address) {
            Err(error) if is_lack_of_descriptors(&error.into()) && (self.make_room)() => begin(address),
            begun => begun,
        }
    }

    fn give_up(&self, dialled: &mut Vec<Dialled>, number: usize) {
        for given_up in dialled.extract_if(.., |dialled| dialled.number == number) {
            self.note(&given_up);
        }
    }

    fn note(&self, dialled: &Dialled) {
        self.failed.note(dialled.address, Instant::now());
    }
}

/// Connects to one of these addresses as a delivery does, and says to which. For `doctor`, which keeps nothing.
pub fn dial(addresses: &[SocketAddr], within: Duration) -> io::Result<(TcpStream, SocketAddr)> {
    let budget = Budget::new(AT_A_TIME);
    let dialler = Dialler { budget: &budget, failed: &FailedAddresses::default(), make_room: &|| false };
    match dialler.dial(&in_order(addresses, |_| None), &mut Limit::within(within)) {
        Ok((socket, _)) => Ok((socket.stream, socket.peer)),
        Err(DialError::Failed(Error::Io(error))) => Err(error),
        Err(DialError::Failed(_) | DialError::NoneLeft) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Begins to connect, without waiting.
fn begin(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Waits for one to be connected, and tells those that cannot be.
fn next_connected(
    dialled: &mut Vec<Dialled>,
    wait: Option<Duration>,
    mut failed: impl FnMut(usize, Errno),
) -> Option<Dialled> {
    let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
    let mut sockets: Vec<_> = dialled.iter().map(|dialled| PollFd::new(&dialled.socket, PollFlags::OUT)).collect();
    if let Err(error) = poll(&mut sockets, wait.as_ref())
        && error != Errno::INTR
    {
        for dialled in dialled.drain(..) {
            failed(dialled.number, error);
        }
        return None;
    }
    let is_ready: Vec<bool> = sockets.iter().map(|socket| !socket.revents().is_empty()).collect();
    let mut connected = None;
    for place in (0..is_ready.len()).rev().filter(|place| is_ready.get(*place) == Some(&true)) {
        let ready = dialled.remove(place);
        match socket_error(&ready.socket).and_then(|state| state) {
            Ok(()) => {
                // The one that began first, if there are several; another one did answer as well.
                drop(connected.replace(ready));
            }
            Err(error) => failed(ready.number, error),
        }
    }
    connected
}

fn over(connected: Dialled) -> io::Result<(Socket, Permit)> {
    let stream = TcpStream::from(connected.socket);
    stream.set_nonblocking(false)?;
    Ok((Socket::over(stream, connected.address)?, connected.permit))
}

/// The error that says more: that this machine has no way to one address says nothing about the others.
fn worse(before: Error, error: Errno) -> Error {
    let is_no_way = matches!(error, Errno::NETUNREACH | Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL);
    match before {
        Error::ConnectionFailed => Error::Io(error.into()),
        before if is_no_way => before,
        _ => Error::Io(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn limit() -> Limit {
        Limit::within(Duration::from_mins(1))
    }

    fn dial(addresses: &[SocketAddr], budget: &Arc<Budget>) -> Result<SocketAddr, DialError> {
        let dialler = Dialler { budget, failed: &FailedAddresses::default(), make_room: &|| false };
        dialler.dial(addresses, &mut limit()).map(|(socket, _)| socket.peer())
    }

    #[test]
    fn an_address_that_refuses_is_followed_by_the_next_however_many_there_are() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let refusing = (2..40).map(|last| SocketAddr::from(([127, 0, 0, last], good.port())));
        let addresses: Vec<_> = refusing.chain([good]).collect();
        for permits in [1, 8] {
            let budget = Budget::new(permits);
            assert_eq!(dial(&addresses, &budget).ok(), Some(good));
            let all: Vec<_> = (0..permits).map_while(|_| budget.try_acquire()).collect();
            assert_eq!(all.len(), permits, "each is returned");
        }
    }

    #[test]
    fn without_any_that_listens_the_last_says_why_and_no_permit_is_kept() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let budget = Budget::new(1);
        let failed = dial(&[free, free], &budget);
        assert!(
            matches!(failed, Err(DialError::Failed(Error::Io(error))) if error.kind() == io::ErrorKind::ConnectionRefused)
        );
        assert!(budget.try_acquire().is_some());
    }
}
