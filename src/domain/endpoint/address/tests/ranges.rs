//! Every special-purpose range: its first, middle and last address, and its neighbours outside.

use crate::domain::endpoint::address::tests::*;

#[test]
fn the_table_has_every_range_of_the_registries_once() {
    let mut table: Vec<String> = RANGES.iter().map(|range| range.network.to_string()).collect();
    let mut expected: Vec<String> = special().map(|block| block.to_string()).collect();
    table.sort();
    expected.sort();
    assert_eq!(table, expected);
    for range in RANGES {
        assert_eq!(range.network, range.network.trunc(), "{range}");
        assert_eq!(range.tier == Tier::Guarded, guarded().any(|text| net(text) == range.network), "{range}");
    }
}

#[test]
fn no_ordinary_range_hides_within_a_guarded_one() {
    for guarded in RANGES.iter().filter(|range| range.tier == Tier::Guarded) {
        let hidden =
            RANGES.iter().find(|range| range.tier == Tier::Ordinary && guarded.network.contains(&range.network));
        assert_eq!(hidden, None);
    }
}

#[test]
fn first_middle_and_last_address_of_every_range_are_refused_in_every_form() {
    let rule = AddressRule::default();
    let mut vectors = 0;
    for probe in special().flat_map(probes) {
        // The NAT64 and mapped prefixes are judged by what is inside.
        let by_inside = match probe {
            IpAddr::V6(a) => same_host_in_v4(a).is_some_and(|inside| !is_special(inside.into())),
            IpAddr::V4(_) => false,
        };
        assert_eq!(check(&rule, probe).is_ok(), by_inside, "{probe}");
        vectors += 1;
        if let IpAddr::V4(inside) = probe {
            for (form, written) in FORMS {
                assert!(check(&rule, written(inside)).is_err(), "{form} {inside}");
                vectors += 1;
            }
        }
    }
    assert!(vectors >= 1_000, "{vectors}");
}

#[test]
fn neighbours_of_a_range_are_allowed_unless_they_are_special_themselves() {
    let rule = AddressRule::default();
    let (mut open, mut shut) = (0, 0);
    for neighbour in special().flat_map(neighbours) {
        let expected = match neighbour {
            IpAddr::V6(a) => same_host_in_v4(a).map_or(!is_special(neighbour), |inside| !is_special(inside.into())),
            IpAddr::V4(_) => !is_special(neighbour),
        };
        assert_eq!(check(&rule, neighbour).is_ok(), expected, "{neighbour}");
        *if expected { &mut open } else { &mut shut } += 1;
    }
    assert!(open >= 45 && shut >= 10, "{open} {shut}");
}

#[test]
fn public_addresses_are_allowed() {
    for address in ["1.1.1.1", "8.8.8.8", "93.184.216.34", "223.255.255.255", "2a00:1450:4001::1", "2606:4700::1111"] {
        assert!(allowed(&[], address), "{address}");
    }
}

#[test]
fn a_neighbour_is_allowed_in_the_forms_that_only_write_it_differently() {
    let rule = AddressRule::default();
    let mut vectors = 0;
    for neighbour in special().flat_map(neighbours) {
        let IpAddr::V4(inside) = neighbour else { continue };
        for (form, written) in FORMS.iter().filter(|(form, _)| ALIASES.contains(form)) {
            assert_eq!(check(&rule, written(inside)).is_ok(), !is_special(neighbour), "{form} {inside}");
            vectors += 1;
        }
    }
    assert!(vectors >= 90, "{vectors}");
}

#[test]
fn a_listed_block_opens_no_other_range() {
    // A mapped block is a block of version 4, and what is inside a mapped or NAT64 address is judged as such.
    let writes_v4 = |address: IpAddr| matches!(address, IpAddr::V6(a) if same_host_in_v4(a).is_some());
    let mut vectors = 0;
    for listed in ORDINARY.split_whitespace().map(net).filter(|listed| !writes_v4(listed.network())) {
        let rule = AddressRule::new(vec![listed], vec![]);
        for probe in special().flat_map(probes).filter(|probe| !listed.contains(probe) && !writes_v4(*probe)) {
            assert!(check(&rule, probe).is_err(), "{listed} {probe}");
            vectors += 1;
        }
    }
    assert!(vectors >= 5_000, "{vectors}");
}
