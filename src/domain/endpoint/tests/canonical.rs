//! Which URLs are taken, and the one text that each of them becomes.

use super::*;

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
fn every_spelling_of_a_public_address_becomes_the_same_url() {
    let address = Ipv4Addr::new(93, 184, 216, 34);
    for host in spellings(address).iter().filter(|host| !host.starts_with('[')) {
        assert_eq!(canonical(&format!("https://{host}/")), "https://93.184.216.34/", "{host}");
    }
}
