//! The option `auth`: with what the server signs in at the receiver. Pure; any thread.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::domain::FieldError;
use crate::domain::options::headers::NOTHING_STORED;
use crate::domain::secret_text::SecretText;

/// The receiver's own login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// User name and password (RFC 7617).
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: SecretText,
    },
    /// A fixed token (RFC 6750).
    Bearer {
        /// The token.
        token: SecretText,
    },
}

const TYPES: &str = "must be \"basic\" or \"bearer\"";
/// The most characters of a user name.
const USERNAME_CHARS: usize = 256;
/// The most bytes of a password.
const PASSWORD_BYTES: usize = 1024;
/// The most bytes of a token.
const TOKEN_BYTES: usize = 4096;

impl Auth {
    /// The value of `Authorization`.
    #[must_use]
    pub fn header(&self) -> SecretText {
        match self {
            Self::Basic { username, password } => {
                let login = STANDARD.encode(format!("{username}:{}", password.expose()));
                SecretText::new(&format!("Basic {login}"))
            }
            Self::Bearer { token } => SecretText::new(&format!("Bearer {}", token.expose())),
        }
    }

    /// The scheme, which is no secret.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "Basic",
            Self::Bearer { .. } => "Bearer",
        }
    }

    /// The option as JSON, with the secrets or with what stands for them.
    #[must_use]
    pub fn to_json(&self, with_secrets: bool) -> Value {
        let shown = |secret: &SecretText| {
            let text = if with_secrets { secret.expose() } else { SecretText::SHOWN };
            text.to_owned()
        };
        match self {
            Self::Basic { username, password } => {
                json!({"type": "basic", "username": username, "password": shown(password)})
            }
            Self::Bearer { token } => json!({"type": "bearer", "token": shown(token)}),
        }
    }

    /// Reads the option; `"set"` stands for the secret `before`.
    pub fn read(value: &Value, before: Option<&Self>) -> Result<Self, Vec<FieldError>> {
        let Some(given) = value.as_object() else {
            let message = "must be an object such as {\"type\": \"bearer\", \"token\": \"…\"}, or null for none";
            return Err(vec![FieldError::new("auth", message)]);
        };
        let mut fields = Fields { given, errors: Vec::new() };
        let auth = match given.get("type").and_then(Value::as_str) {
            Some("basic") => {
                fields.refuse_others(&["type", "username", "password"]);
                let username = fields.text(
                    "username",
                    is_username,
                    &format!("must be up to {USERNAME_CHARS} characters, without colons and control characters"),
                );
                let stored = match before {
                    Some(Self::Basic { password, .. }) => Some(password),
                    _ => None,
                };
                let password = fields.secret(
                    "password",
                    stored,
                    is_password,
                    &format!("must be up to {PASSWORD_BYTES} bytes, without control characters"),
                );
                username.zip(password).map(|(username, password)| Self::Basic { username, password })
            }
            Some("bearer") => {
                fields.refuse_others(&["type", "token"]);
                let stored = match before {
                    Some(Self::Bearer { token }) => Some(token),
                    _ => None,
                };
                let wanted = format!("must be 1 to {TOKEN_BYTES} visible ASCII characters, without spaces");
                fields.secret("token", stored, is_token, &wanted).map(|token| Self::Bearer { token })
            }
            _ => {
                fields.errors.push(FieldError::new("auth.type", TYPES));
                None
            }
        };
        match auth {
            Some(auth) if fields.errors.is_empty() => Ok(auth),
            _ => Err(fields.errors),
        }
    }
}

struct Fields<'a> {
    given: &'a Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields<'_> {
    fn refuse_others(&mut self, known: &[&str]) {
        for name in self.given.keys().filter(|name| !known.contains(&name.as_str())) {
            let FieldError { field, message } = FieldError::unknown(name, known);
            self.errors.push(FieldError::new(format!("auth.{field}"), message));
        }
    }

    fn text(&mut self, name: &str, is_right: fn(&str) -> bool, wanted: &str) -> Option<String> {
        let text = self.given.get(name).and_then(Value::as_str).filter(|text| is_right(text));
        if text.is_none() {
            let missing = if self.given.contains_key(name) { "" } else { "is missing; " };
            self.errors.push(FieldError::new(format!("auth.{name}"), format!("{missing}{wanted}")));
        }
        text.map(str::to_owned)
    }

    fn secret(
        &mut self,
        name: &str,
        stored: Option<&SecretText>,
        is_right: fn(&str) -> bool,
        wanted: &str,
    ) -> Option<SecretText> {
        if self.given.get(name).and_then(Value::as_str) == Some(SecretText::SHOWN) {
            if stored.is_none() {
                self.errors.push(FieldError::new(format!("auth.{name}"), NOTHING_STORED));
            }
            return stored.cloned();
        }
        self.text(name, is_right, wanted).map(|text| SecretText::new(&text))
    }
}

fn is_username(text: &str) -> bool {
    text.chars().count() <= USERNAME_CHARS && !text.chars().any(|character| character == ':' || character.is_control())
}

fn is_password(text: &str) -> bool {
    text.len() <= PASSWORD_BYTES && !text.chars().any(char::is_control)
}

fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(value: &Value) -> Vec<String> {
        Auth::read(value, None).unwrap_err().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn a_login_becomes_the_header_of_its_scheme() {
        let basic = Auth::read(&json!({"type": "basic", "username": "Aladdin", "password": "open sesame"}), None);
        // The example of RFC 7617.
        assert_eq!(basic.unwrap().header().expose(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let bearer = Auth::read(&json!({"type": "bearer", "token": "abc"}), None).unwrap();
        assert_eq!(bearer.header().expose(), "Bearer abc");
        assert!(!format!("{bearer:?}").contains("abc"));
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_eq!(wrong(&json!("bearer")), ["auth"]);
        assert_eq!(wrong(&json!({"type": "digest"})), ["auth.type"]);
        assert_eq!(wrong(&json!({"type": "basic", "username": "a:b"})), ["auth.username", "auth.password"]);
        assert_eq!(wrong(&json!({"type": "bearer", "token": "a b", "tokens": 1})), ["auth.tokens", "auth.token"]);
        assert_eq!(wrong(&json!({"type": "bearer", "token": "x".repeat(TOKEN_BYTES + 1)})), ["auth.token"]);
        assert_eq!(wrong(&json!({"type": "bearer", "token": "a\r\nX: y"})), ["auth.token"]);
    }

    #[test]
    fn set_keeps_the_secret_of_the_same_type_alone() {
        let before = Auth::read(&json!({"type": "basic", "username": "a", "password": "b"}), None).unwrap();
        let after = Auth::read(&json!({"type": "basic", "username": "c", "password": "set"}), Some(&before)).unwrap();
        assert_eq!(after.to_json(true), json!({"type": "basic", "username": "c", "password": "b"}));
        assert_eq!(after.to_json(false)["password"], "set");
        assert!(Auth::read(&json!({"type": "bearer", "token": "set"}), Some(&before)).is_err());
    }
}
