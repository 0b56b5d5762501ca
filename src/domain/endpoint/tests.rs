//! Which URLs are taken, and every spelling that is not.

mod canonical;
mod form;
mod host;
mod literal;
mod properties;

use super::*;
use crate::domain::endpoint::special_ranges::RANGES;
use ipnet::IpNet;

fn policy(networks: &[&str], hosts: &[&str]) -> EndpointPolicy {
    let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    EndpointPolicy { allow_http: true, addresses: AddressRule::new(networks, hosts) }
}

fn parse(text: &str) -> Result<Endpoint, EndpointError> {
    Endpoint::parse(text, &policy(&[], &[]))
}

fn canonical(text: &str) -> String {
    parse(text).unwrap().to_string()
}

fn refusal(text: &str) -> EndpointError {
    parse(text).unwrap_err()
}

/// Every way to write an address that resolvers or parsers of URLs know.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let whole = address.to_bits();
    let (low24, low16) = (whole & 0xff_ffff, whole & 0xffff);
    let wide: String = address.to_string().chars().map(|c| if c == '.' { '。' } else { fullwidth(c) }).collect();
    let mapped = address.to_ipv6_mapped().segments();
    vec![
        format!("{address}"),
        format!("{address}."),
        format!("{whole}"),
        format!("{whole}."),
        format!("{whole:#x}"),
        format!("{whole:#X}"),
        format!("0{whole:o}"),
        format!("{a}.{low24}"),
        format!("{a}.{b}.{low16}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("000{a:o}.{b}.{c:#x}.{d}"),
        format!("{a}%2e{b}%2E{c}.{d}"),
        format!("{a}.{b}\u{ad}.{c}.{d}"),
        wide,
        format!("[::ffff:{address}]"),
        format!("[::FFFF:{:x}:{:x}]", mapped[6], mapped[7]),
        format!("[0:0:0:0:0:ffff:{address}]"),
        format!("[::{address}]"),
        format!("[64:ff9b::{address}]"),
    ]
}

fn fullwidth(digit: char) -> char {
    char::from_u32(digit as u32 - u32::from(b'0') + 0xff10).unwrap()
}

fn is_fit_for_a_request(endpoint: &Endpoint) -> bool {
    let text = endpoint.as_str();
    text.len() <= MAX_URL_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.starts_with(&format!("{}/", endpoint.origin()))
        && !text.contains('#')
        && !endpoint.host().is_empty()
        && endpoint.port() != 0
        && Endpoint::from_stored(text).as_ref() == Some(endpoint)
}
