//! The option `auth`: with what the server signs in at the receiver. Pure; any thread.

mod fields;
pub mod oauth2;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use self::fields::Fields;
use self::oauth2::ClientCredentials;
use crate::domain::FieldError;
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
    /// A token that a token server gives (RFC 6749).
    OAuth2(ClientCredentials),
}

/// The names of all types.
pub const TYPES: [&str; 3] = ["basic", "bearer", oauth2::TYPE];
const WANTED_TYPE: &str = "must be \"basic\", \"bearer\" or \"oauth2_client_credentials\"";
/// The most characters of a user name.
const USERNAME_CHARS: usize = 256;
/// The most bytes of a password.
const PASSWORD_BYTES: usize = 1024;
/// The most bytes of a token.
const TOKEN_BYTES: usize = 4096;

impl Auth {
    /// The value of `Authorization`; with a type that needs an access token, none without one.
    #[must_use]
    pub fn header(&self, access_token: Option<&SecretText>) -> Option<SecretText> {
        match self {
            Self::Basic { username, password } => {
                let login = STANDARD.encode(format!("{username}:{}", password.expose()));
                Some(SecretText::new(&format!("Basic {login}")))
            }
            Self::Bearer { token } => Some(bearer(token)),
            Self::OAuth2(_) => access_token.map(bearer),
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
            Self::OAuth2(credentials) => credentials.to_json(&shown(credentials.secret())),
        }
    }

    /// Reads the option; `"set"` stands for the secret `before`.
    pub fn read(value: &Value, before: Option<&Self>) -> Result<Self, Vec<FieldError>> {
        let Some(given) = value.as_object() else {
            let message = "must be an object such as {\"type\": \"bearer\", \"token\": \"…\"}, or null for none";
            return Err(vec![FieldError::new("auth", message)]);
        };
        let mut fields = Fields::of(given);
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
            Some(oauth2::TYPE) => {
                let stored = match before {
                    Some(Self::OAuth2(credentials)) => Some(credentials.secret()),
                    _ => None,
                };
                ClientCredentials::read(&mut fields, stored).map(Self::OAuth2)
            }
            _ => {
                fields.refuse("type", WANTED_TYPE);
                None
            }
        };
        fields.end(auth)
    }
}

fn bearer(token: &SecretText) -> SecretText {
    SecretText::new(&format!("Bearer {}", token.expose()))
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
        assert_eq!(basic.unwrap().header(None).unwrap().expose(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let bearer = Auth::read(&json!({"type": "bearer", "token": "abc"}), None).unwrap();
        assert_eq!(bearer.header(None).unwrap().expose(), "Bearer abc");
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
        let oauth2 = json!({
            "type": "oauth2_client_credentials", "token_url": "ftp://x/", "client_id": "", "client_authentication": "jwt",
            "scope": "a\"b", "audience": "", "resource": "x",
        });
        let fields =
            ["resource", "token_url", "client_id", "client_secret", "client_authentication", "scope", "audience"];
        assert_eq!(wrong(&oauth2), fields.map(|field| format!("auth.{field}")));
    }

    #[test]
    fn set_keeps_the_secret_of_the_same_type_alone() {
        let before = Auth::read(&json!({"type": "basic", "username": "a", "password": "b"}), None).unwrap();
        let after = Auth::read(&json!({"type": "basic", "username": "c", "password": "set"}), Some(&before)).unwrap();
        assert_eq!(after.to_json(true), json!({"type": "basic", "username": "c", "password": "b"}));
        assert_eq!(after.to_json(false)["password"], "set");
        assert!(Auth::read(&json!({"type": "bearer", "token": "set"}), Some(&before)).is_err());
        let oauth2 = |secret: &str| {
            json!({
                "type": "oauth2_client_credentials", "token_url": "https://login.example/token", "client_id": "a",
                "client_secret": secret, "client_authentication": "basic", "scope": "x",
            })
        };
        let before = Auth::read(&oauth2("s3cret"), None).unwrap();
        assert_eq!(before.to_json(false), oauth2("set"));
        assert_eq!(Auth::read(&oauth2("set"), Some(&before)).unwrap().to_json(true), oauth2("s3cret"));
        assert!(before.header(None).is_none() && !format!("{before:?}").contains("s3cret"));
    }
}
