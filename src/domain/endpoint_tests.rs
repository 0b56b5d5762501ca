//! Which URLs are taken, and every spelling that is not.

use super::*;
use crate::domain::special_ranges::RANGES;
use ipnet::IpNet;
use proptest::prelude::*;

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

#[test]
fn a_plain_url_keeps_its_text() {
    for text in [
        "https://example.com/",
        "https://example.com/hooks/time?team=7&x=%2F",
        "https://hooks.example.com:8443/a",
        "https://my_host.example/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:444/",
        "https://crm/",
        "https://example.com./",
        "http://example.com/",
    ] {
        assert_eq!(canonical(text), text);
    }
}

#[test]
fn a_url_is_kept_in_canonical_text() {
    for (text, expected) in [
        ("HTTPS://Example.COM:443", "https://example.com/"),
        ("http://example.com:80/a/../b", "http://example.com/b"),
        ("https://bücher.example/ä ö?q=ü", "https://xn--bcher-kva.example/%C3%A4%20%C3%B6?q=%C3%BC"),
        ("https://8.8.2056/", "https://8.8.8.8/"),
        ("https://[2606:4700:0:0:0:0:0:1]/", "https://[2606:4700::1]/"),
        ("https://ex%61mple.com/", "https://example.com/"),
        ("https://example.com:/", "https://example.com/"),
        ("https://example.com/a@b:c", "https://example.com/a@b:c"),
        ("https://example.com?a@b", "https://example.com/?a@b"),
    ] {
        assert_eq!(canonical(text), expected);
    }
}

#[test]
fn the_parts_are_those_of_the_url() {
    for (text, host, port, https, origin) in [
        ("https://example.com/a?b", "example.com", 443, true, "https://example.com"),
        ("http://example.com/", "example.com", 80, false, "http://example.com"),
        ("https://example.com:8443/", "example.com", 8443, true, "https://example.com:8443"),
        ("http://example.com:443/", "example.com", 443, false, "http://example.com:443"),
        ("https://example.com./", "example.com.", 443, true, "https://example.com."),
        ("https://8.8.8.8:65535/", "8.8.8.8", 65535, true, "https://8.8.8.8:65535"),
        ("https://[2606:4700::1]/", "2606:4700::1", 443, true, "https://[2606:4700::1]"),
    ] {
        let endpoint = parse(text).unwrap();
        assert_eq!(endpoint.host(), host);
        assert_eq!(endpoint.port(), port, "{text}");
        assert_eq!(endpoint.is_https(), https, "{text}");
        assert_eq!(endpoint.origin(), origin);
        assert_eq!(endpoint.as_str(), text);
        assert_eq!(format!("{endpoint} {endpoint:?}"), format!("{text} {text}"));
    }
}

#[test]
fn a_stored_text_comes_back_whatever_the_policy_is_now() {
    for text in ["https://example.com/", "http://127.0.0.1:8080/a?b", "https://localhost/", "https://[::1]/"] {
        let endpoint = Endpoint::from_stored(text).unwrap();
        assert_eq!(endpoint.as_str(), text);
        assert_eq!(Endpoint::parse(text, &policy(&["127.0.0.0/8", "::1/128"], &[])), Ok(endpoint));
    }
}

#[test]
fn a_text_that_is_not_canonical_is_no_stored_one() {
    for text in
        ["https://example.com", "HTTPS://example.com/", "https://0x7f.1/", "https://a@b.example/", "ftp://a/", ""]
    {
        assert_eq!(Endpoint::from_stored(text), None, "{text}");
    }
}

#[test]
fn http_needs_the_operators_leave() {
    let strict = EndpointPolicy::default();
    assert_eq!(Endpoint::parse("http://example.com/", &strict), Err(EndpointError::PlainHttp));
    assert!(Endpoint::parse("https://example.com/", &strict).is_ok());
    assert!(parse("http://example.com/").is_ok());
}

#[test]
fn other_schemes_are_refused() {
    for scheme in ["ftp", "file", "gopher", "ws", "wss", "data", "unix", "javascript", "httpss"] {
        let expected = EndpointError::Scheme { scheme: scheme.into() };
        assert_eq!(refusal(&format!("{scheme}://example.com/")), expected);
    }
}

#[test]
fn a_text_that_is_no_url_is_refused() {
    for text in [
        "",
        "example.com/hook",
        "//example.com/",
        "/hook",
        "https://exa mple.com/",
        "https://[::1",
        "https://[fe80::1%25lo]/",
        "https://[v1.a]/",
        "https://a:65536/",
        "https://a:x/",
        "https://a%00b/",
        "https://a^b/",
        "https://a|b/",
        "https://xn--/",
    ] {
        assert!(matches!(refusal(text), EndpointError::Unreadable { .. }), "{text}");
    }
}

