//! Says in words what is wrong with the head of an answer. Pure; runs on delivery threads, only after a head was refused.

use crate::delivery::send::answer::error::AnswerError;
use crate::domain::delivery::outcome::HeadFault;
use crate::domain::escape::{escape_controls, shortened};

/// Maximum number of characters of a line that is shown.
const SHOWN_CHARS: usize = 80;
/// A first line without a control character among so many bytes is shown.
const TEXT_BYTES: usize = 16;

/// The error of a head whose syntax is wrong. `is_refused` says whether some first lines of it are.
pub(super) fn of_syntax(head: &[u8], is_refused: impl Fn(&[u8]) -> bool) -> AnswerError {
    let head = head.get(begin(head)..).unwrap_or_default();
    let ends: Vec<usize> = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    // What is refused stays so, whatever follows.
    let good = ends.partition_point(|end| !is_refused(head.get(..*end).unwrap_or_default()));
    let from = good.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or_default();
    let line = quoted(head.get(from..).unwrap_or_default());
    match good {
        0 => of(head, format!("its status line is not valid HTTP: {line}")),
        number => of(head, format!("header line {number} is not valid HTTP: {line}")),
    }
}

/// The error of a head of which this is wrong.
pub(super) fn of(head: &[u8], text: String) -> AnswerError {
    let first = head.get(begin(head)..).unwrap_or_default();
    match status(first) {
        Some(status) => AnswerError::Head(status, HeadFault::Invalid(text)),
        None if first.iter().take(TEXT_BYTES).any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()) => {
            AnswerError::Invalid("it begins with bytes that are not text".into())
        }
        None => AnswerError::Invalid(format!("its first line is {}", quoted(first)).into()),
    }
}

/// The error of a head that is too long.
pub(super) fn of_length(head: &[u8]) -> AnswerError {
    let status = status(head.get(begin(head)..).unwrap_or_default());
    status.map_or(AnswerError::TooLong, |status| AnswerError::Head(status, HeadFault::TooLong))
}

/// The first line of this, between quotation marks. It ends at a semicolon, behind which explanations have their advice.
pub(super) fn quoted(text: &[u8]) -> String {
    let line = text.split(|byte| matches!(byte, b'\n' | b';')).next().unwrap_or_default();
    let line = line.get(..line.len().min(SHOWN_CHARS * 4)).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    format!("\"{}\"", escape_controls(&shortened(line.trim_end(), SHOWN_CHARS)))
}

/// Where the status line begins: empty lines may be in front of it.
fn begin(head: &[u8]) -> usize {
    head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(head.len())
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let rest = line.strip_prefix(b"HTTP/1.0 ").or_else(|| line.strip_prefix(b"HTTP/1.1 "))?.trim_ascii();
    let digits = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let is_whole = rest.get(3).is_none_or(|behind| !behind.is_ascii_digit());
    str::from_utf8(digits).ok()?.parse().ok().filter(|status| is_whole && *status >= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_without_what_could_mislead() {
        assert_eq!(quoted(b"X-A: b\r\nX-C: d\r\n"), "\"X-A: b\"");
        assert_eq!(quoted(b"Policy: self; img-src *\r\n"), "\"Policy: self\"");
        assert_eq!(quoted(b"X: \x1b[31m\xff\r\n"), "\"X: \\u{1b}[31m\u{fffd}\"");
        assert!(quoted(&[b'x'; 10_000]).len() < 100);
    }
}
