//! One token a subscription, asked for by one thread at a time.

use std::cell::Cell;
use std::sync::Barrier;
use std::thread;

use serde_json::json;

use super::*;
use crate::domain::options::auth::Auth;

const ID: SubscriptionId = SubscriptionId(1);
const LIFE: Duration = Duration::from_hours(1);

fn credentials(secret: &str) -> ClientCredentials {
    let given = json!({
        "type": "oauth2_client_credentials", "token_url": "https://login.example/token", "client_id": "a",
        "client_secret": secret,
    });
    match Auth::read(&given, None).unwrap() {
        Auth::OAuth2(credentials) => credentials,
        other => panic!("{other:?}"),
    }
}

fn token(text: &str, life: Option<Duration>) -> Token {
    Token::new(SecretText::new(text), life, Instant::now())
}

fn failed() -> Outcome {
    Outcome::TokenFailed(TokenFault::Unreachable("refused".to_owned()))
}

/// What there is for these credentials when the token server gives `next`; whether it was asked.
fn get(tokens: &Tokens, secret: &str, wanted: Wanted, next: Result<Token, Outcome>) -> (Result<String, Outcome>, bool) {
    let asked = Cell::new(false);
    let got = tokens.get(ID, &credentials(secret), wanted, |_| {
        asked.set(true);
        next
    });
    (got.map(|text| text.expose().to_owned()), asked.get())
}

#[test]
fn a_token_is_used_until_four_fifths_of_its_life_and_one_without_an_end_for_ever() {
    let now = Instant::now();
    let with = Token::new(SecretText::new("a"), Some(Duration::from_secs(100)), now);
    let at = |s| now + Duration::from_secs(s);
    assert!(with.is_fresh(at(79)) && !with.is_fresh(at(80)));
    assert!(with.is_valid(at(99)) && !with.is_valid(at(100)));
    let without = Token::new(SecretText::new("a"), None, now);
    assert!(without.is_fresh(at(1_000_000)));
}

#[test]
fn it_is_asked_for_once_and_again_for_a_test_and_after_a_refusal_or_with_other_credentials() {
    let tokens = Tokens::default();
    let valid = |text| get(&tokens, "s", Wanted::Valid, Ok(token(text, Some(LIFE))));
    assert_eq!(valid("one"), (Ok("one".to_owned()), true));
    assert_eq!(valid("two"), (Ok("one".to_owned()), false));
    assert_eq!(get(&tokens, "s", Wanted::New, Ok(token("three", None))), (Ok("three".to_owned()), true));
    tokens.drop_token(ID, &SecretText::new("one"));
    assert_eq!(valid("four"), (Ok("three".to_owned()), false), "another one was refused");
    tokens.drop_token(ID, &SecretText::new("three"));
    assert_eq!(valid("four"), (Ok("four".to_owned()), true));
    assert_eq!(get(&tokens, "t", Wanted::Valid, Ok(token("five", None))), (Ok("five".to_owned()), true));
    tokens.forget(ID);
    assert_eq!(get(&tokens, "t", Wanted::Valid, Err(failed())), (Err(failed()), true));
}

#[test]
fn a_token_that_is_good_for_once_is_used_once() {
    let tokens = Tokens::default();
    for text in ["one", "two"] {
        let got = get(&tokens, "s", Wanted::Valid, Ok(token(text, Some(Duration::ZERO))));
        assert_eq!(got, (Ok(text.to_owned()), true));
    }
}

#[test]
fn a_renewal_that_fails_leaves_the_token_that_is_still_valid_and_is_not_repeated_at_once() {
    let tokens = Tokens::default();
    let mut old = token("one", Some(LIFE));
    old.times = old.times.map(|(_, end)| (Instant::now(), end));
    assert!(get(&tokens, "s", Wanted::Valid, Ok(old)).0.is_ok());
    tokens.slot(ID).lock().renew_not_before = None;
    assert_eq!(get(&tokens, "s", Wanted::Valid, Err(failed())), (Ok("one".to_owned()), true));
    assert_eq!(get(&tokens, "s", Wanted::Valid, Err(failed())), (Ok("one".to_owned()), false));
    assert_eq!(get(&tokens, "s", Wanted::New, Err(failed())), (Err(failed()), true), "a test tells it");
}

#[test]
fn while_one_asks_others_wait_for_its_answer_and_ask_for_none() {
    for (answer, wanted) in [(Ok(()), Ok("one".to_owned())), (Err(failed()), Err(failed()))] {
        let (tokens, asking) = (Tokens::default(), Barrier::new(2));
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                tokens.get(ID, &credentials("s"), Wanted::Valid, |_| {
                    asking.wait();
                    // Until the other one has come as well.
                    while Arc::strong_count(&tokens.slot(ID)) < 4 {
                        thread::yield_now();
                    }
                    answer.map(|()| token("one", Some(LIFE)))
                })
            });
            asking.wait();
            let second = get(&tokens, "s", Wanted::Valid, Ok(token("two", None)));
            assert_eq!(first.join().unwrap().map(|text| text.expose().to_owned()), wanted);
            // If it came after the answer, a failure was over for it; on a machine that stands still it may give up before.
            let is_late = wanted.is_err() && second == (Ok("two".to_owned()), true);
            let gave_up = second == (Err(Outcome::TokenFailed(TokenFault::Awaited)), false);
            assert!(second == (wanted, false) || is_late || gave_up, "{second:?}");
        });
    }
}

#[test]
fn whoever_waits_for_a_request_that_hangs_gives_up_soon_and_is_told_why() {
    let (tokens, asking, ended) = (Tokens::default(), Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            tokens.get(ID, &credentials("s"), Wanted::Valid, |_| {
                asking.wait();
                ended.wait();
                Err(failed())
            })
        });
        asking.wait();
        let got = get(&tokens, "s", Wanted::Valid, Ok(token("two", None)));
        assert_eq!(got, (Err(Outcome::TokenFailed(TokenFault::Awaited)), false));
        // Whoever has other credentials meanwhile does not wait for it.
        assert_eq!(get(&tokens, "t", Wanted::Valid, Ok(token("three", None))), (Ok("three".to_owned()), true));
        ended.wait();
    });
    assert_eq!(get(&tokens, "t", Wanted::Valid, Err(failed())), (Ok("three".to_owned()), false));
}

#[test]
fn a_request_that_panics_leaves_nobody_waiting() {
    let tokens = Tokens::default();
    let asked =
        std::panic::AssertUnwindSafe(|| tokens.get(ID, &credentials("s"), Wanted::Valid, |_| panic!("of the test")));
    assert!(std::panic::catch_unwind(asked).is_err());
    assert_eq!(get(&tokens, "s", Wanted::Valid, Ok(token("one", None))), (Ok("one".to_owned()), true));
}
