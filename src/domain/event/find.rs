//! By which ids and tags events are found: those at the top level of `data`, compared as text, so that `52`, `52.0` and
//! `"52"` are one worker and `"0022"` and `22` are two. Pure; any thread.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::event::data_of;
use crate::domain::event::field::{self, ID_CHARS, Text};
use crate::domain::event::parsed_data::ParsedData;
use crate::domain::options::order::OrderKey;

/// Maximum number of tags of an event.
pub const TAGS: usize = 8;
/// Maximum length of a tag, in characters.
pub const TAG_CHARS: usize = 64;

/// What an event is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindKind {
    /// A clock entry.
    Entry,
    /// A document.
    Document,
    /// A shift.
    Shift,
    /// A worker.
    Worker,
    /// A tag that the publisher gave it.
    Tag,
    /// A location.
    Location,
}

impl FindKind {
    /// All of them; those that fewer events share come first.
    pub const ALL: [Self; 6] = [Self::Entry, Self::Document, Self::Shift, Self::Worker, Self::Tag, Self::Location];

    /// Its name as a parameter, which for ids is the name of the field of `data`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry_id",
            Self::Document => "document_id",
            Self::Shift => "shift_id",
            Self::Worker => "worker_id",
            Self::Tag => "tag",
            Self::Location => "location_id",
        }
    }

    /// Its number, as stored.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Worker => 0,
            Self::Entry => 1,
            Self::Shift => 2,
            Self::Document => 3,
            Self::Location => 4,
            Self::Tag => 5,
        }
    }
}

/// One id or tag of an event, or one that is looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FindKey {
    /// Of what.
    pub kind: FindKind,
    /// The id's text, or the tag.
    pub text: Box<str>,
}

impl FindKey {
    /// What a query looks for; the error says what is wanted.
    pub fn wanted(kind: FindKind, text: &str) -> Result<Self, String> {
        let most = if kind == FindKind::Tag { TAG_CHARS } else { ID_CHARS };
        if text.chars().count() > most {
            return Err(format!("must have at most {most} characters"));
        }
        let text = if kind == FindKind::Tag { text } else { without_zero_fraction(text) };
        Ok(Self { kind, text: text.into() })
    }
}

/// `52` of `52.0`, as an integer can be written in JSON.
fn without_zero_fraction(text: &str) -> &str {
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, zeros))
            if is_number(whole.strip_prefix('-').unwrap_or(whole))
                && !zeros.is_empty()
                && zeros.bytes().all(|byte| byte == b'0') =>
        {
            whole
        }
        _ => text,
    }
}

/// Everything by which the event with this body and these tags is found, each once.
#[must_use]
pub fn keys(body: &[u8], tags: &[Box<str>]) -> Vec<FindKey> {
    let ids = data_of(body).and_then(|data| serde_json::from_str::<Ids>(data).ok());
    let mut keys = ids.map(|Ids(keys)| keys).unwrap_or_default();
    keys.extend(tags.iter().map(|tag| FindKey { kind: FindKind::Tag, text: tag.clone() }));
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The order key of the worker that `data` is about, if it names one at its top level.
#[must_use]
pub fn worker_key(data: &ParsedData<'_>) -> Option<OrderKey> {
    let id = field::id(data.raw(FindKind::Worker.name())?).ok()?;
    Some(OrderKey::of_worker(without_zero_fraction(&id)))
}

/// The same of an event that is stored, by its body.
#[must_use]
pub fn worker_key_of(body: &[u8]) -> Option<OrderKey> {
    worker_key(&ParsedData::read(data_of(body)?)?)
}

/// The ids at the top level of an object.
struct Ids(Vec<FindKey>);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdsVisitor;
        impl<'de> Visitor<'de> for IdsVisitor {
            type Value = Ids;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ids, A::Error> {
                let mut keys = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    match FindKind::ALL.into_iter().find(|kind| *kind != FindKind::Tag && kind.name() == name) {
                        Some(kind) => {
                            let raw: &RawValue = map.next_value()?;
                            // What is no id is found by nothing.
                            if let Ok(id) = field::id(raw.get()) {
                                keys.push(FindKey { kind, text: without_zero_fraction(&id).into() });
                            }
                        }
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Ids(keys))
            }
        }
        deserializer.deserialize_map(IdsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &str, tags: &[&str]) -> Vec<(FindKind, String)> {
        let tags: Vec<Box<str>> = tags.iter().map(|tag| (*tag).into()).collect();
        let body = format!(r#"{{"id":"evt_1","event":"clock_in","timestamp":"t","data":{data}}}"#);
        keys(body.as_bytes(), &tags).into_iter().map(|key| (key.kind, key.text.into())).collect()
    }

    #[test]
    fn an_event_is_found_by_the_ids_at_the_top_of_its_data_and_by_its_tags() {
        let data =
            r#"{"worker_id": 52, "entry_id": "a\u0062", "location_id": null, "shift_id": {"worker_id": 7}, "n": [1]}"#;
        let found = of(data, &["north", "night", "north"]);
        let wanted = [
            (FindKind::Entry, "ab".to_owned()),
            (FindKind::Worker, "52".to_owned()),
            (FindKind::Tag, "night".to_owned()),
            (FindKind::Tag, "north".to_owned()),
        ];
        assert_eq!(found, wanted);
        assert_eq!(of("[]", &[]), []);
        assert_eq!(keys(b"damaged", &[]), []);
    }

    #[test]
    fn the_order_key_of_a_worker_is_the_same_when_it_is_published_and_when_it_is_read_again() {
        for (worker, key) in [
            (r#""worker_id": 52"#, Some("52")),
            (r#""worker_id": "52", "x": {"worker_id": 7}"#, Some("52")),
            (r#""worker_id": 52.0"#, Some("52")),
            (r#""worker_id": 7, "worker_id": "0052""#, Some("0052")),
            (r#""worker_id": null"#, None),
            (r#""worker_id": 52, "worker_id": []"#, None),
            (r#""x": 1"#, None),
        ] {
            let data = format!("{{{worker}}}");
            let body = format!(r#"{{"id":"evt_1","event":"clock_in","timestamp":"t","data":{data}}}"#);
            let published = worker_key(&ParsedData::read(&data).unwrap());
            assert_eq!(published, key.map(OrderKey::of_worker), "{data}");
            assert_eq!(worker_key_of(body.as_bytes()), published, "{data}");
        }
        assert_eq!(worker_key_of(b"damaged"), None);
    }

    #[test]
    fn ids_are_compared_as_text() {
        let text = |raw: &str| of(&format!(r#"{{"worker_id": {raw}}}"#), &[])[0].1.clone();
        let wanted = |query: &str| String::from(FindKey::wanted(FindKind::Worker, query).unwrap().text);
        for one in ["52", "52.0", "\"52\"", "5.2e1", "\"52.00\""] {
            assert_eq!(text(one), "52", "{one}");
        }
        assert_eq!((wanted("52"), wanted("52.0")), ("52".to_owned(), "52".to_owned()));
        for other in ["0022", "22.5", "1e3", ".0", "-", "52.", "HR.0"] {
            assert_eq!(wanted(other), other);
            assert_eq!(text(&format!("\"{other}\"")), other);
        }
        assert_eq!(text("-7.0"), wanted("-7"));
        assert!(FindKey::wanted(FindKind::Worker, &"x".repeat(256)).is_err());
        assert!(FindKey::wanted(FindKind::Tag, &"x".repeat(65)).is_err());
        assert_eq!(&*FindKey::wanted(FindKind::Tag, "52.0").unwrap().text, "52.0", "a tag is no number");
    }
}
