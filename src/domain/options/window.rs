//! The option `delivery_window`: at which local times attempts may start. Pure but for the zone database; any thread.
//!
//! The local wall clock decides, so daylight saving is kept right: in a skipped hour nothing is open, and a repeated hour
//! is open twice.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Instant, ToSpan as _};
use serde_json::{Value, json};

use crate::domain::field_error::nearest;
use crate::domain::{FieldError, Timestamp};

/// Local times of the days on which it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    days: [bool; 7],
    from: Time,
    to: Time,
    /// The name of the zone, as the database spells it.
    zone: String,
    /// None: the name was known when it was stored, and no database has it any more.
    rules: Option<TimeZone>,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const FIELDS: [&str; 4] = ["days", "from", "to", "time_zone"];
/// What stands in the database and is no place.
const NO_ZONES: [&str; 3] = ["localtime", "posixrules", "factory"];
/// Closed for so long at most before it is looked at again, whatever happens to clocks meanwhile.
const LOOKED_AT_AGAIN: Duration = Duration::from_mins(1);

impl Window {
    /// Reads the option.
    pub fn read(value: &Value) -> Result<Self, Vec<FieldError>> {
        let Some(given) = value.as_object() else {
            let message = "must be an object such as {\"days\": [\"mon\", \"tue\"], \"from\": \"06:00\", \"to\": \
                           \"20:00\", \"time_zone\": \"Europe/London\"}, or null for always";
            return Err(vec![FieldError::new("delivery_window", message)]);
        };
        let mut errors = Vec::new();
        let mut wrong =
            |field: &str, message: String| errors.push(FieldError::new(format!("delivery_window.{field}"), message));
        for name in given.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            wrong(name, FieldError::unknown(name, &FIELDS).message);
        }
        let days = read_days(&given.get("days").cloned().unwrap_or_default());
        let days = days.map_err(|message| wrong("days", message)).ok();
        let mut time = |field: &str| {
            let time = given.get(field).and_then(Value::as_str).and_then(read_time);
            if time.is_none() {
                wrong(field, "must be a time of day from \"00:00\" to \"23:59\"".to_owned());
            }
            time
        };
        let (from, to) = (time("from"), time("to"));
        if from.is_some() && from == to {
            wrong("to", "must differ from \"from\": a window of zero length never opens; for all day, omit delivery_window or set it to null".to_owned());
        }
        let zone = given.get("time_zone").and_then(Value::as_str);
        let found =
            zone.map_or_else(|| Err("must be the name of a time zone such as \"Europe/London\"".to_owned()), find);
        let found = found.map_err(|message| wrong("time_zone", message)).ok();
        match (days, from, to, found) {
            (Some(days), Some(from), Some(to), Some((zone, rules))) if errors.is_empty() => {
                Ok(Self { days, from, to, zone, rules: Some(rules) })
            }
            _ => Err(errors),
        }
    }

    /// Reads what was stored. A zone that is not known any more does not make the rest unreadable.
    #[must_use]
    pub fn from_stored(value: &Value) -> Option<Self> {
        if let Ok(window) = Self::read(value) {
            return Some(window);
        }
        let zone = value["time_zone"].as_str()?.to_owned();
        let (from, to) = (read_time(value["from"].as_str()?)?, read_time(value["to"].as_str()?)?);
        Some(Self { days: read_days(&value["days"]).ok()?, from, to, zone, rules: None })
    }

    /// The option as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let days: Vec<_> =
            DAYS.into_iter().zip(self.days).filter(|(_, is_open)| *is_open).map(|(day, _)| day).collect();
        let time = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        json!({"days": days, "from": time(self.from), "to": time(self.to), "time_zone": self.zone})
    }

    /// The name of its zone, if no database knows it any more; then it never opens.
    #[must_use]
    pub fn lost_zone(&self) -> Option<&str> {
        self.rules.is_none().then_some(self.zone.as_str())
    }

    /// How long it stays closed, up to when it is to be asked again; none if it is open. `now` is the wall clock.
    #[must_use]
    pub fn closed_for(&self, now: Timestamp) -> Option<Duration> {
        let Some(rules) = &self.rules else { return Some(LOOKED_AT_AGAIN) };
        let instant = Instant::from_millisecond(i64::try_from(now.as_ms()).unwrap_or(i64::MAX)).ok()?;
        if self.is_open_at(rules, instant) {
            return None;
        }
        let opens_in =
            self.next_opening(rules, instant).map(|opening| opening.as_millisecond() - instant.as_millisecond());
        let opens_in = opens_in.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        Some(opens_in.unwrap_or(LOOKED_AT_AGAIN).clamp(Duration::from_millis(1), LOOKED_AT_AGAIN))
    }

    fn is_open_at(&self, rules: &TimeZone, instant: Instant) -> bool {
        let local = rules.to_datetime(instant);
        let (date, time) = (local.date(), local.time());
        let opens_on = |date: Date| self.days.get(index(date.weekday())).copied().unwrap_or(false);
        if self.from < self.to {
            return opens_on(date) && self.from <= time && time < self.to;
        }
        let opened_the_day_before = || date.yesterday().is_ok_and(opens_on);
        (opens_on(date) && time >= self.from) || (time < self.to && opened_the_day_before())
    }

    /// The first later instant at which it is open.
    fn next_opening(&self, rules: &TimeZone, now: Instant) -> Option<Instant> {
        let today = rules.to_datetime(now).date();
        let mut candidates: Vec<Instant> = Vec::new();
        for day in -1..=8 {
            let Ok(date) = today.checked_add(day.days()) else { continue };
            for time in [self.from, self.to, Time::midnight()] {
                let readings = rules.to_ambiguous_timestamp(date.to_datetime(time));
                candidates.extend(readings.earlier());
                candidates.extend(readings.later());
            }
        }
        let horizon = now.checked_add((8 * 24).hours()).ok()?;
        let changes = rules.following(now).map(|change| change.timestamp()).take_while(|change| *change <= horizon);
        candidates.extend(changes.take(candidates.len()));
        candidates.retain(|candidate| *candidate > now && self.is_open_at(rules, *candidate));
        candidates.into_iter().min()
    }
}

