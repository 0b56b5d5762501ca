//! The table of address ranges that are not public hosts: the IANA special-purpose registries of both families,
//! multicast, reserved space, and cloud metadata services at other addresses.
//!
//! Pure data and one look-up; any thread. It must never decide what is allowed: that is up to the address rule.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How the operator can allow a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Any allowed network that contains the address opens it.
    Ordinary,
    /// Only an allowed network within the range opens it, so that a wide block never exposes the machine itself or its
    /// cloud credentials.
    Guarded,
}

/// One range of addresses with a special purpose.
///
/// Shown as it reads in a sentence after "is in the" or "is the".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialRange {
    /// The block of addresses.
    pub network: IpNet,
    /// What the block is for, in words.
    pub words: &'static str,
    /// How it can be opened.
    pub tier: Tier,
}

impl SpecialRange {
    /// Whether the range is one single address.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.network.prefix_len() == self.network.max_prefix_len()
    }
}

impl fmt::Display for SpecialRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            write!(f, "{} address {}", self.words, self.network.addr())
        } else {
            write!(f, "{} network {}", self.words, self.network)
        }
    }
}

/// The narrowest special range that holds the address; `None` means that it
/// is an ordinary public address.
#[must_use]
pub fn range_of(address: IpAddr) -> Option<&'static SpecialRange> {
    RANGES.iter().filter(|range| range.network.contains(&address)).max_by_key(|range| range.network.prefix_len())
}

const fn v4(octets: [u8; 4], prefix: u8, words: &'static str) -> SpecialRange {
    SpecialRange {
        network: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_octets(octets), prefix)),
        words,
        tier: Tier::Ordinary,
    }
}

/// Segments that are not written are zero, as after a `::`.
const fn v6(leading: &[u16], prefix: u8, words: &'static str) -> SpecialRange {
    let mut segments = [0; 8];
    segments.split_at_mut(leading.len()).0.copy_from_slice(leading);
    SpecialRange {
        network: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_segments(segments), prefix)),
        words,
        tier: Tier::Ordinary,
    }
}

const fn guarded(range: SpecialRange) -> SpecialRange {
    SpecialRange { tier: Tier::Guarded, ..range }
}

/// Every special range; nested ones are listed so that a refusal can name
/// what the address is really for.
pub static RANGES: &[SpecialRange] = &[
    guarded(v4([0, 0, 0, 0], 8, "unspecified (this host)")),
    v4([10, 0, 0, 0], 8, "private"),
    v4([100, 64, 0, 0], 10, "shared carrier-grade NAT"),
    guarded(v4([127, 0, 0, 0], 8, "loopback")),
    guarded(v4([169, 254, 0, 0], 16, "cloud metadata and link-local")),
    v4([172, 16, 0, 0], 12, "private"),
    v4([192, 0, 0, 0], 24, "IETF protocol"),
    v4([192, 0, 0, 0], 29, "IPv4 service continuity"),
    v4([192, 0, 0, 8], 32, "IPv4 dummy"),
    v4([192, 0, 0, 9], 32, "port control anycast"),
    v4([192, 0, 0, 10], 32, "relay (TURN) anycast"),
    v4([192, 0, 0, 170], 32, "NAT64 discovery"),
    v4([192, 0, 0, 171], 32, "NAT64 discovery"),
    v4([192, 0, 2, 0], 24, "documentation"),
    v4([192, 31, 196, 0], 24, "AS112 anycast"),
    v4([192, 52, 193, 0], 24, "multicast relay (AMT)"),
    v4([192, 88, 99, 0], 24, "6to4 relay anycast"),
    v4([192, 168, 0, 0], 16, "private"),
    v4([192, 175, 48, 0], 24, "AS112 anycast"),
    v4([198, 18, 0, 0], 15, "benchmark"),
    v4([198, 51, 100, 0], 24, "documentation"),
    v4([203, 0, 113, 0], 24, "documentation"),
    v4([224, 0, 0, 0], 4, "multicast"),
    v4([240, 0, 0, 0], 4, "reserved"),
    v4([255, 255, 255, 255], 32, "broadcast"),
    // Metadata services outside of link-local: Alibaba, Azure, Oracle.
    guarded(v4([100, 100, 100, 200], 32, "cloud metadata")),
    guarded(v4([168, 63, 129, 16], 32, "cloud metadata")),
    guarded(v4([192, 0, 0, 192], 32, "cloud metadata")),
    // All that is not 2000::/3, so that an IPv6 address is refused unless it
    // is known to be global, and a row missing below opens nothing.
    v6(&[], 3, "not global"),
    v6(&[0x4000], 2, "not global"),
    v6(&[0x8000], 1, "not global"),
    v6(&[], 8, "reserved"),
    v6(&[], 96, "IPv4-compatible"),
    guarded(v6(&[], 128, "unspecified")),
    guarded(v6(&[0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback")),
    v6(&[0, 0, 0, 0, 0, 0xffff], 96, "IPv4-mapped"),
    v6(&[0, 0, 0, 0, 0xffff], 96, "IPv4-translated"),
    v6(&[0x64, 0xff9b], 96, "NAT64"),
    v6(&[0x64, 0xff9b, 1], 48, "local NAT64"),
    v6(&[0x100], 64, "discard"),
    v6(&[0x100, 0, 0, 1], 64, "IPv6 dummy"),
    v6(&[0x2001], 23, "IETF protocol"),
    v6(&[0x2001], 32, "Teredo"),
    v6(&[0x2001, 1, 0, 0, 0, 0, 0, 1], 128, "port control anycast"),
    v6(&[0x2001, 1, 0, 0, 0, 0, 0, 2], 128, "relay (TURN) anycast"),
    v6(&[0x2001, 1, 0, 0, 0, 0, 0, 3], 128, "service registration anycast"),
    v6(&[0x2001, 2], 48, "benchmark"),
    v6(&[0x2001, 3], 32, "multicast relay (AMT)"),
    v6(&[0x2001, 4, 0x112], 48, "AS112 anycast"),
    v6(&[0x2001, 0x10], 28, "host identity (ORCHID)"),
    v6(&[0x2001, 0x20], 28, "host identity (ORCHID)"),
    v6(&[0x2001, 0x30], 28, "drone remote id"),
    v6(&[0x2001, 0xdb8], 32, "documentation"),
    v6(&[0x2002], 16, "6to4"),
    v6(&[0x2620, 0x4f, 0x8000], 48, "AS112 anycast"),
    v6(&[0x3fff], 20, "documentation"),
    v6(&[0x5f00], 16, "segment routing"),
    v6(&[0xfc00], 7, "private"),
    guarded(v6(&[0xfe80], 10, "link-local")),
    v6(&[0xfec0], 10, "site-local"),
    v6(&[0xff00], 8, "multicast"),
    // Metadata services in private space: AWS, Google, Scaleway, Oracle.
    guarded(v6(&[0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, "cloud metadata")),
    guarded(v6(&[0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, "cloud metadata")),
    guarded(v6(&[0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128, "cloud metadata")),
    guarded(v6(&[0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, "cloud metadata")),
];
