//! What holds for any text at all.

use super::*;
use proptest::prelude::*;

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
        let expected = AddressRule::default().check("", &[address.into()]).is_ok();
        for host in spellings(address) {
            let compatible = host.starts_with("[::") && !host.to_lowercase().starts_with("[::ffff:");
            prop_assert_eq!(parse(&format!("https://{host}/")).is_ok(), expected && !compatible, "{}", host);
        }
    }

    #[test]
    fn a_literal_v6_is_judged_as_the_rule_judges_it(bits: u128) {
        let address = Ipv6Addr::from_bits(bits);
        let expected = AddressRule::default().check("", &[address.into()]).is_ok();
        prop_assert_eq!(parse(&format!("https://[{address}]/")).is_ok(), expected);
    }
}
