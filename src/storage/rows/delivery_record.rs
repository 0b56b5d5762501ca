//! The stored form of a delivery, in the version that is written and the two that are still read. Pure; any thread.
//!
//! An endpoint that is down answers each attempt alike, with a page perhaps, and a row is written anew after each. So
//! what an attempt has in common with the one before it is written once in a row.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::domain::delivery::attempt::{Attempt, Response, Signed};
use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::request::{SentHeader, SentRequest};
use crate::domain::delivery::{Delivery, DeliveryState, KEPT_ATTEMPTS};
use crate::domain::event::event_type::EventType;
use crate::domain::signing::Signatures;
use crate::storage::error::StorageError;
use crate::storage::rows::codec;
use crate::storage::rows::outcome_record::OutcomeRow;
use crate::storage::rows::record::damaged;

/// Repeats everything in each attempt, and is only read.
const WITH_REPETITIONS: u8 = 1;
/// What wrote such rows: there was no other version of this program.
const WITH_REPETITIONS_BY: &str = "0.1.0";
/// Has no requests that options of a subscription have shaped, and is only read.
const WITHOUT_REQUESTS: u8 = 2;
const VERSION: u8 = 3;

/// In the place of the type's number: the event's row tells it. Earlier formats had the number.
const TYPE_OF_ITS_EVENT: u8 = u8::MAX;

// Borrows when encoding, since every delivery is encoded on the writer thread.
#[derive(Serialize, Deserialize)]
struct DeliveryRow<A> {
    event_type: u8,
    state: u8,
    time_ms: u64,
    uncounted_attempts: u32,
    attempt_count: u32,
    attempts: Vec<A>,
}

#[derive(Serialize, Deserialize)]
struct AttemptV1<'a> {
    number: u32,
    started_ms: u64,
    duration_ms: u32,
    url: Cow<'a, str>,
    timestamp_s: u64,
    tempclock: [u8; 32],
    standard: [u8; 32],
    outcome: OutcomeRow<'a>,
    response: Option<ResponseV1<'a>>,
}

/// Headers and the beginning of the body.
type ResponseV1<'a> = (Cow<'a, [(String, String)]>, Cow<'a, [u8]>);

#[derive(Serialize, Deserialize)]
struct AttemptV2<'a> {
    number: u32,
    started_ms: u64,
    duration_ms: u32,
    url: Repeatable<'a, str>,
    version: Repeatable<'a, str>,
    timestamp_s: u64,
    tempclock: [u8; 32],
    standard: [u8; 32],
    outcome: OutcomeRow<'a>,
    response: Option<ResponseV2<'a>>,
}

#[derive(Serialize, Deserialize)]
struct AttemptV3<'a> {
    attempt: AttemptV2<'a>,
    request: Option<RequestV3<'a>>,
}

/// The first fields of an [`AttemptV2`], and so of an [`AttemptV3`], up to how it ended.
#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields before the outcome have to be passed over")]
struct AttemptFront<'a> {
    number: u32,
    started_ms: u64,
    duration_ms: u32,
    #[serde(borrow)]
    url: Option<&'a str>,
    #[serde(borrow)]
    version: Option<&'a str>,
    timestamp_s: u64,
    tempclock: [u8; 32],
    standard: [u8; 32],
    outcome: OutcomeRow<'a>,
}

/// Headers, where one is the same as the one in its place in the request before, and the digest of the body.
type RequestV3<'a> = (Vec<Repeatable<'a, SentHeader>>, [u8; 32]);

/// As [`ResponseV1`], where a header is the same as the one in its place in the answer before.
type ResponseV2<'a> = (Vec<Repeatable<'a, (String, String)>>, Repeatable<'a, [u8]>);

/// A value; none where it is the same as the one before in the row. Before the first is an empty one.
type Repeatable<'a, T> = Option<Cow<'a, T>>;

fn unless_same<'a, T: ToOwned + PartialEq + ?Sized>(value: &'a T, before: Option<&T>) -> Repeatable<'a, T> {
    (before != Some(value)).then_some(Cow::Borrowed(value))
}

