//! Finds the end of a request in a byte stream. Pure.
//!
//! It decides only how many bytes actix-http sees, never what a request means: the library parses the head and
//! determines the body's framing. For malformed input we never place the end of a request after the point where
//! actix-http does.

/// The next expected part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPart {
    /// Empty lines may come before it.
    Head { has_begun: bool, is_in_line: bool },
    /// The head is complete; the library determines the body's framing.
    Unknown,
    /// Remaining bytes of a body.
    Sized(u64),
    /// The chunk-size line; chunk extensions are ignored.
    Size { bytes: u64, is_read: bool },
    /// Remaining bytes of a chunk.
    Chunk(u64),
    /// The line break after a chunk.
    ChunkEnd,
    /// Trailers, up to an empty line.
    Trailers { is_in_line: bool },
    /// Nothing.
    End,
}

impl RequestPart {
    /// The start of a request.
    pub const FIRST: Self = Self::Head { has_begun: false, is_in_line: false };

    /// The start of a chunked body.
    pub const CHUNKS: Self = Self::Size { bytes: 0, is_read: false };

    /// A body of a known length.
    pub fn sized(bytes: u64) -> Self {
        if bytes == 0 { Self::End } else { Self::Sized(bytes) }
    }

    /// Advances over the bytes that belong to the request, and returns their number.
    pub fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(rest @ [next, ..]) = bytes.get(passed..) {
            let (after, count) = match *self {
                Self::Unknown | Self::End => break,
                Self::Sized(left) => {
                    let count = at_most(rest, left);
                    (Self::sized(left - count as u64), count)
                }
                Self::Chunk(left) => {
                    let count = at_most(rest, left);
                    let left = left - count as u64;
                    (if left == 0 { Self::ChunkEnd } else { Self::Chunk(left) }, count)
                }
                // Fast path: most bytes are inside lines.
                Self::Head { is_in_line: true, .. } if *next != b'\n' => (*self, line_bytes(rest)),
                part => (part.after(*next), 1),
            };
            *self = after;
            passed += count;
        }
        passed
    }

    fn after(self, byte: u8) -> Self {
        let is_line_end = byte == b'\n';
        // Allowed before a line feed only.
        let is_text = !is_line_end && byte != b'\r';
        match self {
            Self::Head { has_begun: true, is_in_line: false } if is_line_end => Self::Unknown,
            Self::Head { has_begun, is_in_line } => {
                Self::Head { has_begun: has_begun || is_text, is_in_line: !is_line_end && (is_in_line || is_text) }
            }
            Self::Size { bytes: 0, .. } if is_line_end => Self::Trailers { is_in_line: false },
            Self::Size { bytes, .. } if is_line_end => Self::Chunk(bytes),
            Self::Size { bytes, is_read } => match char::from(byte).to_digit(16) {
                Some(digit) if !is_read => {
                    Self::Size { bytes: bytes.saturating_mul(16).saturating_add(digit.into()), is_read }
                }
                _ => Self::Size { bytes, is_read: true },
            },
            Self::ChunkEnd if is_line_end => Self::CHUNKS,
            Self::Trailers { is_in_line: false } if is_line_end => Self::End,
            Self::Trailers { is_in_line } => Self::Trailers { is_in_line: !is_line_end && (is_in_line || is_text) },
            other => other,
        }
    }
}

/// Number of bytes before the end of the line.
fn line_bytes(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len())
}

fn at_most(bytes: &[u8], limit: u64) -> usize {
    usize::try_from(limit).map_or(bytes.len(), |limit| limit.min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed of a text, in pieces of each size, and the part that it ends in.
    fn passed(first: RequestPart, text: &str) -> (&str, RequestPart) {
        let mut whole = first;
        let count = whole.pass(text.as_bytes());
        for piece_bytes in 1..=text.len() {
            let mut part = first;
            let sum: usize = text.as_bytes().chunks(piece_bytes).map(|piece| part.pass(piece)).sum();
            assert_eq!((sum, part), (count, whole), "{text:?} in pieces of {piece_bytes}");
        }
        (&text[..count], whole)
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        for (head, behind) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET"),
            ("GET / HTTP/1.1\nHost: x\n\n", "\r\n"),
            ("GET / HTTP/1.1\nHost: x\n\r\n", "\n"),
            ("\r\n\n\r\nGET / HTTP/1.0\r\n\r\n", "{}"),
        ] {
            assert_eq!(passed(RequestPart::FIRST, &(head.to_owned() + behind)), (head, RequestPart::Unknown));
        }
        for unfinished in
            ["", "\r\n\r\n", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r", "GET / HTTP/1.1\r\n \r\n"]
        {
            let (all, part) = passed(RequestPart::FIRST, unfinished);
            assert_eq!(all, unfinished);
            assert!(matches!(part, RequestPart::Head { .. }), "{unfinished:?}: {part:?}");
        }
    }

    #[test]
    fn a_body_of_known_length_ends_there() {
        assert_eq!(passed(RequestPart::sized(0), "GET"), ("", RequestPart::End));
        assert_eq!(passed(RequestPart::sized(2), "{}GET"), ("{}", RequestPart::End));
        assert_eq!(passed(RequestPart::sized(3), "{}"), ("{}", RequestPart::Sized(1)));
        assert_eq!(passed(RequestPart::sized(u64::MAX), "{}"), ("{}", RequestPart::Sized(u64::MAX - 2)));
    }

    #[test]
    fn a_body_in_chunks_ends_behind_its_trailers() {
        for body in [
            "0\r\n\r\n",
            "2\r\n{}\r\n0\r\n\r\n",
            "1\r\n\n\r\n00a;name=\"0\"\r\n0123456\r\n\r\r\n000\r\nX: 1\r\nY: 2\r\n\r\n",
            "1 ;1\r\n{\r\n1\t\r\n}\r\n0 1\r\n\r\n",
        ] {
            assert_eq!(passed(RequestPart::CHUNKS, &(body.to_owned() + "GET")), (body, RequestPart::End));
        }
        assert_eq!(passed(RequestPart::CHUNKS, "ffffffffffffffffff\r\n{}").1, RequestPart::Chunk(u64::MAX - 2));
        assert_eq!(passed(RequestPart::CHUNKS, "1\r\n{}").1, RequestPart::ChunkEnd);
    }
}
