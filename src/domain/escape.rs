//! Escapes untrusted text for a terminal and for log lines. Pure; any thread. For display only: what is stored and sent
//! is unchanged.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with control characters, line breaks and bidirectional marks escaped.
#[must_use]
pub fn escape_controls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_control(character) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether the character is a control character or an invisible mark.
#[must_use]
pub fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Maximum number of characters of a name or value that an error repeats.
pub const REPEATED_CHARS: usize = 64;

/// The text, cut to that many characters.
#[must_use]
pub fn shortened(text: &str, chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars) {
        None => text.into(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_seen_stays() {
        for text in ["", "Ana Kowalska", "Zoë \"Z\" O'Neil \\ 社員", "👩"] {
            assert_eq!(escape_controls(text), text);
        }
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        for (text, shown) in [("", ""), ("żółw", "żółw"), ("żółwia", "żółw…")] {
            assert_eq!(shortened(text, 4), shown);
        }
    }

    #[test]
    fn what_acts_is_escaped() {
        for (text, shown) in [
            ("a\nb\r\t", r"a\nb\r\t"),
            ("\u{1b}[2J", r"\u{1b}[2J"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("eve\u{202e}exe.pdf", r"eve\u{202e}exe.pdf"),
            ("\u{2066}\u{2028}\u{feff}\u{0}", r"\u{2066}\u{2028}\u{feff}\u{0}"),
        ] {
            assert_eq!(escape_controls(text), shown);
        }
    }
}