fn index(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or_default()
}

fn read_days(value: &Value) -> Result<[bool; 7], String> {
    let wanted = || format!("must be an array of days such as [\"mon\", \"fri\"], of {}", DAYS.join(", "));
    let given = value.as_array().filter(|given| !given.is_empty()).ok_or_else(wanted)?;
    let mut days = [false; 7];
    for day in given {
        let place = DAYS.iter().position(|known| day.as_str() == Some(known)).ok_or_else(wanted)?;
        if days.get_mut(place).is_none_or(|is_open| std::mem::replace(is_open, true)) {
            return Err(format!("has {} twice", DAYS.get(place).copied().unwrap_or_default()));
        }
    }
    Ok(days)
}

fn read_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    Time::new(two_digits(hour)?, two_digits(minute)?, 0, 0).ok()
}

/// The zone of that name in the system's database, or else in the one that is compiled in; the error has the nearest name.
fn find(name: &str) -> Result<(String, TimeZone), String> {
    let is_zone = !NO_ZONES.contains(&name.to_ascii_lowercase().as_str());
    let databases = || [jiff::tz::db(), bundled()];
    let found = databases().into_iter().find_map(|database| database.get(name).ok()).filter(|_| is_zone);
    if let Some(zone) = found {
        let spelled = zone.iana_name().unwrap_or(name).to_owned();
        return Ok((spelled, zone));
    }
    let names: Vec<String> = bundled().available().map(|name| name.as_str().to_owned()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut message = "is not a known time zone".to_owned();
    if let Some(near) = near_place(name, &names) {
        // Writing to a string cannot fail.
        let _ = write!(message, "; did you mean \"{near}\"?");
    } else {
        message.push_str("; write a name such as \"Europe/London\"");
    }
    Err(message)
}

/// The nearest name: of all, or of places alone for one who leaves the continent out.
fn near_place<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let place = |name: &'a str| name.rsplit('/').next().unwrap_or(name);
    let lower = name.to_lowercase().replace(' ', "_");
    let exact = names.iter().find(|known| place(known).to_lowercase() == lower);
    exact.copied().or_else(|| nearest(&lower, names))
}

