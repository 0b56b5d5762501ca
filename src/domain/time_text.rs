//! Reads RFC 3339 and says what is wrong with any other text. Pure; any thread. Nothing looser is read, because
//! receivers have to parse what publishers send.

use jiff::civil::Date;
use jiff::tz::Offset;

/// A time for messages. Its offset is not `Z`, so that nobody writes a `Z` behind a local time.
pub const EXAMPLE: &str = "2026-03-02T08:58:00+01:00";

const NO_SECONDS: &str =
    "no seconds (toString() of Java leaves out :00; DateTimeFormatter.ISO_OFFSET_DATE_TIME does not)";
const NO_OFFSET: &str = "no offset from UTC";

/// Milliseconds since 1970, or what is wrong, as in "it has no seconds".
pub fn read_ms(text: &str) -> Result<u64, String> {
    let mut faults = Vec::new();
    match Parts::read(text, &mut faults) {
        Some(parts) if faults.is_empty() => parts.as_ms().map_err(|fault| format!("it is out of range: {fault}")),
        Some(_) => Err(format!("it has {}", list(&faults))),
        None => Err(of_other_form(text).to_owned()),
    }
}

/// `YYYY-MM-DD`, a day that exists.
#[must_use]
pub fn is_date(text: &str) -> bool {
    let mut rest = text;
    date(&mut rest).is_some_and(|(year, month, day)| rest.is_empty() && Date::new(year, month, day).is_ok())
}

fn list(parts: &[&str]) -> String {
    match parts {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        parts => parts.join(", "),
    }
}

fn of_other_form(text: &str) -> &'static str {
    let is_of_digits = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    match text {
        "" => "it is empty",
        text if text.trim() != text => "it begins or ends with a space",
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            "it is a number, such as seconds or milliseconds since 1970"
        }
        text if text.len() > 10 && text.bytes().all(is_of_digits) => "it is a number",
        _ => "it has another format",
    }
}

/// The fields of a time as written.
struct Parts {
    date: (i16, i8, i8),
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    offset: WrittenOffset,
}

struct WrittenOffset {
    sign: i32,
    hour: i8,
    minute: i8,
}

impl Parts {
    /// Reads RFC 3339 and its usual misspellings, which become `faults`. None: it has another format.
    fn read(text: &str, faults: &mut Vec<&'static str>) -> Option<Self> {
        let mut rest = text;
        let date = date(&mut rest)?;
        let mut parts = Self { date, hour: 0, minute: 0, second: 0, nanosecond: 0, offset: WrittenOffset::UTC };
        if rest.is_empty() {
            faults.extend(["no time of day", NO_OFFSET]);
            return Some(parts);
        }
        if take(&mut rest, ' ').is_some() {
            faults.push("a space instead of the T");
        } else {
            take(&mut rest, 'T').or_else(|| take(&mut rest, 't'))?;
        }
        parts.hour = number(&mut rest, 2)?;
        take(&mut rest, ':')?;
        parts.minute = number(&mut rest, 2)?;
        if take(&mut rest, ':').is_some() {
            parts.second = number(&mut rest, 2)?;
        } else {
            faults.push(NO_SECONDS);
        }
        if rest.starts_with(',') {
            faults.push("a comma instead of the decimal point");
        }
        if take(&mut rest, '.').or_else(|| take(&mut rest, ',')).is_some() {
            parts.nanosecond = fraction(&mut rest)?;
        }
        parts.offset = WrittenOffset::read(rest, faults)?;
        Some(parts)
    }

    fn as_ms(&self) -> Result<u64, String> {
        let (year, month, day) = self.date;
        if !(1..=12).contains(&month) {
            return Err("the month must be 01 to 12".to_owned());
        }
        let date = Date::new(year, month, day).map_err(|_| format!("{year:04}-{month:02} has no day {day:02}"))?;
        if self.hour > 23 {
            return Err("the hour must be 00 to 23; midnight is 00:00 of the next day".to_owned());
        }
        if self.minute > 59 {
            return Err("the minute must be 00 to 59".to_owned());
        }
        let is_leap = self.second == 60;
        if self.second > 60 {
            return Err("the second must be 00 to 59".to_owned());
        }
        let offset = self.offset.exact().ok_or("the offset must be -23:59 to +23:59")?;
        // A leap second is the one before it, as on the clocks of most machines.
        let time = date.at(self.hour, self.minute, self.second.min(59), self.nanosecond);
        let instant = offset.to_timestamp(time).map_err(|_| format!("the year must be 1970 to 9999, not {year:04}"))?;
        if is_leap && !ends_a_month(instant) {
            return Err(
                "a leap second is 23:59:60 in UTC on the last day of a month; otherwise the second must be 00 to 59"
                    .to_owned(),
            );
        }
        u64::try_from(instant.as_millisecond()).map_err(|_| "it is before 1970".to_owned())
    }
}

