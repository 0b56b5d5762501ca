//! Finds the end of an answer's body, and its content between the sizes of its chunks. Pure; runs on delivery threads.

use crate::delivery::send::answer::error::{AnswerError, HEAD_BYTES};

/// A body of which something may still be to come.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::delivery) struct Body {
    rest: Rest,
}

/// What is still to come.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    /// So many bytes.
    Length(u64),
    /// Whatever comes before the connection ends.
    UntilEnd,
    /// Chunks; `line_bytes` of the line between them that is being read have come.
    Chunks { place: Place, line_bytes: usize },
}

/// Where in a body of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the size of a chunk.
    Size(Option<u64>),
    /// Behind it, in what extends it.
    Extension(u64),
    /// In a chunk, so many bytes before its end.
    Content(u64),
    /// Behind a chunk.
    ContentEnd,
    /// Behind the last chunk, at the begin of a line.
    TrailerBegin,
    /// In a line behind the last chunk.
    Trailer,
    /// Behind all.
    End,
}

impl Body {
    pub(in crate::delivery) fn none() -> Self {
        Self::of_length(0)
    }

    pub(in crate::delivery) fn of_length(length: u64) -> Self {
        Self { rest: Rest::Length(length) }
    }

    pub(in crate::delivery) fn until_end() -> Self {
        Self { rest: Rest::UntilEnd }
    }

    pub(in crate::delivery) fn chunked() -> Self {
        Self { rest: Rest::Chunks { place: Place::Size(None), line_bytes: 0 } }
    }

    /// Has all of it come?
    pub(in crate::delivery) fn is_complete(&self) -> bool {
        matches!(self.rest, Rest::Length(0) | Rest::Chunks { place: Place::End, .. })
    }

    /// Would it be complete if the connection ended here? Behind the last chunk nothing of the content can be missing.
    pub(in crate::delivery) fn may_end(&self) -> bool {
        let is_behind_content = matches!(&self.rest, Rest::Chunks { place: Place::TrailerBegin | Place::Trailer, .. });
        is_behind_content || self.rest == Rest::UntilEnd || self.is_complete()
    }

    /// Takes some of the input, and gives how much, and the content that it ended with. It takes nothing when complete.
    pub(in crate::delivery) fn take<'a>(&mut self, input: &'a [u8]) -> Result<(usize, &'a [u8]), AnswerError> {
        match &mut self.rest {
            Rest::Length(left) => {
                let content = up_to(input, *left);
                *left -= content.len() as u64;
                Ok((content.len(), content))
            }
            Rest::UntilEnd => Ok((input.len(), input)),
            Rest::Chunks { place, line_bytes } => take_of_chunks(place, line_bytes, input),
        }
    }
}

fn take_of_chunks<'a>(
    place: &mut Place,
    line_bytes: &mut usize,
    input: &'a [u8],
) -> Result<(usize, &'a [u8]), AnswerError> {
    let mut used = 0;
    while let Some(&byte) = input.get(used) {
        match place {
            Place::End => break,
            Place::Content(left) => {
                let content = up_to(input.get(used..).unwrap_or_default(), *left);
                *left -= content.len() as u64;
                if *left == 0 {
                    *place = Place::ContentEnd;
                    *line_bytes = 0;
                }
                return Ok((used + content.len(), content));
            }
            _ => {}
        }
        used += 1;
        *line_bytes += 1;
        if *line_bytes > HEAD_BYTES {
            return Err(AnswerError::TooLong);
        }
        let next = place.behind(byte)?;
        // All lines behind the last chunk count together.
        if matches!(next, Place::Size(None)) {
            *line_bytes = 0;
        }
        *place = next;
    }
    Ok((used, &[]))
}

impl Place {
    /// Where a byte between the chunks leads to. A line may end without a carriage return, as curl has it.
    fn behind(self, byte: u8) -> Result<Self, AnswerError> {
        Ok(match (self, byte) {
            (Self::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or_default());
                let larger = size.unwrap_or_default().checked_mul(16).and_then(|size| size.checked_add(digit));
                Self::Size(Some(larger.ok_or(AnswerError::Invalid("invalid chunk size".into()))?))
            }
            (Self::Size(Some(0)) | Self::Extension(0) | Self::Trailer, b'\n') | (Self::TrailerBegin, b'\r') => {
                Self::TrailerBegin
            }
            (Self::Size(Some(size)) | Self::Extension(size), b'\n') => Self::Content(size),
            (Self::Size(Some(size)), b';' | b' ' | b'\t' | b'\r') | (Self::Extension(size), _) => Self::Extension(size),
            (Self::ContentEnd, b'\r') => Self::ContentEnd,
            (Self::ContentEnd, b'\n') => Self::Size(None),
            (Self::TrailerBegin, b'\n') => Self::End,
            (Self::TrailerBegin | Self::Trailer, _) => Self::Trailer,
            _ => return Err(AnswerError::Invalid("invalid chunk size".into())),
        })
    }
}

/// The first bytes of the input, so many at most.
fn up_to(input: &[u8], most: u64) -> &[u8] {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    input.get(..most).unwrap_or(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content, and what is left behind it.
    fn read(mut body: Body, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, bool, bool, usize), AnswerError> {
        let (mut content, mut used) = (Vec::new(), 0);
        for part in bytes.chunks(piece) {
            let mut part = part;
            while !part.is_empty() && !body.is_complete() {
                let (count, more) = body.take(part)?;
                content.extend_from_slice(more);
                part = &part[count..];
                used += count;
            }
        }
        Ok((content, body.is_complete(), body.may_end(), bytes.len() - used))
    }

    #[test]
    fn chunks_are_read_however_they_are_written_and_cut() {
        let long = format!("2;sig=\"{}\"\r\nok\r\n0\r\n\r\nrest", "s".repeat(16_000));
        let all = [
            "2\r\nok\r\n0\r\n\r\nrest",
            "0002 ; a=b\nok\n0;e\nX-T: 1\n\nrest",
            "1\r\no\r\n1\r\nk\r\n00\r\n\r\nrest",
            &long,
        ];
        for text in all {
            for piece in [1, 2, 3, 7, text.len()] {
                let read = read(Body::chunked(), text.as_bytes(), piece).unwrap();
                assert_eq!(read, (b"ok".to_vec(), true, true, 4), "{text}");
            }
        }
        let open = read(Body::chunked(), b"2\r\nok\r\n0\r\n", 1).unwrap();
        assert_eq!(open, (b"ok".to_vec(), false, true, 0));
        let cut = read(Body::chunked(), b"2\r\nok\r\n0\r", 1).unwrap();
        assert_eq!(cut, (b"ok".to_vec(), false, false, 0));
    }

    #[test]
    fn what_are_no_chunks_ends_the_reading() {
        for text in ["\r\nok", "g\r\n", ";a\r\n", "10000000000000000\r\n", "2\r\noka\r\n", "-1\r\n"] {
            assert!(matches!(read(Body::chunked(), text.as_bytes(), 1), Err(AnswerError::Invalid(_))), "{text}");
        }
        let endless = [&b"2;"[..], &[b'x'; HEAD_BYTES]].concat();
        assert!(matches!(read(Body::chunked(), &endless, 100), Err(AnswerError::TooLong)));
        let trailers = [&b"0\r\n"[..], &b"a: b\r\n".repeat(HEAD_BYTES / 6 + 1)].concat();
        assert!(matches!(read(Body::chunked(), &trailers, 100), Err(AnswerError::TooLong)));
    }
}
