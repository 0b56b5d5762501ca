//! What the operator opens with networks and hosts, and what a wide block never opens.

use crate::domain::endpoint::address::tests::*;

#[test]
fn an_ordinary_range_opens_with_any_network_around_the_address() {
    for listed in ["10.1.2.3/32", "10.1.0.0/16", "10.0.0.0/8", "8.0.0.0/5", "0.0.0.0/0"] {
        assert!(allowed(&[listed], "10.1.2.3"), "{listed}");
        assert!(allowed(&[listed], "::ffff:10.1.2.3"), "{listed}");
    }
    for listed in ["10.1.2.4/32", "10.2.0.0/16", "192.168.0.0/16", "::/0"] {
        assert!(!allowed(&[listed], "10.1.2.3"), "{listed}");
        assert!(!allowed(&[listed], "::ffff:10.1.2.3"), "{listed}");
    }
    assert!(allowed(&["fd12::/16"], "fd12::1"));
    assert!(allowed(&["::/0"], "fd12::1"));
    assert!(!allowed(&["fd13::/16"], "fd12::1"));
}

#[test]
fn a_listed_network_with_host_bits_set_means_its_block() {
    assert!(allowed(&["10.9.9.9/8"], "10.0.0.0"));
    assert!(allowed(&["127.0.0.1/8"], "127.9.9.9"));
}

#[test]
fn a_listed_mapped_block_means_the_v4_block_inside() {
    let listed = ["::ffff:10.0.0.0/104"];
    assert!(allowed(&listed, "10.1.2.3"));
    assert!(allowed(&listed, "::ffff:10.1.2.3"));
    assert!(!allowed(&listed, "192.168.0.1"));
    assert!(allowed(&["::ffff:0:0/96"], "192.168.0.1"));
    assert!(!allowed(&["::ffff:0:0/95"], "192.168.0.1"));
    assert!(!allowed(&["::fffe:0:0/96"], "192.168.0.1"));
}

#[test]
fn a_wide_block_never_opens_loopback() {
    for listed in ["0.0.0.0/0", "126.0.0.0/7", "::/0", "::/96", "::ffff:0:0/96", "::/127"] {
        for address in ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "::127.0.0.1"] {
            assert!(!allowed(&[listed], address), "{listed} {address}");
        }
    }
}

#[test]
fn a_wide_block_never_opens_a_guarded_address() {
    let wide = rule(&["0.0.0.0/0", "::/0"]);
    for text in guarded() {
        let block = net(text);
        let mut wider = vec![];
        let mut next = block.supernet();
        while let Some(network) = next {
            wider.push(network);
            next = network.supernet();
        }
        let wider = AddressRule::new(wider, vec![]);
        for probe in probes(block) {
            assert!(check(&wide, probe).is_err(), "{probe}");
            assert!(check(&wider, probe).is_err(), "{probe}");
        }
    }
}

#[test]
fn an_entry_within_a_guarded_range_opens_what_it_contains() {
    for text in guarded() {
        for probe in probes(net(text)) {
            assert!(check(&rule(&[text]), probe).is_ok(), "{probe}");
            assert!(check(&AddressRule::new(vec![probe.into()], vec![]), probe).is_ok(), "{probe}");
        }
    }
    assert!(!allowed(&["127.0.0.0/9"], "127.128.0.0"));
    assert!(!allowed(&["169.254.169.254/32"], "169.254.169.253"));
    assert!(allowed(&["127.0.0.0/8"], "::ffff:127.0.0.1"));
    assert!(!allowed(&["127.0.0.0/8"], "::1"));
    assert!(!allowed(&["::1/128"], "127.0.0.1"));
}

#[test]
fn the_metadata_service_stays_shut_in_an_open_private_network() {
    assert!(allowed(&["fd00::/8"], "fd00:ec2::253"));
    assert!(!allowed(&["fd00:ec2::/32"], "fd00:ec2::254"));
    assert!(allowed(&["100.64.0.0/10"], "100.100.100.199"));
    assert!(!allowed(&["100.64.0.0/10"], "100.100.100.200"));
}

#[test]
fn a_listed_host_may_be_anywhere_and_no_other_host_with_it() {
    let listed = ["CRM.Local.", "[::1]", "127.0.0.1"].map(String::from).to_vec();
    let rule = AddressRule::new(vec![], listed);
    let loopback: &[IpAddr] = &[v4("127.0.0.1").into(), v6("::1").into()];
    for host in ["crm.local", "CRM.LOCAL", "crm.local.", "::1", "[::1]", "127.0.0.1"] {
        assert_eq!(rule.check(host, loopback), Ok(()), "{host}");
    }
    for host in ["a.crm.local", "local", "crm.local.example", "crm.local..", ""] {
        assert!(rule.check(host, loopback).is_err(), "{host}");
    }
}
