//! What is stored of a delivery is read again, and what attempts have in common is stored once.

use proptest::prelude::*;

use super::*;

fn attempt(number: u32, version: &str, response: Option<Response>) -> Attempt {
    Attempt {
        number,
        started_at: Timestamp::from_ms(u64::from(number) * 1000),
        duration_ms: 7,
        url: format!("https://crm.example/{}", number / 3).into(),
        version: version.to_owned().into(),
        signed: signed(5, [1; 32], [2; 32]),
        outcome: Outcome::HttpError(500),
        response,
        request: None,
    }
}

fn delivery_with(attempts: Vec<Attempt>) -> Delivery {
    Delivery {
        event_type: EventType::ClockIn,
        state: DeliveryState::Pending { due: Timestamp::from_ms(9) },
        uncounted_attempts: 0,
        attempt_count: 3,
        attempts,
    }
}

/// What an endpoint that is down answers: the same page each time, at another time of the day.
fn page(time: usize) -> Response {
    let headers = [("date", time.to_string()), ("content-type", "text/html".to_owned()), ("server", "x".repeat(900))];
    Response { headers: headers.map(|(name, value)| (name.to_owned(), value)).into(), body: vec![b'<'; 1024] }
}

#[test]
fn what_attempts_have_in_common_is_stored_once() {
    let stored = |count: usize| {
        let attempts = (1..=count).map(|number| attempt(u32::try_from(number).unwrap(), "0.1.0", Some(page(number))));
        encode(&delivery_with(attempts.collect())).unwrap().len()
    };
    assert!(stored(1) > 1900, "{}", stored(1));
    assert!(stored(10) < stored(1) + 9 * 150, "{} and {}", stored(1), stored(10));
}

#[test]
fn an_attempt_keeps_the_version_that_made_it() {
    let attempts = vec![attempt(1, "0.9.1", None), attempt(2, "0.9.1", None), attempt(3, "1.0.0", None)];
    let read = decode(&encode(&delivery_with(attempts)).unwrap(), EventType::ClockIn).unwrap();
    let versions: Vec<_> = read.attempts.iter().map(|attempt| attempt.version.as_ref()).collect();
    assert_eq!(versions, ["0.9.1", "0.9.1", "1.0.0"]);
}

#[test]
fn a_row_that_repeats_everything_is_still_read() {
    let attempts = vec![attempt(1, WITH_REPETITIONS_BY, None), attempt(2, WITH_REPETITIONS_BY, Some(page(1)))];
    let wanted = delivery_with(attempts);
    let rows = wanted.attempts.iter().map(|attempt| AttemptV1 {
        number: attempt.number,
        started_ms: attempt.started_at.as_ms(),
        duration_ms: attempt.duration_ms,
        url: Cow::Borrowed(&attempt.url),
        timestamp_s: attempt.signed.timestamp_s,
        tempclock: attempt.signed.signatures.tempclock,
        standard: attempt.signed.signatures.standard,
        outcome: (&attempt.outcome).into(),
        response: attempt.response.as_ref().map(|Response { headers, body }| (headers.into(), body.into())),
    });
    let (event_type, attempts) = (wanted.event_type.number().unwrap(), rows.collect());
    let row = DeliveryRow { event_type, state: 0, time_ms: 9, uncounted_attempts: 0, attempt_count: 3, attempts };
    let bytes = codec::encode(WITH_REPETITIONS, &row).unwrap();
    assert_eq!(decode(&bytes, EventType::ClockIn).unwrap(), wanted);
    assert_eq!(decode_state(&bytes).unwrap(), wanted.state);
    assert_eq!(last_response_code(&bytes, EventType::ClockIn).unwrap(), Some(500));
}

#[test]
fn every_state_is_read_as_it_was_stored_with_its_name() {
    let at = Timestamp::from_ms(9);
    let settled = [
        DeliveryState::Delivered { at },
        DeliveryState::Exhausted { at },
        DeliveryState::Expired { at },
        DeliveryState::Cancelled { at },
    ];
    for state in [DeliveryState::Pending { due: at }].into_iter().chain(settled) {
        let delivery = Delivery { state, ..delivery_with(Vec::new()) };
        let bytes = encode(&delivery).unwrap();
        assert_eq!(decode(&bytes, EventType::ClockIn).unwrap(), delivery);
        assert_eq!(decode_state(&bytes).unwrap(), state);
        assert_eq!(state.settled_at().is_none(), state.is_pending());
    }
}

#[test]
fn a_row_that_refers_to_what_is_not_there_is_refused() {
    let response: ResponseV2<'_> = (vec![None], None);
    assert!(repeated(response, &Response::default()).is_err());
}

proptest! {
    #[test]
    fn a_delivery_is_read_as_it_was_stored(
        answers in prop::collection::vec(
            prop::option::of((prop::collection::vec(("[ab]", "[ab]{0,2}"), 0..4), prop::collection::vec(0..2_u8, 0..2))),
            0..8,
        ),
        versions in prop::collection::vec("[12]", 8),
    ) {
        let attempts = (1..).zip(answers).zip(&versions).map(|((number, answer), version)| {
            let header = ("webhook-id".into(), format!("evt_{}", number / 4).into());
            let sent = SentRequest { headers: vec![header], body_sha256: [3; 32] };
            let response = answer.map(|(headers, body)| Response { headers, body });
            Attempt { request: (number % 2 == 0).then(|| sent.into()), ..attempt(number, version, response) }
        });
        let delivery = delivery_with(attempts.collect());
        let bytes = encode(&delivery).unwrap();
        prop_assert_eq!(decode_state(&bytes).unwrap(), delivery.state);
        let row: DeliveryRow<AttemptV3<'_>> = codec::decode(VERSION, &bytes).unwrap();
        prop_assert_eq!(&codec::encode(VERSION, &row).unwrap(), &bytes, "its parts are the row");
        let last = delivery.attempts.last().and_then(|attempt| attempt.outcome.response_code());
        prop_assert_eq!(last_response_code(&bytes, EventType::ClockIn).unwrap(), last);
        prop_assert_eq!(decode(&bytes, EventType::ClockIn).unwrap(), delivery);
    }
}
