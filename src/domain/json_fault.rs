//! Says what is wrong with a text that is not JSON, and where. Pure; any thread.

use std::fmt::Write as _;

/// What is wrong, and the path to it: `events[3].data.total_minutes`, or nothing for the whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonFault {
    /// The path.
    pub place: String,
    /// A sentence for the caller.
    pub message: String,
}

/// What other languages write for a value that JSON does not have.
const FOREIGN: [(&str, &str); 9] = [
    ("NaN", "write null, or omit the field"),
    ("nan", "write null, or omit the field"),
    ("Infinity", "write null, or omit the field"),
    ("-Infinity", "write null, or omit the field"),
    ("undefined", "write null, or omit the field"),
    ("None", "write null"),
    ("True", "write true"),
    ("False", "write false"),
    ("'", "strings are in double quotes"),
];

/// Explains the error that the parser found in this text.
#[must_use]
pub fn explain(text: &str, error: &serde_json::Error) -> JsonFault {
    if text.starts_with('\u{feff}') {
        let message = "the text begins with a byte order mark (U+FEFF): remove it".to_owned();
        return JsonFault { place: String::new(), message };
    }
    // The last byte that the parser has read may end the value before the fault is seen.
    let end = if error.is_eof() { text.len() } else { offset(text, error).saturating_sub(1) };
    let before = text.as_bytes().get(..end).unwrap_or_default();
    let found = error.to_string();
    let message = if found.starts_with("number out of range") {
        "is a number beyond the range of a double (1.8e308)".to_owned()
    } else if found.starts_with("lone leading surrogate") || found.starts_with("unexpected end of hex escape") {
        half_of_a_character(text, before)
    } else {
        match foreign(text, before) {
            Some((word, advice)) => format!("{word} is not JSON: {advice}"),
            None => format!("not JSON: {found}"),
        }
    };
    JsonFault { place: place(before), message }
}

/// The offset of an error: how many bytes the parser has read.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let line = error.line().saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    (start + error.column()).min(text.len())
}

fn half_of_a_character(text: &str, before: &[u8]) -> String {
    let escape = before.windows(2).rposition(|pair| pair == b"\\u");
    let escape = escape.and_then(|start| text.get(start..start + 6)).unwrap_or("an escape");
    format!("contains {escape}, half of a character such as an emoji: truncate texts between characters")
}

/// The word of another language at the end of what was read.
fn foreign(text: &str, before: &[u8]) -> Option<(&'static str, &'static str)> {
    let start =
        before.iter().rposition(|byte| matches!(byte, b':' | b',' | b'[' | b'{' | b' ' | b'\n' | b'\t' | b'\r'));
    let word = text.get(start.map_or(0, |start| start + 1)..)?;
    FOREIGN.into_iter().find(|(foreign, _)| word.starts_with(foreign))
}

/// The containers that are open at the end of what was read, with the place in each.
fn place(before: &[u8]) -> String {
    enum Open<'a> {
        Object(&'a [u8]),
        Array(usize),
    }
    let mut open = Vec::new();
    let mut at = 0;
    let mut last_text: &[u8] = &[];
    while let Some(byte) = before.get(at) {
        at += 1;
        match byte {
            b'{' => open.push(Open::Object(&[])),
            b'[' => open.push(Open::Array(0)),
            b'}' | b']' => drop(open.pop()),
            b',' => match open.last_mut() {
                Some(Open::Array(index)) => *index += 1,
                Some(Open::Object(key)) => *key = &[],
                None => {}
            },
            b':' => {
                if let Some(Open::Object(key)) = open.last_mut() {
                    *key = last_text;
                }
            }
            b'"' => {
                let start = at;
                while before.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if before.get(at) == Some(&b'\\') { 2 } else { 1 };
                }
                last_text = before.get(start..at).unwrap_or_default();
                at += 1;
            }
            _ => {}
        }
    }
    let mut place = String::new();
    for step in open {
        match step {
            Open::Object([]) => {}
            Open::Object(key) => {
                if !place.is_empty() {
                    place.push('.');
                }
                place.push_str(&String::from_utf8_lossy(key));
            }
            Open::Array(index) => {
                // Writing to a string cannot fail.
                let _ = write!(place, "[{index}]");
            }
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (String, String) {
        let JsonFault { place, message } = explain(text, &serde_json::from_str::<serde_json::Value>(text).unwrap_err());
        (place, message)
    }

    fn places(text: &str, place: &str, message: &str) {
        assert_eq!(fault(text), (place.to_owned(), message.to_owned()), "{text}");
    }

    #[test]
    fn a_value_of_another_language_is_named_with_its_place() {
        let null = |word: &str| format!("{word} is not JSON: write null, or omit the field");
        places(r#"{"events":[{"a":1},{"data":{"b":"x,[{","minutes":NaN}}]}"#, "events[1].data.minutes", &null("NaN"));
        places(r#"{"a": Infinity}"#, "a", &null("Infinity"));
        places(r#"{"a":[1,-Infinity]}"#, "a[1]", &null("-Infinity"));
        places(r#"{"a":nan}"#, "a", &null("nan"));
        places("{\"a\":1,\n \"b\": undefined\n}", "b", &null("undefined"));
        places(r#"{"a":None}"#, "a", "None is not JSON: write null");
        places("[True]", "[0]", "True is not JSON: write true");
        places(r#"{"a":'b'}"#, "a", "' is not JSON: strings are in double quotes");
    }

    #[test]
    fn half_of_a_character_is_named_with_its_place() {
        let half = |escape: &str| {
            format!("contains {escape}, half of a character such as an emoji: truncate texts between characters")
        };
        places(r#"{"a":{"b":"Ana\ud83d"},"c":1}"#, "a.b", &half(r"\ud83d"));
        places(r#"{"a":["\u00e9","\ud83dx"]}"#, "a[1]", &half(r"\ud83d"));
        places(r#"{"a":"\udc00 and more"}"#, "a", &half(r"\udc00"));
    }

    #[test]
    fn a_number_beyond_a_double_is_named_with_its_place() {
        for text in [r#"{"a":1,"b":1e400}"#, r#"{"a":1,"b":-1e400,"c":2}"#, r#"{"a":1,"b": 1e400 }"#] {
            places(text, "b", "is a number beyond the range of a double (1.8e308)");
        }
    }

    #[test]
    fn what_else_is_wrong_is_said_in_the_words_of_the_parser() {
        places("\u{feff}{}", "", "the text begins with a byte order mark (U+FEFF): remove it");
        places("", "", "not JSON: EOF while parsing a value at line 1 column 0");
        places(r#"{"a":{"b":1}"#, "a", "not JSON: EOF while parsing an object at line 1 column 12");
        assert_eq!(fault(r#"{"a":[1,2"#).0, "a[1]");
        assert_eq!(fault("nonsense").0, "");
        assert_eq!(fault(r#"{"a\"b":x}"#).0, r#"a\"b"#);
        assert_eq!(fault(r#"{"é":"\x"}"#).0, "é");
    }
}
