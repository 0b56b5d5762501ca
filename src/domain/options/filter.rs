//! The option `filter`: which events a subscription gets, by what is in their `data`. Pure; any thread. Every line has to
//! fit. A publish is judged by the data as it was parsed for the check.

use serde_json::{Map, Value};

use crate::domain::FieldError;
use crate::domain::escape::{REPEATED_CHARS, shortened};
use crate::domain::event;
use crate::domain::event::parsed_data::ParsedData;

/// Lines that all have to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// Where the value is: the names of objects, one inside the other, with dots between.
    path: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// It is one of these.
    Equals(Vec<Value>),
    /// It is none of these, or missing.
    Not(Vec<Value>),
    /// It is a text that begins so.
    Prefix(String),
    /// It is there, or it is missing.
    Exists(bool),
}

/// The most lines.
const LINES_MAX: usize = 10;
/// The most values of a line.
const VALUES_MAX: usize = 100;
/// The most characters of a path, of a prefix and of a value.
const CHARS_MAX: usize = 255;
const TESTS: [&str; 3] = ["not", "prefix", "exists"];
/// How others name regular expressions.
const PATTERNS: [&str; 6] = ["regex", "regexp", "pattern", "match", "matches", "like"];

impl Filter {
    /// Reads the option; none if it has no line.
    pub fn read(value: &Value) -> Result<Option<Self>, Vec<FieldError>> {
        let Some(given) = value.as_object() else {
            let message = "must be an object of lines such as {\"location_id\": [3, 4]}, or null for all events";
            return Err(vec![FieldError::new("filter", message)]);
        };
        if given.len() > LINES_MAX {
            let message = format!("may have at most {LINES_MAX} lines; {} were given", given.len());
            return Err(vec![FieldError::new("filter", message)]);
        }
        let (mut lines, mut errors) = (Vec::with_capacity(given.len()), Vec::new());
        for (path, value) in given {
            match read_path(path).and_then(|()| read_test(value)) {
                Ok(test) => lines.push(Line { path: path.clone(), test }),
                Err(message) => {
                    errors.push(FieldError::new(format!("filter.{}", shortened(path, REPEATED_CHARS)), message));
                }
            }
        }
        if errors.is_empty() { Ok((!lines.is_empty()).then_some(Self { lines })) } else { Err(errors) }
    }

    /// The option as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.lines.iter().map(|line| (line.path.clone(), line.test.to_json())).collect::<Map<_, _>>().into()
    }

    /// Whether every line fits the fields of an event's data.
    #[must_use]
    pub fn fits<'v>(&self, field: impl Fn(&str) -> Option<&'v Value>) -> bool {
        self.lines.iter().all(|line| line.test.fits(line.find(&field)))
    }

    /// The same, for the body of a stored event. One that cannot be read fits, so that nothing is lost.
    #[must_use]
    pub fn fits_body(&self, body: &[u8]) -> bool {
        let data = event::data_of(body).and_then(ParsedData::read);
        data.is_none_or(|data| self.fits(|name| data.get(name)))
    }

    /// For each line a sentence about the data, and whether it fits.
    #[must_use]
    pub fn explain<'v>(&self, field: impl Fn(&str) -> Option<&'v Value>) -> Vec<(bool, String)> {
        self.lines.iter().map(|line| line.explain(line.find(&field))).collect()
    }
}

impl Line {
    /// What the data holds at the path.
    fn find<'v>(&self, field: impl Fn(&str) -> Option<&'v Value>) -> Option<&'v Value> {
        let mut names = self.path.split('.');
        let first = field(names.next()?)?;
        names.try_fold(first, |object, name| object.as_object()?.get(name))
    }

    fn explain(&self, found: Option<&Value>) -> (bool, String) {
        let fits = self.test.fits(found);
        let is = match found {
            None => "is missing".to_owned(),
            Some(value) => format!("is {}", shortened(&value.to_string(), REPEATED_CHARS)),
        };
        let wanted = match &self.test {
            Test::Equals(values) => format!("expected {}", joined(values)),
            Test::Not(values) => format!("expected anything but {}", joined(values)),
            Test::Prefix(prefix) => format!("expected a string that begins with {}", Value::from(prefix.as_str())),
            Test::Exists(true) => "expected to be present".to_owned(),
            Test::Exists(false) => "expected to be missing".to_owned(),
        };
        let verdict = if fits { "matches" } else { "does not match" };
        (fits, format!("{} {is}, {wanted}: {verdict}", self.path))
    }
}

