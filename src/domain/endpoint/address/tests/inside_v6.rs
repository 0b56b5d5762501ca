//! IPv4 hosts that are written inside an IPv6 address.

use crate::domain::endpoint::address::tests::*;

#[test]
fn a_public_host_is_allowed_mapped_and_through_nat64_but_not_through_a_tunnel() {
    for (form, written) in FORMS {
        let expected = ALIASES.contains(form) || form.starts_with("ISATAP");
        assert_eq!(check(&AddressRule::default(), written(v4("8.8.8.8"))).is_ok(), expected, "{form}");
    }
}

#[test]
fn a_tunnel_to_a_public_host_opens_with_the_tunnels_own_network() {
    for (form, written) in FORMS {
        let outer = written(v4("8.8.8.8"));
        assert!(check(&rule(&[&format!("{outer}/64")]), outer).is_ok(), "{form}");
        assert!(check(&rule(&["::/0"]), outer).is_ok(), "{form}");
    }
}

#[test]
fn a_tunnel_to_a_private_host_needs_the_private_network_as_well() {
    for (form, written) in FORMS {
        let outer = written(v4("10.1.2.3"));
        assert!(check(&rule(&["::/0"]), outer).is_err(), "{form}");
        // A mapped block is the IPv4 block itself, so listing it is enough.
        let outer_listed = rule(&[&format!("{outer}/128")]);
        assert_eq!(check(&outer_listed, outer).is_ok(), *form == "mapped", "{form}");
        assert!(check(&rule(&["::/0", "10.1.2.3/32", "10.0.0.0/8"]), outer).is_ok(), "{form}");
    }
}

#[test]
fn listing_a_private_network_does_not_open_a_tunnel_to_it() {
    for (form, written) in FORMS {
        let expected = ALIASES.contains(form) || form.starts_with("ISATAP");
        let listed = rule(&["10.0.0.0/8"]);
        assert_eq!(check(&listed, written(v4("10.1.2.3"))).is_ok(), expected, "{form}");
    }
}

#[test]
fn no_wide_block_opens_a_guarded_host_through_any_form() {
    let wide = rule(&["0.0.0.0/0", "::/0", "126.0.0.0/7", "::ffff:0:0/96"]);
    for inside in ["127.0.0.1", "169.254.169.254", "100.100.100.200"] {
        for (form, written) in FORMS {
            assert!(check(&wide, written(v4(inside))).is_err(), "{form} {inside}");
        }
    }
}

#[test]
fn unused_bits_of_a_local_nat64_address_can_not_hide_a_private_host() {
    let wide = rule(&["64:ff9b:1::/48"]);
    assert!(check(&wide, v6("64:ff9b:1:808:8:800::")).is_ok());
    // 10.0.0.1 in the layout of /48, a public host in the last 32 bits.
    assert!(check(&wide, v6("64:ff9b:1:a00:0:100:808:808")).is_err());
    assert!(check(&wide, v6("64:ff9b:1::")).is_err());
}

#[test]
fn isatap_behind_another_tunnel_is_judged_too() {
    let listed = rule(&["2002::/16"]);
    assert!(check(&listed, v6("2002:808:808::5efe:808:808")).is_ok());
    assert!(check(&listed, v6("2002:808:808::5efe:a00:1")).is_err());
    assert!(check(&listed, v6("2002:a00:1::5efe:808:808")).is_err());
}

#[test]
fn only_the_well_known_nat64_prefix_itself_is_another_way_to_write_v4() {
    for address in
        ["64:ff9b::1:808:808", "64:ff9b::1:0:808:808", "64:ff9b:0:1::808:808", "64:ff9c::808:808", "::1:ffff:808:808"]
    {
        assert!(!allowed(&[], address), "{address}");
    }
}

#[test]
fn an_interface_id_that_only_resembles_isatap_is_no_tunnel() {
    for address in ["2a00:1::100:5efe:a00:1", "2a00:1::5eff:a00:1", "2a00:1::1:5efe:a00:1"] {
        assert!(allowed(&[], address), "{address}");
    }
}
