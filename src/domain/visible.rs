//! Text of others, made fit for a terminal and for one line of a log. Pure; any thread. It is for showing alone: what
//! is stored and sent stays as it came.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with everything escaped that would move the cursor, begin a line, or turn the direction of writing.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Does the character do something instead of being seen?
#[must_use]
pub fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The most characters of a name or value that an error repeats.
pub const REPEATED_CHARS: usize = 64;

/// The beginning of the text, if it has more characters than that.
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
            assert_eq!(visible(text), text);
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
            assert_eq!(visible(text), shown);
        }
    }
}
