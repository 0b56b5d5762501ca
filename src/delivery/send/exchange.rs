//! One request and its answer over a connection, in HTTP/1.1. Runs on delivery threads. It sends a request once, and reads
//! at most 64 KiB of an answer, which may come before all of the request is sent.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::Duration;

use ureq::Error;
use ureq::http::Uri;

use crate::delivery::send::answer::head::Head;
use crate::delivery::send::answer::incoming::Incoming;
use crate::delivery::send::classify;
use crate::delivery::send::connection::Connection;
use crate::delivery::send::limit::Limit;
use crate::domain::delivery::attempt::Response;
use crate::domain::delivery::outcome::Outcome;

/// A receiver that has accepted an event before all of it came, and has taken nothing for so long, reads no more.
const READS_ON_WITHIN: Duration = Duration::from_secs(2);
/// Room for a usual head. What is longer than 1,032 bytes the allocator of glibc keeps for no thread, and each takes it a
/// microsecond.
const HEAD_BYTES: usize = 1024;

/// A request as it is sent.
#[derive(Debug)]
pub(in crate::delivery) struct Request<'a> {
    head: Vec<u8>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A `POST` with these headers, whose names are sent as they are spelled: receivers exist that look them up exactly.
    pub(in crate::delivery) fn new<'h>(
        uri: &Uri,
        headers: impl Iterator<Item = (&'h str, &'h str)>,
        body: &'a [u8],
    ) -> Self {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let mut head = String::with_capacity(HEAD_BYTES);
        // Writing to a string cannot fail.
        let _ = write!(head, "POST {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
        Self { head: head.into_bytes(), body }
    }

    /// The same as a proxy takes it, over plain http: with the whole URL, and with the proxy's login if it has asked for it.
    pub(in crate::delivery) fn through_proxy(&self, uri: &Uri, login: Option<&str>) -> Request<'a> {
        let line = self.head.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut first = format!("POST {uri} HTTP/1.1\r\n");
        if let Some(login) = login {
            // Writing to a string cannot fail.
            let _ = write!(first, "Proxy-Authorization: {login}\r\n");
        }
        let head = [first.as_bytes(), self.head.get(line..).unwrap_or_default()].concat();
        Request { head, body: self.body }
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

/// What came of an answer.
#[derive(Debug)]
pub(in crate::delivery) struct Received {
    pub(in crate::delivery) head: Head,
    /// The first bytes of its body.
    pub(in crate::delivery) body: Vec<u8>,
    /// Why reading it ended early, if it did.
    pub(in crate::delivery) cut: Option<Error>,
}

impl From<Received> for ReceivedResponse {
    fn from(Received { head: Head { status, headers, retry_after, .. }, body, cut }: Received) -> Self {
        let outcome = match &cut {
            Some(error) if (200..300).contains(&status) => Outcome::Incomplete(status, classify::cut(error)),
            // An error status counts as it is, however its body ends.
            _ => Outcome::of_status(status),
        };
        Self { outcome, response: Some(Response { headers, body }), retry_after }
    }
}

/// Sends a request and reads the answer, of whose body so many bytes are kept. The connection is kept after a whole one, and
/// closed otherwise. An error if no head of an answer came.
pub(in crate::delivery) fn exchange(
    mut connection: Connection,
    request: &Request<'_>,
    most_kept: usize,
    limit: &mut Limit,
) -> Result<Received, Error> {
    let mut answer = Incoming::keeping(most_kept);
    let end = converse(&mut connection, request, &mut answer, limit);
    let is_complete = answer.is_complete();
    let Some((head, body)) = answer.into_parts() else {
        return Err(end.err().unwrap_or_else(|| Error::Io(ErrorKind::UnexpectedEof.into())));
    };
    if is_complete && head.keeps_open && matches!(end, Ok(Sent::All)) {
        connection.put_away(head.closed_after);
    }
    Ok(Received { head, body, cut: end.err() })
}

/// How much of a request was sent when its answer was over.
enum Sent {
    All,
    Part,
}

/// Sends the request, and reads what comes meanwhile and then, until the answer is over.
fn converse(
    connection: &mut Connection,
    request: &Request<'_>,
    answer: &mut Incoming,
    limit: &mut Limit,
) -> Result<Sent, Error> {
    connection.begin(limit)?;
    let mut unsent = [&request.head[..], request.body];
    while !connection.send(&mut unsent)? {
        let waited = connection.wait(limit);
        if take_in(connection, answer, waited)? {
            let is_success = answer.status().is_some_and(|status| (200..300).contains(&status));
            // With an error the receiver wants no more of it.
            let is_sent = is_success && send_rest(connection, unsent, limit);
            return Ok(if is_sent { Sent::All } else { Sent::Part });
        }
    }
    connection.await_answer(limit);
    loop {
        let received = connection.receive(limit);
        if take_in(connection, answer, received)? {
            return Ok(Sent::All);
        }
    }
}

/// Reads what has come, and says whether the answer is over. `received`: whether the connection goes on.
fn take_in(connection: &mut Connection, answer: &mut Incoming, received: Result<bool, Error>) -> Result<bool, Error> {
    match received {
        Ok(true) => {}
        Err(error) if !classify::is_end(&error) => return Err(error),
        _ if answer.may_end() => return Ok(true),
        Ok(false) => return Err(Error::Io(ErrorKind::UnexpectedEof.into())),
        Err(error) => return Err(error),
    }
    while !answer.is_over() && !connection.input().is_empty() {
        let used = answer.take(connection.input())?;
        if used == 0 {
            break;
        }
        connection.consume(used);
    }
    Ok(answer.is_over())
}

/// Sends the rest to a receiver that has accepted the event already, and may read on: what it does with the rest is its
/// own business, but it has to get it. Returns whether it took all.
fn send_rest(connection: &mut Connection, mut unsent: [&[u8]; 2], limit: &mut Limit) -> bool {
    loop {
        match connection.send(&mut unsent) {
            Ok(true) => return unsent.iter().all(|part| part.is_empty()),
            Ok(false) => {}
            Err(_) => return false,
        }
        let left = match limit.left() {
            Ok(left) => left.map_or(READS_ON_WITHIN, |left| left.min(READS_ON_WITHIN)),
            Err(_) => return false,
        };
        let waited = connection.wait(&mut Limit::within(left));
        if !matches!(waited, Ok(true)) || !connection.input().is_empty() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::attempt::VERSION;
    use crate::domain::delivery::headers::{RequestHeaders, Signed};
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
            for length in [0, 1, 10_000] {
                let body = vec![b'x'; length];
                let request = Request::new(&url.parse().unwrap(), headers.iter(), &body);
                let all = String::from_utf8([&request.head[..], request.body].concat()).unwrap();
                assert!(all.starts_with(begin), "{all}");
                let (head, sent) = all.split_once("\r\n\r\n").unwrap();
                assert!(head.ends_with(&format!("Content-Length: {length}")) && sent.len() == length, "{head}");
                let through = request.through_proxy(&url.parse().unwrap(), Some("Basic x"));
                let through = String::from_utf8([&through.head[..], through.body].concat()).unwrap();
                let (_, rest) = all.split_once("\r\n").unwrap();
                assert_eq!(through, format!("POST {url} HTTP/1.1\r\nProxy-Authorization: Basic x\r\n{rest}"));
            }
        }
    }
}