impl WrittenOffset {
    const UTC: Self = Self { sign: 1, hour: 0, minute: 0 };

    /// The offset at the end. One that cannot be told is a fault, and any stands for it.
    fn read(text: &str, faults: &mut Vec<&'static str>) -> Option<Self> {
        let mut rest = text;
        if matches!(rest, "Z" | "z") {
            return Some(Self::UTC);
        }
        if rest.starts_with(' ') && !rest.trim_start().is_empty() {
            rest = rest.trim_start();
            if rest.as_bytes().first().is_some_and(u8::is_ascii_digit) {
                // What remains of a plus in a URL, where it means a space.
                faults.push("a space instead of the sign of its offset (write + as %2B in a URL)");
                return Some(Self::UTC);
            }
            faults.push("a space before its offset");
        }
        if let Some((before, _)) = rest.split_once('[').filter(|_| rest.ends_with(']')) {
            faults.push("the name of a time zone at its end");
            rest = before;
        }
        match rest {
            "" => {
                faults.push(NO_OFFSET);
                return Some(Self::UTC);
            }
            "UTC" | "GMT" | "utc" | "gmt" => {
                faults.push("the name UTC or GMT instead of Z");
                return Some(Self::UTC);
            }
            "Z" | "z" => return Some(Self::UTC),
            _ => {}
        }
        if take(&mut rest, '\u{2212}').is_some() {
            faults.push("a minus sign other than - before its offset");
            return Some(Self::UTC);
        }
        let sign = if take(&mut rest, '-').is_some() { -1 } else { take(&mut rest, '+').map(|()| 1)? };
        let hour = number(&mut rest, 2)?;
        if rest.is_empty() {
            faults.push("an offset without minutes (write +01:00)");
            return Some(Self::UTC);
        }
        if take(&mut rest, ':').is_none() {
            faults.push("an offset without a colon (write +01:00)");
        }
        let minute = number(&mut rest, 2)?;
        if take(&mut rest, ' ').is_some() && !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            faults.push("the name of a time zone at its end");
        } else if take(&mut rest, ':').is_some() && number::<i8>(&mut rest, 2).is_some() && rest.is_empty() {
            faults.push("seconds in its offset");
        } else if !rest.is_empty() {
            return None;
        }
        Some(Self { sign, hour, minute })
    }

    fn exact(&self) -> Option<Offset> {
        let seconds = (i32::from(self.hour) * 60 + i32::from(self.minute)) * 60;
        let is_valid = self.hour <= 23 && self.minute <= 59;
        Offset::from_seconds(self.sign * seconds).ok().filter(|_| is_valid)
    }
}

fn ends_a_month(instant: jiff::Timestamp) -> bool {
    let time = Offset::UTC.to_datetime(instant);
    (time.hour(), time.minute(), time.second()) == (23, 59, 59) && time.date().last_of_month() == time.date()
}

fn date(rest: &mut &str) -> Option<(i16, i8, i8)> {
    let year = number(rest, 4)?;
    take(rest, '-')?;
    let month = number(rest, 2)?;
    take(rest, '-')?;
    Some((year, month, number(rest, 2)?))
}

fn take(rest: &mut &str, character: char) -> Option<()> {
    *rest = rest.strip_prefix(character)?;
    Some(())
}

