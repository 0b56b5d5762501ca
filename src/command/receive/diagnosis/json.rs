//! Serialises JSON in the styles of common libraries. Numbers keep their spelling, because a library's reformatting
//! cannot be undone.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::event::event_type::EventType;

/// A JSON style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Spaces and lines.
    pub layout: Layout,
    /// Which characters of texts are escaped.
    pub escapes: Escapes,
    /// The order of keys.
    pub order: Order,
}

/// Spaces and lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// None.
    Compact,
    /// A space after commas and colons.
    Spaced,
    /// Compact down to `data`, and a space after commas and colons in it.
    DataSpaced,
    /// Lines, indented by this.
    Lines(&'static str),
}

/// Which characters of texts are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// Unchanged.
    AsIs,
    /// Only those that must be.
    None,
    /// Those and all non-ASCII characters.
    Ascii,
    /// Those, all non-ASCII characters, and the slash.
    AsciiAndSlash,
}

/// The order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Unchanged.
    AsIs,
    /// As this server writes them, and in `data` in the order of the event type's fields.
    Published,
    /// Alphabetical.
    Sorted,
}

impl Layout {
    /// All layouts, likeliest first.
    pub const ALL: [Self; 6] =
        [Self::Compact, Self::Spaced, Self::DataSpaced, Self::Lines("  "), Self::Lines("    "), Self::Lines("\t")];

    fn within_data(self) -> Self {
        if self == Self::DataSpaced { Self::Spaced } else { self }
    }
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.layout {
            Layout::Compact => "compact JSON",
            Layout::Spaced => "JSON with a space after each comma and colon",
            Layout::DataSpaced => "JSON that is compact except for spaces after commas and colons in data",
            Layout::Lines("\t") => "JSON indented with tabs",
            Layout::Lines(indent) if indent.len() == 2 => "JSON indented by two spaces",
            Layout::Lines(_) => "JSON indented by four spaces",
        })?;
        f.write_str(match self.order {
            Order::AsIs => "",
            Order::Published => ", its keys in the order id, event, timestamp, data",
            Order::Sorted => ", its keys sorted",
        })?;
        f.write_str(match self.escapes {
            Escapes::AsIs => "",
            Escapes::None => ", with only the required characters escaped",
            Escapes::Ascii => ", with all non-ASCII characters escaped",
            Escapes::AsciiAndSlash => ", with slashes and all non-ASCII characters escaped",
        })
    }
}

/// The same JSON in that style; `None` if it is not JSON or is nested too deeply.
pub fn rewrite(text: &str, style: Style) -> Option<Vec<u8>> {
    let mut out = String::with_capacity(text.len());
    write(&mut out, parse(text)?, style, 0)?;
    Some(out.into_bytes())
}

/// More than the maximum depth of published data.
const DEPTH: usize = 64;

struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn parse(text: &str) -> Option<&str> {
    serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get)
}

fn write(out: &mut String, text: &str, style: Style, depth: usize) -> Option<()> {
    if depth > DEPTH {
        return None;
    }
    match text.as_bytes().first()? {
        b'{' => {
            let Entries(mut entries) = serde_json::from_str(text).ok()?;
            sort(&mut entries, style.order);
            let pieces = entries.iter().map(|(key, value)| (Some(key.as_str()), value.get()));
            write_all(out, ('{', '}'), pieces, style, depth)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            write_all(out, ('[', ']'), items.iter().map(|item| (None, item.get())), style, depth)
        }
        b'"' if style.escapes == Escapes::AsIs => {
            out.push_str(text);
            Some(())
        }
        b'"' => {
            write_text(out, &serde_json::from_str::<String>(text).ok()?, style.escapes);
            Some(())
        }
        _ => {
            out.push_str(text);
            Some(())
        }
    }
}

fn write_all<'a>(
    out: &mut String,
    (open, close): (char, char),
    pieces: impl ExactSizeIterator<Item = (Option<&'a str>, &'a str)>,
    style: Style,
    depth: usize,
) -> Option<()> {
    let new_line = |out: &mut String, depth| {
        if let Layout::Lines(indent) = style.layout {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent, depth));
        }
    };
    let is_empty = pieces.len() == 0;
    out.push(open);
    for (index, (key, value)) in pieces.enumerate() {
        if index > 0 {
            out.push_str(if style.layout == Layout::Spaced { ", " } else { "," });
        }
        new_line(out, depth + 1);
        let mut inner = style;
        if let Some(key) = key {
            write_text(out, key, style.escapes);
            let is_tight = matches!(style.layout, Layout::Compact | Layout::DataSpaced);
            out.push_str(if is_tight { ":" } else { ": " });
            if depth == 0 && key == "data" {
                inner.layout = style.layout.within_data();
            }
        }
        write(out, value, inner, depth + 1)?;
    }
    if !is_empty {
        new_line(out, depth);
    }
    out.push(close);
    Some(())
}

fn write_text(out: &mut String, text: &str, escapes: Escapes) {
    let is_ascii_only = matches!(escapes, Escapes::Ascii | Escapes::AsciiAndSlash);
    for character in serde_json::Value::from(text).to_string().chars() {
        match character {
            '/' if escapes == Escapes::AsciiAndSlash => out.push_str("\\/"),
            _ if is_ascii_only && !character.is_ascii() => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(character),
        }
    }
}

fn sort(entries: &mut [(String, &RawValue)], order: Order) {
    match order {
        Order::AsIs => {}
        Order::Sorted => entries.sort_by(|one, other| one.0.cmp(&other.0)),
        // Stable: unknown keys stay in order, after the known ones.
        Order::Published => entries.sort_by_key(|(key, _)| place(key)),
    }
}

/// The position of a key in this server's or the catalogue's order.
fn place(key: &str) -> usize {
    let envelope = ["id", "event", "timestamp", "data"].into_iter();
    let fields = EventType::BASE.into_iter().flat_map(|kind| kind.fields().iter().map(|(name, _)| *name));
    envelope.chain(fields).position(|known| known == key).unwrap_or(usize::MAX)
}
