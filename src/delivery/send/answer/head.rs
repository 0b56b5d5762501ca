//! Reads the head of an HTTP/1 answer. Pure; runs on delivery threads.
//!
//! It takes what curl takes: folded lines, spaces before a colon, lines whose name has a space or another character that no
//! name has, which are passed over. What says where the answer ends is never passed over.

use std::mem::MaybeUninit;
use std::time::Duration;

use httparse::{Header, ParserConfig, Status};

use crate::delivery::send::answer::body::Body;
use crate::delivery::send::answer::error::AnswerError;
use crate::delivery::send::answer::fault::{self, quoted};
use crate::domain::delivery::attempt::KEPT_HEADER_BYTES;

/// Maximum number of headers.
const HEADERS_MAX: usize = 512;

/// The head of an answer.
#[derive(Debug)]
pub(in crate::delivery) struct Head {
    pub(in crate::delivery) status: u16,
    /// Its headers in order, up to [`KEPT_HEADER_BYTES`].
    pub(in crate::delivery) headers: Vec<(String, String)>,
    pub(in crate::delivery) retry_after: Option<String>,
    /// The body that follows.
    pub(in crate::delivery) body: Body,
    /// Whether the connection may carry another request when the body has come.
    pub(in crate::delivery) keeps_open: bool,
    /// After what time without a request the receiver closes it, if it says so.
    pub(in crate::delivery) closed_after: Option<Duration>,
}

/// What input begins with.
#[derive(Debug)]
pub(in crate::delivery) enum Beginning {
    /// A part of a head.
    Part,
    /// The head of an interim answer, with its length.
    Interim(usize),
    /// The head of the answer, with its length.
    Answer(usize, Head),
}

/// Reads the head with which the input begins.
pub(in crate::delivery) fn begin(input: &[u8]) -> Result<Beginning, AnswerError> {
    read(input).map_err(|fault| match fault {
        Fault::Syntax => fault::of_syntax(input, |lines| matches!(read(lines), Err(Fault::Syntax))),
        Fault::TooMany => fault::of_length(input),
        Fault::Meaning(text) => fault::of(input, text),
    })
}

/// What is wrong with a head.
#[derive(Debug)]
enum Fault {
    Syntax,
    TooMany,
    /// Where the answer ends is not clear, as the text says.
    Meaning(String),
}

fn read(input: &[u8]) -> Result<Beginning, Fault> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let mut parser = ParserConfig::default();
    parser
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .ignore_invalid_headers_in_responses(true);
    let length = match parser.parse_response_with_uninit_headers(&mut response, input, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(Beginning::Part),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooMany),
        Err(_) => return Err(Fault::Syntax),
    };
    let status = response.code.filter(|code| *code >= 100).ok_or(Fault::Syntax)?;
    if status < 200 && status != 101 {
        return Ok(Beginning::Interim(length));
    }
    let fields = Fields::read(response.headers)?;
    check_framing(input.get(..length).unwrap_or_default(), fields.framing_lines)?;
    let has_body = !matches!(status, 101 | 204 | 304);
    let body = match (fields.coding, fields.length) {
        _ if !has_body => Body::none(),
        (Coding::Chunked, _) => Body::chunked(),
        (Coding::None, Some(length)) => Body::of_length(length),
        _ => Body::until_end(),
    };
    // Who says both may be understood differently by a proxy in between.
    let is_clear = fields.coding == Coding::None || fields.length.is_none();
    let keeps_open = is_clear && status != 101 && !fields.closes && (response.version == Some(1) || fields.keeps_open);
    let retry_after = fields.retry_after.map(str::to_owned);
    let closed_after = fields.closed_after;
    let headers = kept(response.headers);
    Ok(Beginning::Answer(length, Head { status, headers, retry_after, body, keeps_open, closed_after }))
}

/// The last transfer coding.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    Chunked,
    Other,
}

/// What counts of the headers.
#[derive(Default)]
struct Fields<'a> {
    length: Option<u64>,
    coding: Coding,
    closes: bool,
    keeps_open: bool,
    closed_after: Option<Duration>,
    retry_after: Option<&'a str>,
    framing_lines: usize,
}