/// The stored form of a delivery.
pub fn encode(delivery: &Delivery) -> Result<Vec<u8>, StorageError> {
    let (state, time): (u8, Timestamp) = match delivery.state {
        DeliveryState::Pending { due } => (0, due),
        DeliveryState::Delivered { at } => (1, at),
        DeliveryState::Exhausted { at } => (2, at),
        DeliveryState::Expired { at } => (3, at),
        DeliveryState::Cancelled { at } => (4, at),
    };
    let counts = (delivery.uncounted_attempts, delivery.attempt_count, delivery.attempts.len());
    let mut bytes = codec::encode(VERSION, &(TYPE_OF_ITS_EVENT, state, time.as_ms(), counts))?;
    let (mut url, mut version, mut answer) = ("", "", &Response::default());
    let mut request = &SentRequest::default();
    for attempt in &delivery.attempts {
        let url = unless_same(&*attempt.url, Some(std::mem::replace(&mut url, &attempt.url)));
        let version = unless_same(&*attempt.version, Some(std::mem::replace(&mut version, &attempt.version)));
        let Signed { timestamp_s, signatures } = attempt.signed;
        let started_ms = attempt.started_at.as_ms();
        codec::append(&(attempt.number, started_ms, attempt.duration_ms, url, version, timestamp_s), &mut bytes)?;
        // An array of bytes is stored as it is; serde would pass them on one by one.
        bytes.extend_from_slice(&signatures.tempclock);
        bytes.extend_from_slice(&signatures.standard);
        let response: Option<ResponseV2<'_>> = attempt.response.as_ref().map(|response| {
            let before = std::mem::replace(&mut answer, response);
            let headers = response.headers.iter().enumerate();
            let headers = headers.map(|(place, header)| unless_same(header, before.headers.get(place))).collect();
            (headers, unless_same(response.body.as_slice(), Some(before.body.as_slice())))
        });
        let request: Option<RequestV3<'_>> = attempt.request.as_deref().map(|sent| {
            let before = std::mem::replace(&mut request, sent);
            let headers = sent.headers.iter().enumerate();
            let headers = headers.map(|(place, header)| unless_same(header, before.headers.get(place))).collect();
            (headers, sent.body_sha256)
        });
        codec::append(&(OutcomeRow::from(&attempt.outcome), response, request), &mut bytes)?;
    }
    Ok(bytes)
}

/// The version of a row; one that is not known is refused as not the present one.
fn version_of(bytes: &[u8]) -> u8 {
    let known = bytes.first().copied().filter(|version| [WITH_REPETITIONS, WITHOUT_REQUESTS].contains(version));
    known.unwrap_or(VERSION)
}

/// Decodes the state alone, which is cheap.
pub fn decode_state(bytes: &[u8]) -> Result<DeliveryState, StorageError> {
    // The first three fields of the row in every version.
    let ((_, state, time_ms), _): ((u8, u8, u64), &[u8]) = codec::decode_front(version_of(bytes), bytes)?;
    state_of(state, time_ms)
}

fn state_of(number: u8, time_ms: u64) -> Result<DeliveryState, StorageError> {
    let at = Timestamp::from_ms(time_ms);
    Ok(match number {
        0 => DeliveryState::Pending { due: at },
        1 => DeliveryState::Delivered { at },
        2 => DeliveryState::Exhausted { at },
        3 => DeliveryState::Expired { at },
        4 => DeliveryState::Cancelled { at },
        _ => return Err(damaged("delivery")),
    })
}

/// Reads the stored form of a delivery of an event of that type.
pub fn decode(bytes: &[u8], event_type: EventType) -> Result<Delivery, StorageError> {
    match version_of(bytes) {
        WITH_REPETITIONS => {
            let row: DeliveryRow<AttemptV1<'_>> = codec::decode(WITH_REPETITIONS, bytes)?;
            delivery(event_type, row, |attempts| Ok(attempts.into_iter().map(attempt_v1).collect()))
        }
        WITHOUT_REQUESTS => {
            let row: DeliveryRow<AttemptV2<'_>> = codec::decode(WITHOUT_REQUESTS, bytes)?;
            let without = |attempt| AttemptV3 { attempt, request: None };
            delivery(event_type, row, |attempts| attempts_v3(attempts.into_iter().map(without).collect()))
        }
        _ => delivery(event_type, codec::decode(VERSION, bytes)?, attempts_v3),
    }
}