/// A number of exactly so many digits, which others may follow.
fn number<T: std::str::FromStr>(rest: &mut &str, digits: usize) -> Option<T> {
    let (number, after) = rest.split_at_checked(digits)?;
    *rest = after;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

/// Nanoseconds of any number of digits; what is smaller does not count.
fn fraction(rest: &mut &str) -> Option<i32> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, after) = rest.split_at_checked(digits).filter(|(fraction, _)| !fraction.is_empty())?;
    *rest = after;
    format!("{fraction:0<9}").get(..9)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rfc_3339_allows_is_read() {
        let at_8 = Ok(1_772_438_280_000);
        for text in [
            "2026-03-02T07:58:00Z",
            "2026-03-02t07:58:00z",
            "2026-03-02T07:58:00.000000000000Z",
            "2026-03-02T07:58:00-00:00",
            "2026-03-02T08:58:00+01:00",
            "2026-03-02T13:43:00+05:45",
            "2026-03-01T08:01:00-23:57",
        ] {
            assert_eq!(read_ms(text), at_8, "{text}");
        }
        assert_eq!(read_ms("2026-03-02T07:58:00.1239999999999Z"), Ok(1_772_438_280_123));
        assert_eq!(read_ms("1970-01-01T00:00:00Z"), Ok(0));
        let leap = read_ms("2016-12-31T23:59:59Z");
        assert_eq!(read_ms("2016-12-31T23:59:60Z"), leap);
        assert_eq!(read_ms("2016-12-31T18:59:60-05:00"), leap);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, fault) in [
            ("2026-03-02T07:58:00", "it has no offset from UTC"),
            ("2026-03-02T07:58Z", &format!("it has {NO_SECONDS}")),
            ("2026-03-02T07:58Z[UTC]", &format!("it has {NO_SECONDS} and the name of a time zone at its end")),
            ("2026-03-02 07:58:00Z", "it has a space instead of the T"),
            ("2026-03-02 07:58:00", "it has a space instead of the T and no offset from UTC"),
            ("2026-03-02 07:58", &format!("it has a space instead of the T, {NO_SECONDS} and no offset from UTC")),
            ("2026-03-02", "it has no time of day and no offset from UTC"),
            ("2026-03-02T07:58:00+0000", "it has an offset without a colon (write +01:00)"),
            ("2026-03-02T07:58:00+00", "it has an offset without minutes (write +01:00)"),
            ("2026-03-02T07:58:00+01:00:00", "it has seconds in its offset"),
            ("2026-03-02T08:58:00+01:00[Europe/Berlin]", "it has the name of a time zone at its end"),
            (
                "2026-03-02 07:58:00 +0000 UTC",
                "it has a space instead of the T, a space before its offset, an offset without a colon (write +01:00) \
                 and the name of a time zone at its end",
            ),
            (
                "2026-03-02 07:58:00 UTC",
                "it has a space instead of the T, a space before its offset and the name UTC or GMT instead of Z",
            ),
            ("2026-03-02T08:58:00 01:00", "it has a space instead of the sign of its offset (write + as %2B in a URL)"),
            ("2026-03-02T07:58:00,5Z", "it has a comma instead of the decimal point"),
            ("2026-03-02T06:58:00\u{2212}01:00", "it has a minus sign other than - before its offset"),
            ("1772438280000", "it is a number, such as seconds or milliseconds since 1970"),
            ("1772438280.25", "it is a number"),
            ("", "it is empty"),
            ("2026-03-02T07:58:00Z ", "it begins or ends with a space"),
            ("Mon, 02 Mar 2026 07:58:00 GMT", "it has another format"),
            ("03/02/2026 07:58AM", "it has another format"),
            ("2026-W10-1T07:58:00Z", "it has another format"),
            ("20260302T075800Z", "it has another format"),
            ("+2026-03-02T07:58:00Z", "it has another format"),
            ("2026-03-02T07:58:00.Z", "it has another format"),
            ("2026-03-02T07:5\u{e9}:00Z", "it has another format"),
            ("2026-13-02T07:58:00Z", "it is out of range: the month must be 01 to 12"),
            ("2026-02-30T07:58:00Z", "it is out of range: 2026-02 has no day 30"),
            (
                "2026-03-02T24:00:00Z",
                "it is out of range: the hour must be 00 to 23; midnight is 00:00 of the next day",
            ),
            ("2026-03-02T07:60:00Z", "it is out of range: the minute must be 00 to 59"),
            ("2026-03-02T07:58:61Z", "it is out of range: the second must be 00 to 59"),
            ("2026-03-02T08:58:00+24:00", "it is out of range: the offset must be -23:59 to +23:59"),
            ("2026-03-02T08:58:00-01:60", "it is out of range: the offset must be -23:59 to +23:59"),
            ("1969-12-31T23:59:59Z", "it is out of range: it is before 1970"),
            ("1970-01-01T00:30:00+01:00", "it is out of range: it is before 1970"),
            ("0001-01-01T00:00:00Z", "it is out of range: it is before 1970"),
            ("9999-12-31T23:59:59Z", "it is out of range: the year must be 1970 to 9999, not 9999"),
        ] {
            assert_eq!(read_ms(text), Err(fault.to_owned()), "{text}");
        }
        for text in ["2026-03-31T07:58:60Z", "2026-03-02T23:59:60Z", "2016-12-31T23:59:60-05:00"] {
            assert!(read_ms(text).unwrap_err().contains("a leap second is"), "{text}");
        }
    }

    #[test]
    fn a_date_is_a_day_that_exists() {
        assert!(is_date("2028-02-29"));
        for wrong in ["2026-02-29", "2026-2-9", "2026-W10-1", "20260228", "2026-03-02T00:00:00Z", "", "0000-00-00"] {
            assert!(!is_date(wrong), "{wrong}");
        }
    }
}
