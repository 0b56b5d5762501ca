//! Terminal output: escapes untrusted text, and colours only where wanted.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use serde_json::Value;

use crate::domain::escape;

/// JSON on one line, with control characters in its strings escaped.
pub fn json(value: &Value) -> String {
    json_line(&value.to_string())
}

/// The same for raw JSON; numbers and field order stay unchanged.
pub fn json_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // Inside strings they are escaped in JSON, so these are between tokens.
            '\n' | '\r' | '\t' => line.push(' '),
            acting if escape::is_control(acting) => {
                for unit in acting.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            seen => line.push(seen),
        }
    }
    line
}

/// Is it a terminal that can show colour, and is that wanted?
pub fn has_colour(stream: &impl IsTerminal) -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !is_unwanted && !is_dumb
}

/// The tone of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Good.
    Good,
    /// A warning.
    Doubtful,
    /// Bad.
    Bad,
}

/// Whether to colour words.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    #[cfg(test)]
    pub const ALL: Self = Self(true);
    #[cfg(test)]
    pub const NONE: Self = Self(false);

    /// For stdout: colour on a capable terminal, unless `NO_COLOR` is set.
    pub fn for_stdout() -> Self {
        Self(has_colour(&io::stdout()))
    }

    /// The word in the tone's colour.
    pub fn word(self, tone: Tone, word: &str) -> String {
        let colour = match tone {
            Tone::Good => 32,
            Tone::Doubtful => 33,
            Tone::Bad => 31,
        };
        if self.0 { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_as_harmless_and_still_says_the_same() {
        let value = serde_json::json!({"a": "Zoë\u{1b}[2J\n\u{202e}\u{9b}\u{feff}\u{7f}\u{e0041}"});
        let line = json(&value);
        assert_eq!(line, "{\"a\":\"Zoë\\u001b[2J\\n\\u202e\\u009b\\ufeff\\u007f\\udb40\\udc41\"}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    #[test]
    fn json_that_came_from_elsewhere_keeps_its_numbers_and_its_order_and_becomes_one_line() {
        let text = "{\"b\":1.50,\r\n\t\"a\":12345678901234567890123,\"c\":\"\u{9b}2J\u{202e}\"}";
        assert_eq!(json_line(text), "{\"b\":1.50,   \"a\":12345678901234567890123,\"c\":\"\\u009b2J\\u202e\"}");
    }

    #[test]
    fn colour_is_put_around_words_only_where_it_is_wanted() {
        assert_eq!(Paint::ALL.word(Tone::Bad, "no"), "\u{1b}[31mno\u{1b}[0m");
        assert_eq!(Paint::NONE.word(Tone::Bad, "no"), "no");
    }
}
