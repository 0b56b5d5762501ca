//! Which JSON numbers are integers. Pure; any thread.

use std::borrow::Cow;

/// More digits than any double has before its point.
const MAX_DIGITS: usize = 320;

/// The digits of a JSON number without a fraction, as JSON Schema has it: `485.0`, `4.85e2` and `485` are the same.
/// None: it has a fraction.
#[must_use]
pub fn integer(number: &str) -> Option<Cow<'_, str>> {
    let magnitude = number.strip_prefix('-').unwrap_or(number);
    if number != "-0" && magnitude.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(number.into());
    }
    let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some("0".into());
    }
    // How many digits stand before the point.
    let length = usize::try_from(i64::try_from(whole.len()).ok()?.checked_add(exponent.parse::<i64>().ok()?)?).ok()?;
    if !(significant.len()..=MAX_DIGITS).contains(&length) {
        return None;
    }
    let digits = format!("{significant:0<length$}");
    let sign = if number.starts_with('-') { "-" } else { "" };
    Some(format!("{sign}{}", digits.trim_start_matches('0')).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_fraction_is_an_integer_however_it_is_written() {
        for (number, digits) in [
            ("485", "485"),
            ("-1", "-1"),
            ("0", "0"),
            ("-0", "0"),
            ("-0.0e-5", "0"),
            ("485.0", "485"),
            ("485.0000000000000000", "485"),
            ("4.85e2", "485"),
            ("4850e-1", "485"),
            ("1E3", "1000"),
            ("0.001e+3", "1"),
            ("-1.20e1", "-12"),
            ("18446744073709551616", "18446744073709551616"),
            ("123456789012345678901234567890.00", "123456789012345678901234567890"),
            ("1e300", &format!("1{}", "0".repeat(300))),
        ] {
            assert_eq!(integer(number).as_deref(), Some(digits), "{number}");
        }
    }

    #[test]
    fn a_number_with_a_fraction_is_none() {
        for number in ["1.5", "485.00000000000000001", "1e-1", "12345e-1", "0.1e0", "1e-99999999999999999999", "1e9999"]
        {
            assert_eq!(integer(number), None, "{number}");
        }
    }
}