impl<'a> Fields<'a> {
    fn read(headers: &[Header<'a>]) -> Result<Self, Fault> {
        let mut fields = Self::default();
        for Header { name, value } in headers {
            // The lengths of names tell most of them apart.
            match name.len() {
                14 if name.eq_ignore_ascii_case("content-length") => {
                    fields.framing_lines += 1;
                    fields.read_length(value)?;
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    fields.framing_lines += 1;
                    let last = tokens(value).last().unwrap_or_default();
                    fields.coding = match last {
                        _ if last.eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
                        _ if last.is_empty() || last.eq_ignore_ascii_case(b"identity") => Coding::None,
                        _ => Coding::Other,
                    };
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for token in tokens(value) {
                        fields.closes |= token.eq_ignore_ascii_case(b"close");
                        fields.keeps_open |= token.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                10 if name.eq_ignore_ascii_case("keep-alive") => {
                    fields.closed_after = tokens(value).find_map(seconds_of_timeout).or(fields.closed_after);
                }
                11 if fields.retry_after.is_none() && name.eq_ignore_ascii_case("retry-after") => {
                    fields.retry_after = str::from_utf8(value).ok();
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    /// The same length may be given several times.
    fn read_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let no_length = || Fault::Meaning(format!("its Content-Length is not a valid length: {}", quoted(value)));
        for token in tokens(value) {
            let digits = str::from_utf8(token).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok());
            let length = length.ok_or_else(no_length)?;
            if let Some(before) = self.length.replace(length).filter(|before| *before != length) {
                return Err(Fault::Meaning(format!(
                    "it has two different values of Content-Length, {before} and {length}"
                )));
            }
        }
        if self.length.is_none() { Err(no_length()) } else { Ok(()) }
    }
}

/// The time of `timeout=5`.
fn seconds_of_timeout(token: &[u8]) -> Option<Duration> {
    let (name, value) = str::from_utf8(token).ok()?.split_once('=')?;
    let seconds = value.trim().trim_matches('"').parse().ok()?;
    name.trim().eq_ignore_ascii_case("timeout").then_some(Duration::from_secs(seconds))
}

/// The parts of a list.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Fails with a line that is no header at all, and unless so many lines say where the answer ends: one that was ignored
/// because of a character in it is not among those that were read.
fn check_framing(head: &[u8], read: usize) -> Result<(), Fault> {
    let (mut count, mut ignored) = (0, None);
    // Empty lines may be in front of the status line.
    let begin = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or_default();
    let lines = head.get(begin..).unwrap_or_default().split(|byte| *byte == b'\n').skip(1);
    for line in lines.filter(|line| !matches!(line.first(), None | Some(b'\r' | b' ' | b'\t'))) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err(Fault::Meaning(format!("a header line has no colon: {}", quoted(line))));
        };
        if colon >= 14 {
            let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
            if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding") {
                count += 1;
                let is_text = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\r' | b'\t');
                ignored = ignored.or_else(|| (!line.iter().all(is_text)).then_some(line));
            }
        }
    }
    match ignored {
        _ if count == read => Ok(()),
        Some(line) => Err(Fault::Meaning(format!("a header line has a control character: {}", quoted(line)))),
        None => Err(Fault::Meaning("the header line that says where it ends is not valid HTTP".to_owned())),
    }
}

/// The headers that are kept with the attempt.
fn kept(headers: &[Header<'_>]) -> Vec<(String, String)> {
    let mut left = KEPT_HEADER_BYTES;
    let mut kept = Vec::with_capacity(headers.len().min(16));
    for Header { name, value } in headers {
        let value = String::from_utf8_lossy(value);
        // A value that is too long must not push out the others.
        let Some(rest) = left.checked_sub(name.len() + value.len()) else { continue };
        left = rest;
        let value = if value.contains('\n') { unfolded(&value) } else { value.into_owned() };
        kept.push((name.to_ascii_lowercase(), value));
    }
    kept
}

/// The lines of a folded value, with a space between them.
fn unfolded(value: &str) -> String {
    value.lines().map(str::trim_ascii).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::outcome::HeadFault;

    fn head(text: &str) -> Result<Head, AnswerError> {
        match begin(text.as_bytes())? {
            Beginning::Answer(length, head) if length == text.len() => Ok(head),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn sloppy_lines_are_read_as_curl_reads_them() {
        for line in [
            "Content-Security-Policy: default-src 'self';\r\n    img-src *",
            "X-Fold:\r\n a",
            "X Y: 1",
            "X-Name : 2",
            "PHP Warning:  Module x is already loaded",
            "X/(: 3",
            "N\u{e4}me: 4",
            ": 5",
        ] {
            for text in [
                format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 2\r\n\r\n"),
                format!("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n{line}\r\n\r\n"),
                format!("HTTP/1.1  200  OK\nContent-Length: 2, 2\n{line}\nContent-Length:\r\n 2\n\n"),
            ] {
                let head = head(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
                assert_eq!(head.body, Body::of_length(2), "{text:?}");
            }
        }
        let folded = head("HTTP/1.1 204 x\r\nX-Long: a\r\n \t b\r\n\r\n").unwrap();
        assert_eq!(folded.headers, [("x-long".to_owned(), "a b".to_owned())]);
    }

    #[test]
    fn a_receiver_says_when_it_closes_a_connection() {
        for (line, seconds) in [
            ("Keep-Alive: timeout=5", Some(5)),
            ("keep-alive: max=100, Timeout = 15", Some(15)),
            ("Keep-Alive: timeout=\"2\", max=1", Some(2)),
            ("Keep-Alive: max=100", None),
            ("Keep-Alive: timeout=-1", None),
            ("Keep-Alive: timeout=5s", None),
            ("Keep-Alive: \u{fc}", None),
            ("Connection: keep-alive", None),
        ] {
            let head = head(&format!("HTTP/1.1 204 No Content\r\n{line}\r\n\r\n")).unwrap();
            assert_eq!(head.closed_after, seconds.map(Duration::from_secs), "{line}");
        }
    }

    #[test]
    fn what_says_where_an_answer_ends_is_never_guessed() {
        for lines in [
            "Content-Length: 2\r\nContent-Length: 3",
            "Content-Length: 2, 3",
            "Content-Length: +2",
            "Content-Length: 2.0",
            "Content-Length:",
            "Content-Length: 184467440737095516160",
            "Content-Length: 2\u{1}",
            "Transfer-Encoding: chunk\u{1}ed",
            "Content-Length 2",
        ] {
            let refused = head(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")).unwrap_err();
            assert!(matches!(refused, AnswerError::Head(200, HeadFault::Invalid(_))), "{lines}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_head_is_said_with_its_status_and_line() {
        let refused = |text: &str| match begin(text.as_bytes()).unwrap_err() {
            AnswerError::Head(status, HeadFault::Invalid(text)) => format!("{status}, {text}"),
            AnswerError::Head(status, HeadFault::TooLong) => format!("{status}, too long"),
            AnswerError::Invalid(text) => text.into_owned(),
            AnswerError::TooLong => "too long".to_owned(),
        };
        for (text, words) in [
            ("HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: \0; 2\r\n", r#"200, header line 2 is not valid HTTP: "X-B: \u{0}""#),
            (
                "\r\nHTTP/1.0 500 No\r\nX-A: 1\rX-B: 2\r\n\r\n",
                "500, header line 1 is not valid HTTP: \"X-A: 1\\rX-B: 2\"",
            ),
            ("HTTP/1.1 200 O\0K\r\n", r#"200, its status line is not valid HTTP: "HTTP/1.1 200 O\u{0}K""#),
            ("HTTP/1.1 099 OK\r\n\r\n", r#"its first line is "HTTP/1.1 099 OK""#),
            ("HTTP/2 200 OK\r\n\r\n", r#"its first line is "HTTP/2 200 OK""#),
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", r#"its first line is "SSH-2.0-OpenSSH_9.2p1 Debian-2""#),
            ("\u{15}\u{3}\u{1}\0\u{2}\u{2}(", "it begins with bytes that are not text"),
            ("HTTP/1.1 200 OK\r\nContent-Length 2\r\n\r\n", r#"200, a header line has no colon: "Content-Length 2""#),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n",
                "200, it has two different values of Content-Length, 2 and 3",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n", r#"200, its Content-Length is not a valid length: "+2""#),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\u{1}\r\n\r\n",
                r#"200, a header line has a control character: "Content-Length: 2\u{1}""#,
            ),
        ] {
            assert_eq!(refused(text), words, "{text:?}");
        }
        assert_eq!(refused(&format!("HTTP/1.1 200 OK\r\n{}", "X: 1\r\n".repeat(600))), "200, too long");
    }
}
