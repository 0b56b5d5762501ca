//! Which addresses the rule lets through: every special-purpose range, its edges, its neighbours and its disguises.

mod error;
mod inside_v6;
mod opening;
mod properties;
mod ranges;

use crate::domain::endpoint::address::*;
use crate::domain::endpoint::special_ranges::RANGES;

/// The registries once more, written apart from the table on purpose.
const ORDINARY: &str = "\
    10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29 192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 \
    192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 \
    192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32 \
    ::/3 4000::/2 8000::/1 ::/8 ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 \
    100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128 2001:2::/48 2001:3::/32 \
    2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16 2620:4f:8000::/48 \
    3fff::/20 5f00::/16 fc00::/7 fec0::/10 ff00::/8";

const GUARDED: &str = "\
    0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32 ::/128 ::1/128 \
    fe80::/10 fd00:ec2::254/128 fd20:ce::254/128 fd00:42::42/128 fd00:c1::a9fe:a9fe/128";

type Form = fn(Ipv4Addr) -> Ipv6Addr;

/// Ways to write an IPv4 host inside an IPv6 address.
const FORMS: &[(&str, Form)] = &[
    ("mapped", |v4| v4.to_ipv6_mapped()),
    ("well-known NAT64", |v4| low("64:ff9b::", v4)),
    ("compatible", |v4| low("::", v4)),
    ("translated", |v4| low("::ffff:0:0:0", v4)),
    ("local NAT64, /96", |v4| low("64:ff9b:1::", v4)),
    ("local NAT64, /48", |v4| local_nat64_at(v4, 48)),
    ("local NAT64, /56", |v4| local_nat64_at(v4, 56)),
    ("local NAT64, /64", |v4| local_nat64_at(v4, 64)),
    ("6to4", |v4| Ipv6Addr::from_bits(v6("2002::").to_bits() | u128::from(v4.to_bits()) << 80)),
    ("Teredo", |v4| low("2001:0:801:101::", Ipv4Addr::from_bits(!v4.to_bits()))),
    ("ISATAP", |v4| low("2a00:1::5efe:0:0", v4)),
    ("ISATAP, unique", |v4| low("2a00:1::200:5efe:0:0", v4)),
];

const ALIASES: &[&str] = &["mapped", "well-known NAT64"];

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn low(prefix: &str, inside: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(v6(prefix).to_bits() | u128::from(inside.to_bits()))
}

/// The address octet by octet, stepping over the ninth.
fn local_nat64_at(inside: Ipv4Addr, from: usize) -> Ipv6Addr {
    let mut octets = v6("64:ff9b:1::").octets();
    let free = (from / 8..16).filter(|at| *at != 8);
    for (at, octet) in free.zip(inside.octets()) {
        octets[at] = octet;
    }
    Ipv6Addr::from(octets)
}

fn rule(networks: &[&str]) -> AddressRule {
    AddressRule::new(networks.iter().map(|text| net(text)).collect(), vec![])
}

fn check(rule: &AddressRule, address: impl Into<IpAddr>) -> Result<(), BlockedAddress> {
    rule.check("crm.example", &[address.into()])
}

fn allowed(networks: &[&str], address: &str) -> bool {
    check(&rule(networks), address.parse::<IpAddr>().unwrap()).is_ok()
}

fn sentence(host: &str, address: &str) -> String {
    let address = address.parse().unwrap();
    AddressRule::default().check(host, &[address]).unwrap_err().to_string()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => a.to_bits().into(),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn address(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(number.try_into().unwrap()).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

fn probes(block: IpNet) -> [IpAddr; 3] {
    let (first, last) = (number(block.network()), number(block.broadcast()));
    [block.network(), address(block.network(), first + (last - first) / 2), block.broadcast()]
}

fn neighbours(block: IpNet) -> Vec<IpAddr> {
    let (first, last) = (block.network(), block.broadcast());
    let top = if first.is_ipv4() { u32::MAX.into() } else { u128::MAX };
    let below = number(first).checked_sub(1);
    let above = number(last).checked_add(1).filter(|n| *n <= top);
    below.into_iter().chain(above).map(|n| address(first, n)).collect()
}

fn guarded() -> impl Iterator<Item = &'static str> {
    GUARDED.split_whitespace()
}

fn special() -> impl Iterator<Item = IpNet> {
    ORDINARY.split_whitespace().chain(guarded()).map(net)
}

fn is_special(address: IpAddr) -> bool {
    special().any(|block| block.contains(&address))
}

fn is_guarded(address: IpAddr) -> bool {
    guarded().any(|text| net(text).contains(&address))
}
