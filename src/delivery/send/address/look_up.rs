//! Resolves a host with the C library, and distinguishes why there is no address: the name does not exist, the name
//! server failed, or this process lacks resources. Blocks for as long as the C library does, so deliveries call it on a
//! thread of its own. It applies no address rule.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::IpAddr;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use rustix::io::Errno;

/// The message when this process has no free file descriptor.
pub const NO_DESCRIPTORS: &str = "too many files and connections are open";

/// Names with more addresses are refused, as all of them are checked, kept and tried.
pub const ADDRESSES_MAX: usize = 256;

/// Why a host has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookUpError {
    /// The name does not exist, or has no address.
    #[error("it was not found")]
    NotFound,
    /// The name server failed, refused or was not reached.
    #[error("the name server failed or did not answer")]
    NameServer,
    /// It has more addresses than [`ADDRESSES_MAX`].
    #[error("it has more than {ADDRESSES_MAX} addresses")]
    TooManyAddresses,
    /// This process lacks something; the text says what.
    #[error("{0}")]
    Lacking(&'static str),
}

/// The addresses of a host, at least one, each once.
pub fn look_up(name: &str) -> Result<Vec<IpAddr>, LookUpError> {
    // Without a socket type each address would be returned once per type.
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(name), None, Some(hints)).map_err(cause)?;
    let mut seen = HashSet::new();
    let mut addresses: Vec<IpAddr> = found.filter_map(|info| Some(info.ok()?.sockaddr.ip())).collect();
    addresses.retain(|address| seen.insert(*address));
    match addresses.len() {
        0 => Err(LookUpError::NotFound),
        1..=ADDRESSES_MAX => Ok(addresses),
        _ => Err(LookUpError::TooManyAddresses),
    }
}

fn cause(error: LookupError) -> LookUpError {
    let kind = error.kind();
    // Without a descriptor to ask with, the C library may also say that there is no such name.
    if is_lack_of_descriptors(&error.into())
        || File::open("/dev/null").is_err_and(|error| is_lack_of_descriptors(&error))
    {
        return LookUpError::Lacking(NO_DESCRIPTORS);
    }
    match kind {
        LookupErrorKind::NoName | LookupErrorKind::NoData => LookUpError::NotFound,
        LookupErrorKind::Memory => LookUpError::Lacking("no memory is left"),
        _ => LookUpError::NameServer,
    }
}

/// Whether this process or the machine has too many open files.
#[must_use]
pub fn is_lack_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
