//! Hosts that are no names, and numbers that pass for names.

use super::*;

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
