//! URLs that are refused for what is in them besides the host.

use super::*;

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
    for text in ["", "not a url", "example.com/hook", "//example.com/", "/hook"] {
        assert_eq!(refusal(text), EndpointError::NoScheme, "{text}");
    }
    for text in [
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
fn characters_that_cannot_be_seen_are_refused_behind_the_host() {
    for character in ['\u{ad}', '\u{200b}', '\u{202e}', '\u{2060}', '\u{feff}'] {
        for (before, after) in [("https://a.example/", ""), ("https://a.example/b", "c"), ("https://a.example?b=", "")]
        {
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
fn each_refusal_is_a_sentence_for_whoever_registers_the_url() {
    for (text, sentence) in [
        (
            "http://a.example",
            "the URL must begin with https://; the operator can allow plain http with delivery.allow_http",
        ),
        ("ftp://a.example", "the URL must begin with https://, not with ftp:"),
        ("a.example", "the URL must begin with https:// and a host, as in https://crm.example.com/hooks"),
        ("https://a\tb", "the URL contains the character \\t at byte 9, which is not allowed there"),
        ("https://a\\b", "the URL contains the character \\\\ at byte 9, which is not allowed there"),
        ("https://a:b@c", "the URL must not have a user name or password; remove the part before the @"),
        (
            "https://10.0.0.1",
            "address 10.0.0.1 is in the private network 10.0.0.0/8, which is not allowed; the operator can allow it with delivery.allow_networks",
        ),
    ] {
        assert_eq!(Endpoint::parse(text, &EndpointPolicy::default()).unwrap_err().to_string(), sentence);
    }
}