#[test]
fn a_url_without_a_host_is_refused() {
    for text in ["https://", "https:///", "https:", "https://?a", "https://:443/", "https://#a"] {
        assert!(matches!(refusal(text), EndpointError::NoHost), "{text}");
    }
}

#[test]
fn anything_but_two_slashes_is_refused() {
    for text in [
        "https:example.com",
        "https:/example.com/",
        "https:///example.com/",
        "https:////example.com",
        "http:example.com",
    ] {
        assert_eq!(refusal(text), EndpointError::Slashes, "{text}");
    }
}

#[test]
fn user_info_is_refused_even_when_it_is_empty() {
    for text in [
        "https://a@example.com/",
        "https://a:b@example.com/",
        "https://:b@example.com/",
        "https://@example.com/",
        "https://:@example.com/",
        "https://a@b@example.com/",
        "https://example.com@8.8.8.8",
        "https://a@example.com?b",
        "https://a%40b@example.com/",
    ] {
        assert_eq!(refusal(text), EndpointError::UserInfo, "{text}");
    }
}

#[test]
fn a_fragment_is_refused_even_when_it_is_empty() {
    for text in
        ["https://example.com/#", "https://example.com#a", "https://example.com/?a#b", "https://example.com#@8.8.8.8"]
    {
        assert_eq!(refusal(text), EndpointError::Fragment, "{text}");
    }
}

#[test]
fn port_zero_is_refused() {
    assert_eq!(refusal("https://example.com:0/"), EndpointError::PortZero);
    assert_eq!(refusal("https://example.com:000/"), EndpointError::PortZero);
    assert!(parse("https://example.com:1/").is_ok());
}

#[test]
fn the_limit_on_length_counts_the_canonical_text_too() {
    let base = "https://example.com/";
    let longest = format!("{base}{}", "a".repeat(MAX_URL_LENGTH - base.len()));
    assert_eq!(canonical(&longest), longest);
    assert_eq!(refusal(&format!("{longest}a")), EndpointError::TooLong { length: 2049 });
    let grows = format!("{base}{}", "ü".repeat(500));
    assert_eq!(refusal(&grows), EndpointError::TooLong { length: base.len() + 3_000 });
    let shrinks = format!("{base}{}", "./".repeat(1_500));
    assert_eq!(refusal(&shrinks), EndpointError::TooLong { length: base.len() + 3_000 });
}

#[test]
fn characters_that_parsers_drop_or_fold_are_refused_wherever_they_stand() {
    let controls = (0..=0x1f).chain(0x7f..=0x9f).filter_map(char::from_u32);
    for character in controls.chain(['\\']) {
        for (before, after) in [
            ("", "https://a.example/"),
            ("ht", "tps://a.example/"),
            ("https://a", ".example/"),
            ("https://a.example/", "b"),
            ("https://a.example/", ""),
        ] {
            let expected = EndpointError::ForbiddenCharacter { character, position: before.len() };
            assert_eq!(refusal(&format!("{before}{character}{after}")), expected);
        }
    }
}

#[test]
fn space_around_the_url_is_refused() {
    for space in [' ', '\u{a0}', '\u{2003}', '\u{3000}'] {
        assert_eq!(refusal(&format!("{space}https://a.example/")), EndpointError::SurroundingSpace);
        assert_eq!(refusal(&format!("https://a.example/{space}")), EndpointError::SurroundingSpace);
    }
}

#[test]
fn a_host_that_is_no_name_is_refused() {
    let long = "a".repeat(64);
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert_eq!(name.len(), 253);
    assert!(parse(&format!("https://{name}/")).is_ok());
    for host in [
        "a..b",
        ".a",
        "a..",
        "127.0.0.1..",
        "..",
        "-a.example",
        "a-.example",
        "a.example-",
        "a\"b",
        "a{b",
        "a}b",
        "a`b",
        "a!b",
        "a*b",
        "*.example",
        "a,b",
        "a;b",
        "a=b",
        "a'b",
        "a~b",
        "a+b",
        "a$b",
        "a&b",
        "(a)",
        &long,
        &format!("{name}d"),
        &format!("{name}."),
    ] {
        assert_eq!(refusal(&format!("https://{host}/")), EndpointError::HostName { host: host.to_owned() });
    }
}

#[test]
fn a_name_that_a_resolver_would_read_as_an_address_is_no_name() {
    for text in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "0",
        "a.0x",
        "a.0x1f",
        "a.1",
        "a.08.",
    ] {
        assert!(!is_host_name(text), "{text}");
    }
    for text in ["a.0xg", "1.a", "0x7f.a", "a.1b", "a.0y1", "3com.example", "x0", "a1."] {
        assert!(is_host_name(text), "{text}");
    }
}