fn bundled() -> &'static TimeZoneDatabase {
    static BUNDLED: std::sync::LazyLock<TimeZoneDatabase> = std::sync::LazyLock::new(TimeZoneDatabase::bundled);
    &BUNDLED
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn window(days: &[&str], from: &str, to: &str, zone: &str) -> Window {
        Window::read(&json!({"days": days, "from": from, "to": to, "time_zone": zone})).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    /// How many minutes of the day after that instant it is open.
    fn open_minutes(window: &Window, from: &str, hours: u64) -> usize {
        let start = at(from).as_ms();
        let minutes = (0..hours * 60).map(|minute| Timestamp::from_ms(start + minute * MINUTE_MS));
        minutes.filter(|minute| window.closed_for(*minute).is_none()).count()
    }

    #[test]
    fn it_follows_the_local_wall_clock_through_both_changes() {
        for (zone, spring, autumn) in [
            ("Europe/London", "2027-03-28T00:00:00Z", "2027-10-31T00:00:00+01:00"),
            ("Europe/Dublin", "2027-03-28T00:00:00Z", "2027-10-31T00:00:00+01:00"),
            ("Europe/Warsaw", "2027-03-28T00:00:00+01:00", "2027-10-31T00:00:00+02:00"),
        ] {
            let work = window(&DAYS, "06:00", "20:00", zone);
            assert_eq!((open_minutes(&work, spring, 23), open_minutes(&work, autumn, 25)), (840, 840), "{zone}");
            // An hour less in the night of spring, one more in autumn.
            let night = window(&DAYS, "22:00", "06:00", zone);
            assert_eq!((open_minutes(&night, spring, 23), open_minutes(&night, autumn, 25)), (420, 540), "{zone}");
        }
        let skipped = window(&DAYS, "01:15", "01:45", "Europe/London");
        assert_eq!(open_minutes(&skipped, "2027-03-28T00:00:00Z", 23), 0);
        let repeated = window(&DAYS, "01:30", "02:30", "Europe/London");
        assert_eq!(open_minutes(&repeated, "2027-10-31T00:00:00+01:00", 25), 90);
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let friday = window(&["fri"], "22:00", "06:00", "Europe/London");
        for (text, is_open) in [
            ("2026-12-04T21:59:59Z", false),
            ("2026-12-04T22:00:00Z", true),
            ("2026-12-05T05:59:59Z", true),
            ("2026-12-05T06:00:00Z", false),
            ("2026-12-05T22:00:00Z", false),
            ("2026-12-04T05:00:00Z", false),
        ] {
            assert_eq!(friday.closed_for(at(text)).is_none(), is_open, "{text}");
        }
    }

    #[test]
    fn the_next_opening_is_found_through_every_change() {
        for zone in ["Europe/London", "Europe/Warsaw", "Australia/Lord_Howe", "Africa/Cairo"] {
            for (from, to) in [("06:00", "20:00"), ("22:00", "06:00"), ("01:30", "02:30"), ("00:00", "00:01")] {
                let window = window(&["sun", "wed"], from, to, zone);
                let rules = window.rules.clone().unwrap();
                for day in ["2027-03-26", "2027-10-29"] {
                    let start = at(&format!("{day}T00:00:00Z")).as_ms();
                    // Asked from each half day, and compared with every minute after it.
                    for half_day in 0..6 {
                        let now = Timestamp::from_ms(start + half_day * 12 * 60 * MINUTE_MS);
                        let now = Instant::from_millisecond(i64::try_from(now.as_ms()).unwrap()).unwrap();
                        if window.is_open_at(&rules, now) {
                            continue;
                        }
                        let later = (1..=8 * 24 * 60).map(|minute: i64| now + minute.minutes());
                        let next = later.into_iter().find(|minute| window.is_open_at(&rules, *minute));
                        assert_eq!(window.next_opening(&rules, now), next, "{zone} {from} {to} {now}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_the_nearest_zone() {
        let wrong = |value: Value| Window::read(&value).unwrap_err();
        let zone = |zone: &str| wrong(json!({"days": ["mon"], "from": "06:00", "to": "20:00", "time_zone": zone}));
        for (name, near) in
            [("Europe/Londn", "Europe/London"), ("london", "Europe/London"), ("Warsaw", "Europe/Warsaw")]
        {
            let errors = zone(name);
            assert!(errors[0].message.contains(&format!("did you mean \"{near}\"")), "{errors:?}");
        }
        for name in ["localtime", "posixrules", "Factory", "", "GMT+2", "../etc/passwd", "Atlantis/Deep"] {
            assert_eq!(zone(name)[0].field, "delivery_window.time_zone", "{name}");
        }
        let fields: Vec<_> =
            wrong(json!({"days": [], "from": "24:00", "to": "8:00", "zone": 1})).into_iter().map(|e| e.field).collect();
        assert_eq!(fields.len(), 5, "{fields:?}");
        assert!(
            wrong(json!({"days": ["mon"], "from": "06:00", "to": "06:00", "time_zone": "UTC"}))[0]
                .message
                .contains("zero length")
        );
    }

    #[test]
    fn a_zone_that_no_database_has_any_more_keeps_the_rest_readable() {
        let stored = json!({"days": ["mon"], "from": "06:00", "to": "20:00", "time_zone": "Europe/Atlantis"});
        let window = Window::from_stored(&stored).unwrap();
        assert_eq!((window.to_json(), window.lost_zone()), (stored, Some("Europe/Atlantis")));
        assert_eq!(window.closed_for(at("2026-12-07T12:00:00Z")), Some(LOOKED_AT_AGAIN));
        // Debian has this name in a package that is not always installed; the compiled-in database has it too.
        assert!(super::find("Asia/Calcutta").is_ok());
    }
}
