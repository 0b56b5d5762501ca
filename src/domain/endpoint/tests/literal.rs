//! Addresses in URLs, in every spelling that a parser or a resolver knows.

use super::*;

#[test]
fn every_special_address_is_refused_in_every_spelling() {
    let mut vectors = 0;
    for range in RANGES {
        let (IpAddr::V4(first), IpAddr::V4(last)) = (range.network.network(), range.network.broadcast()) else {
            continue;
        };
        let middle = Ipv4Addr::from_bits(first.to_bits().midpoint(last.to_bits()));
        for host in [first, middle, last].into_iter().flat_map(spellings) {
            assert!(matches!(refusal(&format!("https://{host}/a")), EndpointError::Address(_)), "{host}");
            vectors += 1;
        }
    }
    assert!(vectors >= 1_000, "{vectors}");
}

#[test]
fn every_special_v6_address_is_judged_when_it_is_registered() {
    for range in RANGES.iter().filter(|range| matches!(range.network, IpNet::V6(_))) {
        for address in [range.network.network(), range.network.broadcast()] {
            let text = format!("https://[{address}]/");
            let expected = AddressRule::default().check(&address.to_string(), &[address]);
            assert_eq!(parse(&text).map(|_| ()), expected.map_err(EndpointError::Address), "{text}");
        }
    }
}

#[test]
fn the_spellings_that_fool_text_filters_are_refused() {
    for host in [
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.0.0.01",
        "0",
        "0x",
        "①②⑦.0.0.1",
        "１２７。０。０。１",
        "127.0.0.1.",
    ] {
        assert!(
            matches!(refusal(&format!("https://{host}/")), EndpointError::Address(BlockedAddress::Guarded { .. })),
            "{host}"
        );
    }
}

#[test]
fn a_literal_address_opens_as_the_rule_says() {
    for (text, networks, hosts) in [
        ("https://10.0.0.1/", &["10.0.0.0/8"][..], &[][..]),
        ("https://0x7f.1/", &["127.0.0.0/8"], &[]),
        ("https://[::ffff:127.0.0.1]/", &["127.0.0.1/32"], &[]),
        ("https://[::1]/", &["::1/128"], &[]),
        ("https://127.1/", &[], &["127.0.0.1"]),
        ("https://[::1]/", &[], &["::1"]),
        ("https://[::1]/", &[], &["[::1]"]),
    ] {
        assert!(Endpoint::parse(text, &policy(networks, hosts)).is_ok(), "{text}");
        assert!(parse(text).is_err(), "{text}");
    }
    assert!(Endpoint::parse("https://127.0.0.1/", &policy(&["0.0.0.0/0"], &[])).is_err());
}

/// Every way to write an IPv6 address in a URL.
fn v6_spellings(address: Ipv6Addr) -> Vec<String> {
    let segments = address.segments();
    let long = segments.map(|segment| format!("{segment:04x}")).join(":");
    let short = segments.map(|segment| format!("{segment:x}")).join(":");
    let tail = Ipv4Addr::from_bits((address.to_bits() & 0xffff_ffff) as u32);
    let (head, _) = short.rsplit_once(':').and_then(|(rest, _)| rest.rsplit_once(':')).unwrap();
    let dotted = format!("{head}:{tail}");
    vec![
        format!("[{address}]"),
        format!("[{long}]"),
        format!("[{}]", long.to_uppercase()),
        format!("[{short}]"),
        format!("[{dotted}]"),
    ]
}

fn literals(address: IpAddr) -> Vec<String> {
    match address {
        IpAddr::V4(address) => spellings(address),
        IpAddr::V6(address) => v6_spellings(address),
    }
}

fn is_mapped_or_carried(spelling: &str) -> bool {
    spelling.starts_with('[') && spelling.contains('.')
}

#[test]
fn what_stands_around_an_address_never_opens_it() {
    let mut vectors = 0;
    for range in RANGES.iter().filter(|range| AddressRule::default().check("", &[range.network.network()]).is_err()) {
        for host in literals(range.network.network()) {
            for (before, after) in [
                ("https://", ":1/"),
                ("http://", ":65535?a"),
                ("HTTPS://", ":/"),
                ("https://", "/@8.8.8.8"),
                ("https://", ""),
            ] {
                let text = format!("{before}{host}{after}");
                assert!(matches!(refusal(&text), EndpointError::Address(_)), "{text}");
                vectors += 1;
            }
            for (before, after) in [
                ("https://a@", "/"),
                ("https://8.8.8.8@", "/"),
                ("https://8.8.8.8#@", "/"),
                ("https://8.8.8.8\\@", "/"),
            ] {
                let text = format!("{before}{host}{after}");
                assert!(parse(&text).is_err(), "{text}");
                vectors += 1;
            }
        }
    }
    assert!(vectors >= 5_000, "{vectors}");
}

#[test]
fn a_zone_is_never_part_of_an_address() {
    for host in ["[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1%251]", "[2606:4700::1%250]", "[2606:4700::1%0]"] {
        assert!(matches!(refusal(&format!("https://{host}/")), EndpointError::Unreadable { .. }), "{host}");
    }
}

#[test]
fn every_spelling_of_every_ordinary_neighbour_of_a_range_is_taken() {
    let mut vectors = 0;
    for range in RANGES {
        let (first, last) = (range.network.network(), range.network.broadcast());
        let around = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => [
                first.to_bits().checked_sub(1).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
                last.to_bits().checked_add(1).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
            ],
            (IpAddr::V6(first), IpAddr::V6(last)) => [
                first.to_bits().checked_sub(1).map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
                last.to_bits().checked_add(1).map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
            ],
            _ => [None, None],
        };
        let ordinary =
            around.into_iter().flatten().filter(|address| AddressRule::default().check("", &[*address]).is_ok());
        for address in ordinary {
            let plain = IpAddr::to_canonical(&address);
            // A host of version 4 inside an address of version 6 may still have to be judged with its tunnel.
            for host in literals(address).into_iter().filter(|host| address.is_ipv6() || !is_mapped_or_carried(host)) {
                let endpoint = parse(&format!("https://{host}/")).unwrap_or_else(|error| panic!("{host}: {error}"));
                let read: IpAddr = endpoint.host().parse().unwrap();
                assert_eq!(read.to_canonical(), plain, "{host}");
                vectors += 1;
            }
        }
    }
    assert!(vectors >= 400, "{vectors}");
}
