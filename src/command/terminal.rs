//! What may be shown on a terminal: text from outside without control over it, and colour only where it is wanted.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use serde_json::Value;

use crate::domain::visible;

/// JSON in one line, with the same characters escaped in its texts: it may be read on a terminal, too.
pub fn json(value: &Value) -> String {
    let mut line = String::new();
    for character in value.to_string().chars() {
        if visible::acts(character) && u32::from(character) <= 0xffff {
            // They stand in texts: between these, compact JSON has none. Writing to a String cannot fail.
            let _ = write!(line, "\\u{:04x}", u32::from(character));
        } else {
            line.push(character);
        }
    }
    line
}

/// How a word is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is right.
    Good,
    /// Look at it.
    Doubtful,
    /// It is wrong.
    Bad,
}

/// Colours words, or leaves them alone.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// For stdout as it is: colour on a terminal that can show it, unless `NO_COLOR` says otherwise.
    pub fn for_stdout() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(io::stdout().is_terminal() && !is_unwanted && !is_dumb)
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
        let value = serde_json::json!({"a": "Zoë\u{1b}[2J\n\u{202e}\u{9b}\u{feff}\u{7f}"});
        let line = json(&value);
        assert_eq!(line, "{\"a\":\"Zoë\\u001b[2J\\n\\u202e\\u009b\\ufeff\\u007f\"}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    #[test]
    fn colour_is_put_around_words_only_where_it_is_wanted() {
        assert_eq!(Paint(true).word(Tone::Bad, "no"), "\u{1b}[31mno\u{1b}[0m");
        assert_eq!(Paint(false).word(Tone::Bad, "no"), "no");
    }
}