#[test]
fn a_number_at_the_end_of_a_name_never_gets_through() {
    for host in ["a.1", "a.0x7f", "1.2.3.08", "1.2.3.4.5", "256.1.1.1", "4294967296", "a.1.", "0x100000000"] {
        assert!(matches!(refusal(&format!("https://{host}/")), EndpointError::Unreadable { .. }), "{host}");
    }
}

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
            let expected = AddressRule::default().judge(&address.to_string(), &[address]);
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
            matches!(refusal(&format!("https://{host}/")), EndpointError::Address(AddressRefusal::Guarded { .. })),
            "{host}"
        );
    }
}

#[test]
fn every_spelling_of_a_public_address_becomes_the_same_url() {
    let address = Ipv4Addr::new(93, 184, 216, 34);
    for host in spellings(address).iter().filter(|host| !host.starts_with('[')) {
        assert_eq!(canonical(&format!("https://{host}/")), "https://93.184.216.34/", "{host}");
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

#[test]
fn localhost_is_loopback_by_any_of_its_names() {
    for host in ["localhost", "LocalHost", "localhost.", "a.localhost", "a.b.localhost.", "127.0.0.2.localhost"] {
        let text = format!("https://{host}/");
        let EndpointError::Address(refusal) = refusal(&text) else { panic!("{text}") };
        assert_eq!(refusal.address(), Some(Ipv4Addr::LOCALHOST.into()), "{text}");
        assert_eq!(refusal.host(), host.to_lowercase());
        for networks in [["127.0.0.0/8"], ["127.0.0.1/32"], ["::1/128"]] {
            assert!(Endpoint::parse(&text, &policy(&networks, &[])).is_ok(), "{text}");
        }
        assert!(Endpoint::parse(&text, &policy(&[], &[host])).is_ok(), "{text}");
        assert!(Endpoint::parse(&text, &policy(&["0.0.0.0/0", "::/0"], &["example.com"])).is_err(), "{text}");
    }
    for host in ["localhost.example", "notlocalhost", "localhost.localdomain"] {
        assert!(parse(&format!("https://{host}/")).is_ok(), "{host}");
    }
}

#[test]
fn each_refusal_is_a_sentence_for_whoever_registers_the_url() {
    for (text, sentence) in [
        ("http://a.example", "the URL must begin with https://; plain http is not allowed here"),
        ("ftp://a.example", "the URL must begin with https://, not with ftp:"),
        ("a.example", "the URL can not be read: relative URL without a base"),
        ("https://a\tb", "the URL contains the character \\t at byte 9, which is not allowed there"),
        ("https://a\\b", "the URL contains the character \\\\ at byte 9, which is not allowed there"),
        ("https://a:b@c", "the URL must not carry a user name or password; remove what stands before the @"),
        (
            "https://10.0.0.1",
            "address 10.0.0.1 is in the private network 10.0.0.0/8, which is not allowed; the operator can allow it with delivery.allow_networks",
        ),
    ] {
        assert_eq!(Endpoint::parse(text, &EndpointPolicy::default()).unwrap_err().to_string(), sentence);
    }
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

proptest! {
    #[test]
    fn any_text_is_refused_or_made_fit_for_a_request(text in ".*") {
        for text in [text.clone(), format!("https://{text}"), format!("https://a.example/{text}"), format!("http://a.example?{text}")] {
            if let Ok(endpoint) = parse(&text) {
                prop_assert!(is_fit_for_a_request(&endpoint), "{}", endpoint);
            }
        }
    }

    #[test]
    fn any_url_of_the_marks_that_matter_is_refused_or_made_fit(text in r"https?:/{0,3}[a-z0-9.\-_@:%\[\]x]{0,20}[/?#]?[ -~]{0,20}") {
        if let Ok(endpoint) = parse(&text) {
            prop_assert!(is_fit_for_a_request(&endpoint), "{}", endpoint);
        }
    }

    #[test]
    fn a_literal_v4_is_judged_alike_in_every_spelling(bits: u32) {
        let address = Ipv4Addr::from_bits(bits);
        let expected = AddressRule::default().judge("", &[address.into()]).is_ok();
        for host in spellings(address) {
            let compatible = host.starts_with("[::") && !host.to_lowercase().starts_with("[::ffff:");
            prop_assert_eq!(parse(&format!("https://{host}/")).is_ok(), expected && !compatible, "{}", host);
        }
    }

    #[test]
    fn a_literal_v6_is_judged_as_the_rule_judges_it(bits: u128) {
        let address = Ipv6Addr::from_bits(bits);
        let expected = AddressRule::default().judge("", &[address.into()]).is_ok();
        prop_assert_eq!(parse(&format!("https://[{address}]/")).is_ok(), expected);
    }
}