fn joined(values: &[Value]) -> String {
    let all = values.iter().map(Value::to_string).collect::<Vec<_>>().join(" or ");
    shortened(&all, 4 * REPEATED_CHARS).into_owned()
}

impl Test {
    fn fits(&self, found: Option<&Value>) -> bool {
        match self {
            Self::Equals(wanted) => found.is_some_and(|value| wanted.iter().any(|one| is_same(one, value))),
            Self::Not(unwanted) => found.is_none_or(|value| !unwanted.iter().any(|one| is_same(one, value))),
            Self::Prefix(prefix) => found.and_then(Value::as_str).is_some_and(|text| text.starts_with(prefix)),
            Self::Exists(wanted) => found.is_some() == *wanted,
        }
    }

    fn to_json(&self) -> Value {
        let list = |values: &[Value]| match values {
            [one] => one.clone(),
            several => several.into(),
        };
        let object = |name: &str, value: Value| Value::from(Map::from_iter([(name.to_owned(), value)]));
        match self {
            Self::Equals(values) => list(values),
            Self::Not(values) => object("not", list(values)),
            Self::Prefix(prefix) => object("prefix", prefix.as_str().into()),
            Self::Exists(wanted) => object("exists", (*wanted).into()),
        }
    }
}

/// Numbers are the same by value, and everything else as it is typed.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i128(), other.as_i128()) {
            (Some(one), Some(other)) => one == other,
            (None, None) => one.as_f64() == other.as_f64(),
            (Some(whole), None) => is_whole(other.as_f64(), whole),
            (None, Some(whole)) => is_whole(one.as_f64(), whole),
        },
        _ => one == other,
    }
}

/// Whether a number with a point is that whole one.
fn is_whole(number: Option<f64>, whole: i128) -> bool {
    // Beyond that not every whole number is a double, so what a text with a point meant is not known.
    const EXACT: i128 = 1 << 53;
    let as_double = i32::try_from(whole)
        .map(f64::from)
        .ok()
        .or_else(|| (whole.abs() <= EXACT).then(|| whole.to_string().parse().ok()).flatten());
    as_double.is_some() && as_double == number
}

fn read_path(path: &str) -> Result<(), String> {
    let is_path = path.chars().count() <= CHARS_MAX && path.split('.').all(|name| !name.is_empty());
    if is_path {
        Ok(())
    } else {
        Err(format!("must be the name of a field in data of up to {CHARS_MAX} characters, with dots between objects"))
    }
}

fn read_test(value: &Value) -> Result<Test, String> {
    let Some(given) = value.as_object() else { return read_values(value).map(Test::Equals) };
    let known = || format!("known are: {}", TESTS.join(", "));
    let mut all = given.iter();
    let (Some((name, value)), None) = (all.next(), all.next()) else {
        return Err(format!("must have exactly one condition; {}", known()));
    };
    match name.as_str() {
        "not" => read_values(value).map(Test::Not),
        "prefix" => {
            let text = value.as_str().filter(|text| !text.is_empty() && text.chars().count() <= CHARS_MAX);
            let text = text.ok_or_else(|| format!("the prefix must be 1 to {CHARS_MAX} characters"))?;
            Ok(Test::Prefix(text.to_owned()))
        }
        "exists" => value.as_bool().map(Test::Exists).ok_or_else(|| "exists must be true or false".to_owned()),
        other if PATTERNS.contains(&other) => {
            Err(format!("regular expressions are not supported ({other}); {}", known()))
        }
        other => Err(format!("unknown condition {}; {}", shortened(other, REPEATED_CHARS), known())),
    }
}