/// The response code of the last attempt that is kept, if it came to a response: of most deliveries, which have one attempt,
/// without decoding the rest.
pub fn last_response_code(bytes: &[u8], event_type: EventType) -> Result<Option<u16>, StorageError> {
    let version = version_of(bytes);
    // The fields of the row before its attempts, and how many those are.
    let (_, rest): ((u8, u8, u64, u32, u32), &[u8]) = codec::decode_front(version, bytes)?;
    let (attempts, rest): (u64, &[u8]) = codec::decode_next(rest)?;
    if attempts == 1 && version != WITH_REPETITIONS {
        let (attempt, _): (AttemptFront<'_>, &[u8]) = codec::decode_next(rest)?;
        return Ok(Outcome::from(attempt.outcome).response_code());
    }
    Ok(decode(bytes, event_type)?.attempts.last().and_then(|attempt| attempt.outcome.response_code()))
}

fn delivery<A>(
    event_type: EventType,
    row: DeliveryRow<A>,
    attempts: impl FnOnce(Vec<A>) -> Result<Vec<Attempt>, StorageError>,
) -> Result<Delivery, StorageError> {
    Ok(Delivery {
        event_type,
        state: state_of(row.state, row.time_ms)?,
        uncounted_attempts: row.uncounted_attempts,
        attempt_count: row.attempt_count,
        attempts: attempts(row.attempts)?,
    })
}

fn attempt_v1(row: AttemptV1<'_>) -> Attempt {
    let response =
        row.response.map(|(headers, body)| Response { headers: headers.into_owned(), body: body.into_owned() });
    Attempt {
        number: row.number,
        started_at: Timestamp::from_ms(row.started_ms),
        duration_ms: row.duration_ms,
        url: row.url.into(),
        version: WITH_REPETITIONS_BY.into(),
        signed: signed(row.timestamp_s, row.tempclock, row.standard),
        outcome: row.outcome.into(),
        response,
        request: None,
    }
}

fn attempts_v3(rows: Vec<AttemptV3<'_>>) -> Result<Vec<Attempt>, StorageError> {
    // Whatever a damaged row says, it does not become much larger than it is.
    if rows.len() > KEPT_ATTEMPTS {
        return Err(damaged("delivery"));
    }
    let mut attempts: Vec<Attempt> = Vec::with_capacity(rows.len());
    let (mut answer, mut sent) = (Response::default(), SentRequest::default());
    for AttemptV3 { attempt: row, request } in rows {
        let before = attempts.last();
        let response = row.response.map(|row| repeated(row, &answer)).transpose()?;
        if let Some(response) = &response {
            answer.clone_from(response);
        }
        let request = request.map(|request| repeated_request(request, &sent)).transpose()?;
        if let Some(request) = &request {
            sent.clone_from(request);
        }
        attempts.push(Attempt {
            number: row.number,
            started_at: Timestamp::from_ms(row.started_ms),
            duration_ms: row.duration_ms,
            url: row.url.map_or_else(|| before.map_or("".into(), |before| before.url.clone()), Into::into),
            version: row.version.map_or_else(
                || before.map_or("".into(), |before| before.version.clone()),
                |version| version.into_owned().into(),
            ),
            signed: signed(row.timestamp_s, row.tempclock, row.standard),
            outcome: row.outcome.into(),
            response,
            request: request.map(Box::new),
        });
    }
    Ok(attempts)
}

fn repeated((headers, body): ResponseV2<'_>, before: &Response) -> Result<Response, StorageError> {
    let body = body.map_or_else(|| before.body.clone(), Cow::into_owned);
    Ok(Response { headers: repeated_headers(headers, &before.headers)?, body })
}

fn repeated_request((headers, body_sha256): RequestV3<'_>, before: &SentRequest) -> Result<SentRequest, StorageError> {
    Ok(SentRequest { headers: repeated_headers(headers, &before.headers)?, body_sha256 })
}

fn repeated_headers<H: Clone>(headers: Vec<Repeatable<'_, H>>, before: &[H]) -> Result<Vec<H>, StorageError> {
    let headers = headers.into_iter().enumerate().map(|(place, header)| match header {
        Some(header) => Ok(header.into_owned()),
        None => before.get(place).cloned().ok_or_else(|| damaged("delivery")),
    });
    headers.collect()
}

fn signed(timestamp_s: u64, tempclock: [u8; 32], standard: [u8; 32]) -> Signed {
    Signed { timestamp_s, signatures: Signatures { tempclock, standard } }
}

#[cfg(test)]
mod tests;
