//! One request and its answer over a connection, in HTTP/1.1. Runs on delivery threads. It sends a request once, and reads
//! at most 64 KiB of an answer.

use std::fmt::Write as _;

use ureq::Error;
use ureq::http::Uri;

use crate::delivery::send::answer::error::{AnswerError, HEAD_BYTES};
use crate::delivery::send::answer::head::{Beginning, Head, begin};
use crate::delivery::send::classify;
use crate::delivery::send::connection::Connection;
use crate::delivery::send::tcp::Limit;
use crate::domain::delivery::attempt::{KEPT_BODY_BYTES, RequestHeaders, Response};
use crate::domain::delivery::outcome::Outcome;

/// Maximum bytes read of an answer's body.
const READ_BODY_BYTES: usize = 64 * 1024;
/// Maximum number of interim answers before the answer.
const INTERIMS_MAX: usize = 100;
/// A body up to this length goes out together with the head.
const BODY_WITH_HEAD_BYTES: usize = 8 * 1024;

/// A request as it is sent.
#[derive(Debug)]
pub(in crate::delivery) struct Request<'a> {
    head: Vec<u8>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A `POST` with these headers, whose names are sent as they are spelled: receivers exist that look them up exactly.
    pub(in crate::delivery) fn new(uri: &Uri, headers: &RequestHeaders, body: &'a [u8]) -> Self {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let is_together = body.len() <= BODY_WITH_HEAD_BYTES;
        let mut head = String::with_capacity(1024 + if is_together { body.len() } else { 0 });
        // Writing to a string cannot fail.
        let _ = write!(head, "POST {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers.iter() {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
        let mut head = head.into_bytes();
        if is_together {
            head.extend_from_slice(body);
        }
        Self { head, body: if is_together { &[] } else { body } }
    }
}

/// What an attempt brought.
#[derive(Debug)]
pub(in crate::delivery) struct ReceivedResponse {
    pub(in crate::delivery) outcome: Outcome,
    pub(in crate::delivery) response: Option<Response>,
    pub(in crate::delivery) retry_after: Option<String>,
}

impl ReceivedResponse {
    /// What one without an answer brought.
    pub(in crate::delivery) fn of(outcome: Outcome) -> Self {
        Self { outcome, response: None, retry_after: None }
    }
}

/// Sends a request and reads the answer. The connection is kept after a whole one, and closed otherwise. An error if no
/// head of an answer came.
pub(in crate::delivery) fn exchange(
    mut connection: Connection,
    request: &Request<'_>,
    limit: &mut Limit,
) -> Result<ReceivedResponse, Error> {
    connection.send([&request.head, request.body], limit)?;
    let Head { status, headers, retry_after, mut body, keeps_open } = read_head(&mut connection, limit)?;
    let mut kept = Vec::new();
    let mut read = 0;
    let end = loop {
        if body.is_complete() {
            if keeps_open {
                connection.put_away();
            }
            break Ok(());
        }
        // What is behind that is not looked at.
        if read >= READ_BODY_BYTES {
            break Ok(());
        }
        let input = connection.input();
        if input.is_empty() {
            match connection.receive(limit) {
                Ok(true) => continue,
                Err(error) if !classify::is_end(&error) => break Err(error),
                _ if body.may_end() => break Ok(()),
                Ok(false) => break Err(Error::Io(std::io::ErrorKind::UnexpectedEof.into())),
                Err(error) => break Err(error),
            }
        }
        match body.take(input) {
            Ok((used, content)) => {
                let wanted = content.len().min(KEPT_BODY_BYTES.saturating_sub(kept.len()));
                kept.extend_from_slice(content.get(..wanted).unwrap_or_default());
                connection.consume(used);
                read += used;
            }
            Err(error) => break Err(error.into()),
        }
    };
    let outcome = match end {
        Err(error) if (200..300).contains(&status) => Outcome::Incomplete(status, classify::cut(&error)),
        // An error status counts as it is, however its body ends.
        _ => Outcome::of_status(status),
    };
    Ok(ReceivedResponse { outcome, response: Some(Response { headers, body: kept }), retry_after })
}

fn read_head(connection: &mut Connection, limit: &mut Limit) -> Result<Head, Error> {
    let mut interims = 0;
    loop {
        let input = connection.input();
        let (is_full, beginning) = (input.len() >= HEAD_BYTES, begin(input)?);
        match beginning {
            Beginning::Answer(length, head) => {
                connection.consume(length);
                return Ok(head);
            }
            Beginning::Interim(length) => {
                connection.consume(length);
                interims += 1;
                if interims > INTERIMS_MAX {
                    return Err(AnswerError::TooLong.into());
                }
            }
            Beginning::Part if is_full => return Err(AnswerError::TooLong.into()),
            Beginning::Part => {
                if !connection.receive(limit)? {
                    return Err(Error::Io(std::io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::attempt::{Signed, VERSION};
    use crate::domain::event::event_type::EventType;
    use crate::domain::signing::Signatures;
    use crate::domain::{DeliveryId, EventId, SubscriptionId};

    #[test]
    fn a_request_goes_to_the_path_and_host_of_its_url() {
        let delivery = DeliveryId { event: EventId(1), subscription: SubscriptionId(2) };
        let signed = Signed { timestamp_s: 3, signatures: Signatures::NONE };
        let headers = RequestHeaders::of(delivery, EventType::ClockIn, 4, VERSION, &signed);
        for (url, begin) in [
            ("http://crm.example/", "POST / HTTP/1.1\r\nHost: crm.example\r\nContent-Type: application/json\r\n"),
            ("https://crm.example:8443/a?b=c", "POST /a?b=c HTTP/1.1\r\nHost: crm.example:8443\r\n"),
            ("http://[::1]:80/a", "POST /a HTTP/1.1\r\nHost: [::1]:80\r\n"),
        ] {
            for length in [0, BODY_WITH_HEAD_BYTES, BODY_WITH_HEAD_BYTES + 1] {
                let body = vec![b'x'; length];
                let request = Request::new(&url.parse().unwrap(), &headers, &body);
                let all = String::from_utf8([&request.head[..], request.body].concat()).unwrap();
                assert!(all.starts_with(begin), "{all}");
                let (head, sent) = all.split_once("\r\n\r\n").unwrap();
                assert!(head.ends_with(&format!("Content-Length: {length}")) && sent.len() == length, "{head}");
            }
        }
    }
}
