//! Reads the answer of a token server. Pure; runs on delivery threads. Of an answer that gives no token, only its status and
//! error code are kept.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::delivery::token_fault::TokenFault;
use crate::domain::secret_text::SecretText;

/// A longer token fits into no header that a usual receiver accepts.
pub(super) const TOKEN_BYTES: usize = 8 * 1024;
/// The longest error code that is kept.
const CODE_BYTES: usize = 64;
/// A token is not kept for longer, whatever is said of it.
const LONGEST_LIFE: Duration = Duration::from_hours(366 * 24);

/// A token that was given.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::delivery) struct Given {
    pub(super) token: SecretText,
    /// How long it can be used, if that was said.
    pub(super) life: Option<Duration>,
}

#[derive(Deserialize)]
struct Fields {
    access_token: Option<Value>,
    token_type: Option<Value>,
    expires_in: Option<Value>,
    error: Option<Value>,
}

/// The token in a whole answer.
pub(super) fn read(status: u16, body: &[u8]) -> Result<Given, TokenFault> {
    let fields: Option<Fields> = serde_json::from_slice(body).ok();
    let code = fields.as_ref().and_then(|fields| fields.error.as_ref()).and_then(error_code);
    // Some give errors with a 200, and none gives a token with another status than that.
    if code.is_some() || !(200..300).contains(&status) {
        return Err(TokenFault::Refused(status, code));
    }
    let unusable = |text: &str| Err(TokenFault::Unusable(text.to_owned()));
    let Some(Fields { access_token: Some(Value::String(token)), token_type, expires_in, .. }) = fields else {
        return unusable("the answer of the token URL has no access_token in JSON");
    };
    if token_type.as_ref().is_some_and(|kind| kind.as_str().is_none_or(|kind| !kind.eq_ignore_ascii_case("bearer"))) {
        return unusable("the token server returned a token of a type other than Bearer");
    }
    if token.len() > TOKEN_BYTES {
        return unusable("the token server returned a token that is longer than 8 KiB");
    }
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return unusable("the token server returned a token with invalid characters");
    }
    Ok(Given { token: SecretText::new(&token), life: expires_in.as_ref().and_then(seconds) })
}

/// A code as the standard has it; another text may hold anything.
fn error_code(error: &Value) -> Option<String> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let code = error.as_str().filter(|code| (1..=CODE_BYTES).contains(&code.len()))?;
    code.bytes().all(is_letter).then(|| code.to_owned())
}

/// A number of seconds, also as text. What is no such number is as good as none; one below zero is zero.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_f64()?,
    };
    Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: u16, body: &Value) -> Result<Given, TokenFault> {
        read(status, body.to_string().as_bytes())
    }

    #[test]
    fn the_life_of_a_token_is_read_however_it_is_written() {
        for (written, wanted) in [
            (json!(3600), Some(3600)),
            (json!("3600"), Some(3600)),
            (json!(59.9), Some(59)),
            (json!(0), Some(0)),
            (json!(-5), Some(0)),
            (json!(1e300), Some(LONGEST_LIFE.as_secs())),
            (json!("soon"), None),
            (json!(null), None),
            (json!([1]), None),
        ] {
            let given =
                of(200, &json!({"access_token": "abc", "token_type": "bearer", "expires_in": written})).unwrap();
            assert_eq!(given.life.map(|life| life.as_secs()), wanted, "{written}");
            assert_eq!(given.token.expose(), "abc");
            assert!(!format!("{given:?}").contains("abc"));
        }
        assert_eq!(of(200, &json!({"access_token": "abc"})).unwrap().life, None);
    }

    #[test]
    fn an_error_counts_with_any_status_and_only_its_code_is_kept() {
        for status in [200, 400, 401] {
            let refused = of(status, &json!({"error": "invalid_client", "error_description": "s3cret"})).unwrap_err();
            assert_eq!(refused, TokenFault::Refused(status, Some("invalid_client".to_owned())));
        }
        for code in [json!("a b"), json!("a; b"), json!("x".repeat(65)), json!(""), json!(5), json!("\u{1b}")] {
            assert_eq!(of(400, &json!({"error": code})).unwrap_err(), TokenFault::Refused(400, None), "{code}");
        }
        assert_eq!(read(404, b"<html>").unwrap_err(), TokenFault::Refused(404, None));
    }

    #[test]
    fn what_is_no_token_never_becomes_a_header() {
        for token in [json!("a\r\nX: y"), json!("a b"), json!(""), json!(5), json!("\u{e9}"), json!("x".repeat(8193))] {
            let refused = of(200, &json!({"access_token": token})).unwrap_err();
            assert!(matches!(refused, TokenFault::Unusable(_)), "{refused:?}");
        }
        assert!(of(200, &json!({"access_token": "x".repeat(8192)})).is_ok());
        assert!(of(200, &json!({"access_token": "abc", "token_type": "mac"})).is_err());
        for body in ["", "[]", "null", "\"abc\"", "access_token=abc", "{\"access_token\": \"abc\""] {
            assert!(read(200, body.as_bytes()).is_err(), "{body}");
        }
    }
}
