//! Decides whether a delivery may connect to an address: which special ranges the operator allows, and the error for
//! the integrator when an address is not allowed.
//!
//! Pure; any thread. It must never resolve a name, and never allow a host because one of its addresses is allowed,
//! since the client may dial any of them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::domain::endpoint::special_ranges::{SpecialRange, Tier, range_of};

/// What the operator allows besides public addresses.
///
/// By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRule {
    networks: Vec<IpNet>,
    hosts: BTreeSet<String>,
}

/// Why a host must not be connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockedAddress {
    /// The host has no address.
    #[error("host {host} has no address")]
    NoAddress {
        /// The requested host.
        host: String,
    },
    /// The address is in a range that any allowed network containing it opens.
    #[error(
        "{}, which is not allowed; the operator can allow it with delivery.allow_networks",
        HostAddress { host, address, inside, range }
    )]
    Special {
        /// The requested host.
        host: String,
        /// The blocked address.
        address: IpAddr,
        /// The IPv4 address embedded in `address`, if that is what was blocked.
        inside: Option<Ipv4Addr>,
        /// The range that blocks it.
        range: SpecialRange,
    },
    /// The address is in a range that only an allowed network within it opens.
    #[error(
        "{}, which is not allowed; only an entry of delivery.allow_networks within {} allows it, a wider one does not",
        HostAddress { host, address, inside, range },
        .range.network
    )]
    Guarded {
        /// The requested host.
        host: String,
        /// The blocked address.
        address: IpAddr,
        /// The IPv4 address embedded in `address`, if that is what was blocked.
        inside: Option<Ipv4Addr>,
        /// The range that blocks it.
        range: SpecialRange,
    },
}

impl BlockedAddress {
    /// The requested host.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::NoAddress { host } | Self::Special { host, .. } | Self::Guarded { host, .. } => host,
        }
    }

    /// The blocked address, if there was one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::NoAddress { .. } => None,
            Self::Special { address, .. } | Self::Guarded { address, .. } => Some(*address),
        }
    }

    /// The range that blocks it, such as `private network 10.0.0.0/8`.
    #[must_use]
    pub fn range(&self) -> Option<String> {
        match self {
            Self::NoAddress { .. } => None,
            Self::Special { range, .. } | Self::Guarded { range, .. } => Some(range.to_string()),
        }
    }
}

impl AddressRule {
    /// A rule that allows public addresses, these networks, and whatever these hosts resolve to.
    ///
    /// An IPv6 block of mapped addresses stands for the IPv4 block inside it.
    #[must_use]
    pub fn new(allow_networks: Vec<IpNet>, allow_hosts: Vec<String>) -> Self {
        Self {
            networks: allow_networks.into_iter().map(unmapped).collect(),
            hosts: allow_hosts.into_iter().map(|host| plain_host(&host)).collect(),
        }
    }

    /// Checks a host, given every address that could be dialled for it.
    ///
    /// # Errors Names the blocked address and the reason; one blocked address is enough.
    pub fn check(&self, host: &str, addresses: &[IpAddr]) -> Result<(), BlockedAddress> {
        if addresses.is_empty() {
            let host = host.to_owned();
            return Err(BlockedAddress::NoAddress { host });
        }
        if self.hosts.contains(&plain_host(host)) {
            return Ok(());
        }
        addresses.iter().try_for_each(|address| self.check_address(host, *address))
    }

    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), BlockedAddress> {
        let IpAddr::V6(outer) = address else {
            return self.check_part(host, address, None);
        };
        if let Some(inside) = same_host_in_v4(outer) {
            return self.check_part(host, address, Some(inside));
        }
        carried(outer).into_iter().try_for_each(|inside| self.check_part(host, address, Some(inside)))?;
        self.check_part(host, address, None)
    }

    /// Checks the embedded IPv4 address if there is one, else the whole address.
    fn check_part(&self, host: &str, address: IpAddr, inside: Option<Ipv4Addr>) -> Result<(), BlockedAddress> {
        let judged = inside.map_or(address, IpAddr::V4);
        let Some(&range) = range_of(judged) else {
            return Ok(());
        };
        let opened = self
            .networks
            .iter()
            .any(|listed| listed.contains(&judged) && (range.tier == Tier::Ordinary || range.network.contains(listed)));
        if opened {
            return Ok(());
        }
        let host = host.to_owned();
        Err(match range.tier {
            Tier::Ordinary => BlockedAddress::Special { host, address, inside, range },
            Tier::Guarded => BlockedAddress::Guarded { host, address, inside, range },
        })
    }
}