fn read_values(value: &Value) -> Result<Vec<Value>, String> {
    let values = match value {
        Value::Array(values) => values.clone(),
        one => vec![one.clone()],
    };
    let is_plain = |value: &Value| match value {
        Value::Array(_) | Value::Object(_) => false,
        Value::String(text) => text.chars().count() <= CHARS_MAX,
        _ => true,
    };
    if values.is_empty() || values.len() > VALUES_MAX || !values.iter().all(is_plain) {
        return Err(format!(
            "must be 1 to {VALUES_MAX} strings of up to {CHARS_MAX} characters, numbers, true, false or null"
        ));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::event::event_type::EventType;
    use crate::domain::{EventId, Timestamp};

    fn filter(value: &Value) -> Filter {
        Filter::read(value).unwrap().unwrap()
    }

    #[test]
    fn every_kind_of_line_fits_what_it_says() {
        let data = json!({
            "location_id": 3, "department": "warehouse", "site": {"name": "North", "id": "7"}, "note": null, "big": 9_007_199_254_740_993_u64,
        });
        for (line, fits) in [
            (json!({"location_id": 3}), true),
            (json!({"location_id": [4, 3.0]}), true),
            (json!({"location_id": "3"}), false),
            (json!({"location_id": [4, 5]}), false),
            (json!({"big": 9_007_199_254_740_993_u64}), true),
            (json!({"big": 9_007_199_254_740_992.0}), false),
            (json!({"department": {"not": ["office"]}}), true),
            (json!({"department": {"not": "warehouse"}}), false),
            (json!({"nothing": {"not": 1}}), true),
            (json!({"nothing": 1}), false),
            (json!({"site.name": {"prefix": "N"}}), true),
            (json!({"site.name": {"prefix": "n"}}), false),
            (json!({"location_id": {"prefix": "3"}}), false),
            (json!({"site.id": "7"}), true),
            (json!({"site.id": 7}), false),
            (json!({"site": "North"}), false),
            (json!({"site.name.first": {"exists": false}}), true),
            (json!({"note": {"exists": true}}), true),
            (json!({"note": null}), true),
            (json!({"nothing": {"exists": false}}), true),
            (json!({"location_id": 3, "department": "office"}), false),
        ] {
            let filter = filter(&line);
            assert_eq!(filter.fits(|name| data.get(name)), fits, "{line}");
            let body = event::body(EventId(1), EventType::ClockIn, Timestamp::from_ms(0), &data.to_string());
            assert_eq!(filter.fits_body(&body), fits, "{line}");
            assert_eq!(filter.explain(|name| data.get(name)).iter().all(|(fits, _)| *fits), fits, "{line}");
            assert_eq!(Filter::read(&filter.to_json()).unwrap().unwrap(), filter);
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_line() {
        let many: Value = (0..11).map(|n| (n.to_string(), json!(1))).collect::<Map<_, _>>().into();
        for (wrong, field, words) in [
            (json!([]), "filter", "must be an object"),
            (many, "filter", "at most 10 lines"),
            (json!({"a": {"regex": "x.*"}}), "filter.a", "regular expressions are not supported"),
            (json!({"a": {"gt": 5}}), "filter.a", "not, prefix, exists"),
            (json!({"a": {}}), "filter.a", "exactly one"),
            (json!({"a": {"not": 1, "exists": true}}), "filter.a", "exactly one"),
            (json!({"a": []}), "filter.a", "1 to 100"),
            (json!({"a": [{}]}), "filter.a", "1 to 100"),
            (json!({"a": {"prefix": ""}}), "filter.a", "prefix"),
            (json!({"a": {"exists": "yes"}}), "filter.a", "true or false"),
            (json!({"a..b": 1}), "filter.a..b", "dots"),
        ] {
            let errors = Filter::read(&wrong).unwrap_err();
            assert_eq!(errors[0].field, field);
            assert!(errors[0].message.contains(words), "{wrong}: {}", errors[0].message);
        }
        assert_eq!(Filter::read(&json!({})).unwrap(), None);
        assert!(filter(&json!({"a": 1})).fits_body(b"damaged"));
    }

    #[test]
    fn a_missing_field_is_said_to_be_missing() {
        let data = json!({"site": 1});
        let (fits, sentence) = filter(&json!({"site.name": "N"})).explain(|name| data.get(name)).remove(0);
        assert!(!fits);
        assert_eq!(sentence, r#"site.name is missing, expected "N": does not match"#);
    }
}
