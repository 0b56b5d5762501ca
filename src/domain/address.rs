//! Owns the decision whether a delivery may connect to an address: which
//! special ranges the operator has opened, and what to tell the integrator
//! when an address is refused.
//!
//! Pure: it looks nothing up, reads no clock and keeps no state, so it may run
//! on any thread. It must never resolve a name, and never let one good address
//! excuse a bad one, because whoever dials may pick any of them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::special_ranges::{SpecialRange, Tier, range_of};

/// What the operator allows beyond ordinary public addresses.
///
/// The default allows nothing beyond them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRule {
    networks: Vec<IpNet>,
    hosts: BTreeSet<String>,
}

/// Why a host may not be connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// There is nothing to judge, so there is nothing to connect to.
    #[error("host {host} has no address")]
    NoAddress {
        /// The host as it was asked for.
        host: String,
    },
    /// The address is in a range that any listed network around it opens.
    #[error(
        "{}, which is not allowed; the operator can allow it with delivery.allow_networks",
        Place { host, address, inside, range }
    )]
    Special {
        /// The host as it was asked for.
        host: String,
        /// The address that was refused.
        address: IpAddr,
        /// The IPv4 address written inside `address`, where that is what was
        /// refused.
        inside: Option<Ipv4Addr>,
        /// The range that was in the way.
        range: SpecialRange,
    },
    /// The address is in a range that only a listed network within it opens.
    #[error(
        "{}, which is not allowed; only an entry of delivery.allow_networks \
         within {} opens it, a wider one does not",
        Place { host, address, inside, range },
        .range.network
    )]
    Guarded {
        /// The host as it was asked for.
        host: String,
        /// The address that was refused.
        address: IpAddr,
        /// The IPv4 address written inside `address`, where that is what was
        /// refused.
        inside: Option<Ipv4Addr>,
        /// The range that was in the way.
        range: SpecialRange,
    },
}

impl AddressRefusal {
    /// The host as it was asked for.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::NoAddress { host } | Self::Special { host, .. } | Self::Guarded { host, .. } => host,
        }
    }

    /// The address that was refused, where there was one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::NoAddress { .. } => None,
            Self::Special { address, .. } | Self::Guarded { address, .. } => Some(*address),
        }
    }

    /// The range that was in the way, in words such as
    /// `private network 10.0.0.0/8`.
    #[must_use]
    pub fn range(&self) -> Option<String> {
        match self {
            Self::NoAddress { .. } => None,
            Self::Special { range, .. } | Self::Guarded { range, .. } => Some(range.to_string()),
        }
    }
}

impl AddressRule {
    /// A rule that lets through public addresses, the listed networks, and
    /// whatever the listed hosts resolve to.
    ///
    /// A listed IPv6 block of mapped addresses means the IPv4 block inside it.
    #[must_use]
    pub fn new(allow_networks: Vec<IpNet>, allow_hosts: Vec<String>) -> Self {
        Self {
            networks: allow_networks.into_iter().map(unmapped).collect(),
            hosts: allow_hosts.into_iter().map(|host| plain_host(&host)).collect(),
        }
    }

    /// Whether a connection to the host may be made, given every address that
    /// could be dialled for it.
    ///
    /// # Errors
    /// Says which address is refused and why; one is enough to refuse all.
    pub fn judge(&self, host: &str, addresses: &[IpAddr]) -> Result<(), AddressRefusal> {
        if addresses.is_empty() {
            let host = host.to_owned();
            return Err(AddressRefusal::NoAddress { host });
        }
        if self.hosts.contains(&plain_host(host)) {
            return Ok(());
        }
        addresses.iter().try_for_each(|address| self.judge_address(host, *address))
    }

    fn judge_address(&self, host: &str, address: IpAddr) -> Result<(), AddressRefusal> {
        let IpAddr::V6(outer) = address else {
            return self.judge_part(host, address, None);
        };
        if let Some(inside) = same_host_in_v4(outer) {
            return self.judge_part(host, address, Some(inside));
        }
        carried(outer).into_iter().try_for_each(|inside| self.judge_part(host, address, Some(inside)))?;
        self.judge_part(host, address, None)
    }

    /// Judges the IPv4 address inside where one is given, else the whole.
    fn judge_part(&self, host: &str, address: IpAddr, inside: Option<Ipv4Addr>) -> Result<(), AddressRefusal> {
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
            Tier::Ordinary => AddressRefusal::Special { host, address, inside, range },
            Tier::Guarded => AddressRefusal::Guarded { host, address, inside, range },
        })
    }
}

/// The subject of a refusal's sentence: who is where.
struct Place<'a> {
    host: &'a str,
    address: &'a IpAddr,
    inside: &'a Option<Ipv4Addr>,
    range: &'a SpecialRange,
}

impl fmt::Display for Place<'_> {
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

/// One spelling for every way to write the same host name.
fn plain_host(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    literal.unwrap_or(host).to_ascii_lowercase()
}

/// The system connects to the IPv4 host for a mapped address, so a listed
/// block of them has to open that host and nothing else.
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

/// Every IPv4 host that a tunnel or gateway could take the packet to.
///
/// More than one is possible, and each has to be fit to be reached.
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

/// The readings of a local NAT64 address in each layout that fits its prefix.
///
/// Only the operator's gateway knows the layout, so whoever writes the address
/// must not profit from our guess. The bits of one layout are blank in the
/// others, hence a blank reading counts only where there is no better one.
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
