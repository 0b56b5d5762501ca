//! What a refusal says, and that one bad address is enough for it.

use crate::domain::endpoint::address::tests::*;

#[test]
fn one_bad_address_refuses_all_wherever_it_stands() {
    let (good, bad): (IpAddr, IpAddr) = (v4("8.8.8.8").into(), v4("10.0.0.1").into());
    let rule = AddressRule::default();
    assert_eq!(rule.check("a.example", &[good, good, good]), Ok(()));
    for addresses in [[bad, good, good], [good, bad, good], [good, good, bad]] {
        assert_eq!(rule.check("a.example", &addresses).unwrap_err().address(), Some(bad));
    }
}

#[test]
fn no_address_at_all_is_a_refusal_even_for_a_listed_host() {
    for rule in [AddressRule::default(), AddressRule::new(vec![], vec!["a.example".into()])] {
        let refusal = rule.check("a.example", &[]).unwrap_err();
        assert_eq!(refusal.to_string(), "host a.example has no address");
        assert_eq!((refusal.host(), refusal.address(), refusal.range()), ("a.example", None, None));
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
         only an entry of delivery.allow_networks within 127.0.0.0/8 allows it, a wider one does not"
    );
    assert_eq!(
        sentence("a.example", "::ffff:169.254.169.254"),
        "address ::ffff:169.254.169.254 of host a.example leads to 169.254.169.254, which is in the \
         cloud metadata and link-local network 169.254.0.0/16, which is not allowed; \
         only an entry of delivery.allow_networks within 169.254.0.0/16 allows it, a wider one does not"
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
        let refusal = AddressRule::default().check("a.example", &[address]).unwrap_err();
        assert_eq!(refusal.host(), "a.example");
        assert_eq!(refusal.address(), Some(address));
        assert_eq!(refusal.range().as_deref(), Some(range));
    }
}