/// The subject of the error's sentence: host and address.
struct HostAddress<'a> {
    host: &'a str,
    address: &'a IpAddr,
    inside: &'a Option<Ipv4Addr>,
    range: &'a SpecialRange,
}

impl fmt::Display for HostAddress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {}", self.address)?;
        if plain_host(self.host) != self.address.to_string() {
            write!(f, " of host {}", self.host)?;
        }
        if let Some(inside) = self.inside {
            write!(f, " leads to {inside}, which")?;
        }
        let verb = if self.range.is_single() { "is" } else { "is in" };
        write!(f, " {verb} the {}", self.range)
    }
}

/// Normalises a host name.
fn plain_host(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    literal.unwrap_or(host).to_ascii_lowercase()
}

/// The system connects to the IPv4 host for a mapped address, so an allowed block of them opens exactly those hosts.
fn unmapped(listed: IpNet) -> IpNet {
    let mapped = match listed {
        IpNet::V6(block) => block
            .prefix_len()
            .checked_sub(96)
            .zip(block.network().to_ipv4_mapped())
            .and_then(|(prefix, first)| Ipv4Net::new(first, prefix).ok()),
        IpNet::V4(_) => None,
    };
    mapped.map_or(listed, IpNet::V4)
}

/// The IPv4 host that is reached by a mapped address or through the well-known
/// NAT64 prefix; both are only another way to write that host.
fn same_host_in_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(bits(address, 96)),
        _ => None,
    }
}

/// Every IPv4 host that a tunnel or gateway could forward the packet to.
///
/// There can be several, and each has to be allowed.
fn carried(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let segments = address.segments();
    let mut inside = match segments {
        // Unspecified and loopback only look like compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
        [0, 0, 0, 0, 0 | 0xffff, 0, ..] => vec![bits(address, 96)],
        [0x64, 0xff9b, 1, ..] => local_nat64(address),
        [0x2002, ..] => vec![bits(address, 16)],
        // Teredo hides the client by flipping every bit of its address.
        [0x2001, 0, ..] => vec![Ipv4Addr::from_bits(!bits(address, 96).to_bits())],
        _ => Vec::new(),
    };
    // ISATAP: the flag says whether the site numbers its hosts uniquely.
    if let [.., 0 | 0x0200, 0x5efe, _, _] = segments {
        inside.push(bits(address, 96));
    }
    inside
}

/// The interpretations of a local NAT64 address in each layout that fits its prefix.
///
/// Only the operator's gateway knows the layout, so an attacker must not profit from a wrong guess. The bits of one
/// layout are zero in the others, so a zero interpretation counts only if there is no other.
fn local_nat64(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let whole = address.to_bits();
    // The three older layouts step over the ninth octet.
    let stepped = Ipv6Addr::from_bits((whole >> 64 << 64) | (whole << 72 >> 64));
    let mut readings = vec![bits(stepped, 48), bits(stepped, 56), bits(stepped, 64), bits(address, 96)];
    if readings.iter().any(|reading| !is_blank(*reading)) {
        readings.retain(|reading| !is_blank(*reading));
    }
    readings
}

/// No host has an address in `0.0.0.0/8`.
fn is_blank(reading: Ipv4Addr) -> bool {
    matches!(reading.octets(), [0, ..])
}

/// The 32 bits from the given one on.
fn bits(address: Ipv6Addr, from: u32) -> Ipv4Addr {
    let [a, b, c, d, ..] = (address.to_bits() << from).to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests;
