//! Tells an answer that nobody asked for from what a receiver may well send on a connection that is not in use. Pure; runs
//! on delivery threads and on the `connections` thread.

use crate::delivery::send::answer::head::{Beginning, begin};

/// With these a receiver answers no request: interim answers, and a 408, by which it says that it closes a connection on
/// which no request came in time (RFC 9110, 15.5.9).
const EXPECTED: [&[u8]; 3] = [b"HTTP/1.1 1", b"HTTP/1.1 408", b"HTTP/1.0 408"];

/// Do these bytes, which came while nothing was asked, belong to an answer? Empty lines do not, and what is too short to
/// tell does not either.
pub(in crate::delivery) fn is_stray(mut bytes: &[u8]) -> bool {
    while let Ok(Beginning::Interim(length)) = begin(bytes) {
        bytes = bytes.get(length..).unwrap_or_default();
    }
    let first = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let bytes = bytes.get(first..).unwrap_or_default();
    !EXPECTED.iter().any(|expected| bytes.starts_with(expected) || expected.starts_with(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_and_pages_are_stray_and_what_a_receiver_may_send_is_not() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n";
        let after_early = format!("{early}\r\n{early}HTTP/1.1 200 OK\r\n");
        for stray in ["HTTP/1.1 200 OK\r\n", "\r\nHTTP/1.0 500 No\r\n\r\n", "HTTP/1.1 2", "<html>", "x", &after_early] {
            assert!(is_stray(stray.as_bytes()), "{stray}");
        }
        let idle = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        for expected in ["", "\r\n", "\n\r\n", early, "HTTP/1.1 100 Continue\r\n\r\n\r\n", idle, "HTTP/1.0 408 ", "HTT"]
        {
            assert!(!is_stray(expected.as_bytes()), "{expected}");
        }
    }

    proptest! {
        #[test]
        fn an_answer_is_stray_however_many_empty_lines_and_interim_answers_come_first(
            parts in prop::collection::vec(prop::sample::select(vec!["\r\n", "HTTP/1.1 100 Continue\r\n\r\n"]), 0..8),
            status in (200_u16..600).prop_filter("a 408 is expected", |status| *status != 408),
            cut in 10_usize..40,
        ) {
            let before = parts.concat();
            prop_assert!(!is_stray(before.as_bytes()));
            let answer = format!("HTTP/1.1 {status} Words\r\nContent-Length: 0\r\n\r\n");
            let shown = &answer[..cut.min(answer.len())];
            // What begins as a 408 does may be one.
            prop_assume!(!"HTTP/1.1 408".starts_with(shown));
            let all = before + shown;
            prop_assert!(is_stray(all.as_bytes()));
        }
    }
}
