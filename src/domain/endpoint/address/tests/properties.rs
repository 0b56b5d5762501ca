//! What holds for any address at all.

use crate::domain::endpoint::address::tests::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_v4_address_is_judged_by_the_registry_and_mapped_alike(bits: u32) {
        let address = Ipv4Addr::from_bits(bits);
        let (none, wide) = (AddressRule::default(), rule(&["0.0.0.0/0"]));
        prop_assert_eq!(check(&none, address).is_ok(), !is_special(address.into()));
        prop_assert_eq!(check(&wide, address).is_ok(), !is_guarded(address.into()));
        for rule in [none, wide, rule(&["::/0"]), rule(&["127.0.0.0/8", "10.0.0.0/8"])] {
            prop_assert_eq!(check(&rule, address).is_ok(), check(&rule, address.to_ipv6_mapped()).is_ok());
        }
    }

    #[test]
    fn any_form_of_a_refused_v4_address_is_refused(bits: u32) {
        let inside = Ipv4Addr::from_bits(bits);
        for rule in [AddressRule::default(), rule(&["10.0.0.0/8"]), rule(&["::/0"])] {
            if check(&rule, inside).is_err() {
                // No gateway has a host in 0.0.0.0/8 to lead to.
                let forms = FORMS.iter().filter(|(form, _)| bits >> 24 != 0 || !form.starts_with("local"));
                for (form, written) in forms {
                    prop_assert!(check(&rule, written(inside)).is_err(), "{} {}", form, inside);
                }
            }
        }
    }

    #[test]
    fn no_v6_address_outside_of_global_unicast_is_allowed(bits: u128) {
        let address = Ipv6Addr::from_bits(bits);
        let verdict = check(&AddressRule::default(), address);
        if bits >> 125 != 1 {
            prop_assert!(verdict.is_err());
        } else if verdict.is_err() {
            prop_assert!(is_special(address.into()) || !carried(address).is_empty());
        }
        let _ = check(&rule(&["::/0", "0.0.0.0/0"]), address);
    }

    #[test]
    fn any_host_text_is_judged_without_a_panic(host in ".*", bits: u32) {
        let _ = AddressRule::new(vec![], vec![host.clone()]).check(&host, &[Ipv4Addr::from_bits(bits).into()]);
    }
}
