//! Which addresses the rule lets through: every special-purpose range, its edges, its neighbours and its disguises.

use super::*;
use crate::domain::special_ranges::RANGES;
use proptest::prelude::*;

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

fn judge(rule: &AddressRule, address: impl Into<IpAddr>) -> Result<(), AddressRefusal> {
    rule.judge("crm.example", &[address.into()])
}

fn allowed(networks: &[&str], address: &str) -> bool {
    judge(&rule(networks), address.parse::<IpAddr>().unwrap()).is_ok()
}

fn sentence(host: &str, address: &str) -> String {
    let address = address.parse().unwrap();
    AddressRule::default().judge(host, &[address]).unwrap_err().to_string()
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
        assert_eq!(judge(&rule, probe).is_ok(), by_inside, "{probe}");
        vectors += 1;
        if let IpAddr::V4(inside) = probe {
            for (form, written) in FORMS {
                assert!(judge(&rule, written(inside)).is_err(), "{form} {inside}");
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
        assert_eq!(judge(&rule, neighbour).is_ok(), expected, "{neighbour}");
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
fn a_public_host_is_allowed_mapped_and_through_nat64_but_not_through_a_tunnel() {
    for (form, written) in FORMS {
        let expected = ALIASES.contains(form) || form.starts_with("ISATAP");
        assert_eq!(judge(&AddressRule::default(), written(v4("8.8.8.8"))).is_ok(), expected, "{form}");
    }
}

#[test]
fn a_tunnel_to_a_public_host_opens_with_the_tunnels_own_network() {
    for (form, written) in FORMS {
        let outer = written(v4("8.8.8.8"));
        assert!(judge(&rule(&[&format!("{outer}/64")]), outer).is_ok(), "{form}");
        assert!(judge(&rule(&["::/0"]), outer).is_ok(), "{form}");
    }
}

#[test]
fn a_tunnel_to_a_private_host_needs_the_private_network_as_well() {
    for (form, written) in FORMS {
        let outer = written(v4("10.1.2.3"));
        assert!(judge(&rule(&["::/0"]), outer).is_err(), "{form}");
        // A mapped block is the IPv4 block itself, so listing it is enough.
        let outer_listed = rule(&[&format!("{outer}/128")]);
        assert_eq!(judge(&outer_listed, outer).is_ok(), *form == "mapped", "{form}");
        assert!(judge(&rule(&["::/0", "10.1.2.3/32", "10.0.0.0/8"]), outer).is_ok(), "{form}");
    }
}

#[test]
fn listing_a_private_network_does_not_open_a_tunnel_to_it() {
    for (form, written) in FORMS {
        let expected = ALIASES.contains(form) || form.starts_with("ISATAP");
        let listed = rule(&["10.0.0.0/8"]);
        assert_eq!(judge(&listed, written(v4("10.1.2.3"))).is_ok(), expected, "{form}");
    }
}

#[test]
fn no_wide_block_opens_a_guarded_host_through_any_form() {
    let wide = rule(&["0.0.0.0/0", "::/0", "126.0.0.0/7", "::ffff:0:0/96"]);
    for inside in ["127.0.0.1", "169.254.169.254", "100.100.100.200"] {
        for (form, written) in FORMS {
            assert!(judge(&wide, written(v4(inside))).is_err(), "{form} {inside}");
        }
    }
}

#[test]
fn unused_bits_of_a_local_nat64_address_can_not_hide_a_private_host() {
    let wide = rule(&["64:ff9b:1::/48"]);
    assert!(judge(&wide, v6("64:ff9b:1:808:8:800::")).is_ok());
    // 10.0.0.1 in the layout of /48, a public host in the last 32 bits.
    assert!(judge(&wide, v6("64:ff9b:1:a00:0:100:808:808")).is_err());
    assert!(judge(&wide, v6("64:ff9b:1::")).is_err());
}

#[test]
fn isatap_behind_another_tunnel_is_judged_too() {
    let listed = rule(&["2002::/16"]);
    assert!(judge(&listed, v6("2002:808:808::5efe:808:808")).is_ok());
    assert!(judge(&listed, v6("2002:808:808::5efe:a00:1")).is_err());
    assert!(judge(&listed, v6("2002:a00:1::5efe:808:808")).is_err());
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
            assert!(judge(&wide, probe).is_err(), "{probe}");
            assert!(judge(&wider, probe).is_err(), "{probe}");
        }
    }
}

#[test]
fn an_entry_within_a_guarded_range_opens_what_it_contains() {
    for text in guarded() {
        for probe in probes(net(text)) {
            assert!(judge(&rule(&[text]), probe).is_ok(), "{probe}");
            assert!(judge(&AddressRule::new(vec![probe.into()], vec![]), probe).is_ok(), "{probe}");
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
fn one_bad_address_refuses_all_wherever_it_stands() {
    let (good, bad): (IpAddr, IpAddr) = (v4("8.8.8.8").into(), v4("10.0.0.1").into());
    let rule = AddressRule::default();
    assert_eq!(rule.judge("a.example", &[good, good, good]), Ok(()));
    for addresses in [[bad, good, good], [good, bad, good], [good, good, bad]] {
        assert_eq!(rule.judge("a.example", &addresses).unwrap_err().address(), Some(bad));
    }
}

#[test]
fn no_address_at_all_is_a_refusal_even_for_a_listed_host() {
    for rule in [AddressRule::default(), AddressRule::new(vec![], vec!["a.example".into()])] {
        let refusal = rule.judge("a.example", &[]).unwrap_err();
        assert_eq!(refusal.to_string(), "host a.example has no address");
        assert_eq!((refusal.host(), refusal.address(), refusal.range()), ("a.example", None, None));
    }
}

#[test]
fn a_listed_host_may_be_anywhere_and_no_other_host_with_it() {
    let listed = ["CRM.Local.", "[::1]", "127.0.0.1"].map(String::from).to_vec();
    let rule = AddressRule::new(vec![], listed);
    let loopback: &[IpAddr] = &[v4("127.0.0.1").into(), v6("::1").into()];
    for host in ["crm.local", "CRM.LOCAL", "crm.local.", "::1", "[::1]", "127.0.0.1"] {
        assert_eq!(rule.judge(host, loopback), Ok(()), "{host}");
    }
    for host in ["a.crm.local", "local", "crm.local.example", "crm.local..", ""] {
        assert!(rule.judge(host, loopback).is_err(), "{host}");
    }
}

#[test]
fn the_refusal_tells_what_is_wrong_and_who_can_open_it() {
    assert_eq!(
        sentence("crm.local", "10.1.2.3"),
        "address 10.1.2.3 of host crm.local is in the private network 10.0.0.0/8, which is not allowed; \
         the operator can allow it with delivery.allow_networks"
    );
    assert_eq!(
        sentence("127.0.0.1", "127.0.0.1"),
        "address 127.0.0.1 is in the loopback network 127.0.0.0/8, which is not allowed; \
         only an entry of delivery.allow_networks within 127.0.0.0/8 opens it, a wider one does not"
    );
    assert_eq!(
        sentence("a.example", "::ffff:169.254.169.254"),
        "address ::ffff:169.254.169.254 of host a.example leads to 169.254.169.254, which is in the \
         cloud metadata and link-local network 169.254.0.0/16, which is not allowed; \
         only an entry of delivery.allow_networks within 169.254.0.0/16 opens it, a wider one does not"
    );
    assert_eq!(
        sentence("a.example", "255.255.255.255"),
        "address 255.255.255.255 of host a.example is the broadcast address 255.255.255.255, which is not allowed; \
         the operator can allow it with delivery.allow_networks"
    );
}

#[test]
fn the_refusal_carries_its_parts() {
    for (address, range) in [
        ("10.1.2.3", "private network 10.0.0.0/8"),
        ("127.0.0.1", "loopback network 127.0.0.0/8"),
        ("::1", "loopback address ::1"),
        ("64:ff9b::a01:203", "private network 10.0.0.0/8"),
        ("192.0.0.9", "port control anycast address 192.0.0.9"),
        ("4000::1", "not global network 4000::/2"),
    ] {
        let address = address.parse().unwrap();
        let refusal = AddressRule::default().judge("a.example", &[address]).unwrap_err();
        assert_eq!(refusal.host(), "a.example");
        assert_eq!(refusal.address(), Some(address));
        assert_eq!(refusal.range().as_deref(), Some(range));
    }
}

proptest! {
    #[test]
    fn any_v4_address_is_judged_by_the_registry_and_mapped_alike(bits: u32) {
        let address = Ipv4Addr::from_bits(bits);
        let (none, wide) = (AddressRule::default(), rule(&["0.0.0.0/0"]));
        prop_assert_eq!(judge(&none, address).is_ok(), !is_special(address.into()));
        prop_assert_eq!(judge(&wide, address).is_ok(), !is_guarded(address.into()));
        for rule in [none, wide, rule(&["::/0"]), rule(&["127.0.0.0/8", "10.0.0.0/8"])] {
            prop_assert_eq!(judge(&rule, address).is_ok(), judge(&rule, address.to_ipv6_mapped()).is_ok());
        }
    }

    #[test]
    fn any_form_of_a_refused_v4_address_is_refused(bits: u32) {
        let inside = Ipv4Addr::from_bits(bits);
        for rule in [AddressRule::default(), rule(&["10.0.0.0/8"]), rule(&["::/0"])] {
            if judge(&rule, inside).is_err() {
                // No gateway has a host in 0.0.0.0/8 to lead to.
                let forms = FORMS.iter().filter(|(form, _)| bits >> 24 != 0 || !form.starts_with("local"));
                for (form, written) in forms {
                    prop_assert!(judge(&rule, written(inside)).is_err(), "{} {}", form, inside);
                }
            }
        }
    }

    #[test]
    fn no_v6_address_outside_of_global_unicast_is_allowed(bits: u128) {
        let address = Ipv6Addr::from_bits(bits);
        let verdict = judge(&AddressRule::default(), address);
        if bits >> 125 != 1 {
            prop_assert!(verdict.is_err());
        } else if verdict.is_err() {
            prop_assert!(is_special(address.into()) || !carried(address).is_empty());
        }
        let _ = judge(&rule(&["::/0", "0.0.0.0/0"]), address);
    }

    #[test]
    fn any_host_text_is_judged_without_a_panic(host in ".*", bits: u32) {
        let _ = AddressRule::new(vec![], vec![host.clone()]).judge(&host, &[Ipv4Addr::from_bits(bits).into()]);
    }
}
