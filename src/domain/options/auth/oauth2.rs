//! A login by `OAuth2` client credentials (RFC 6749, section 4.4): where an access token is asked for, and how. Pure; any
//! thread.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::domain::endpoint::Endpoint;
use crate::domain::options::auth::fields::Fields;
use crate::domain::secret_text::SecretText;

/// The name of the type in the option.
pub const TYPE: &str = "oauth2_client_credentials";
/// The ways in which a client can show who it is.
pub const WAYS: [&str; 2] = ["basic", "body"];
/// The most characters of a client's id.
const ID_CHARS: usize = 512;
/// The most bytes of a client's secret.
const SECRET_BYTES: usize = 1024;
/// The most bytes of a scope and of an audience.
const SCOPE_BYTES: usize = 2048;

/// A client of a token server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCredentials {
    /// Where it asks for a token. The policy for URLs is not part of it.
    pub token_url: Endpoint,
    client_id: String,
    client_secret: SecretText,
    client_authentication: ClientAuthentication,
    scope: Option<String>,
    audience: Option<String>,
}

/// How the client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAuthentication {
    /// In `Authorization`.
    Basic,
    /// In the form.
    Body,
}

impl ClientCredentials {
    /// The value of `Authorization`, if the client shows there who it is.
    #[must_use]
    pub fn authorization(&self) -> Option<SecretText> {
        let is_basic = self.client_authentication == ClientAuthentication::Basic;
        is_basic.then(|| {
            let id = encoded(&self.client_id, |byte| byte == b':');
            let secret = encoded(self.client_secret.expose(), |_| false);
            let login = Zeroizing::new(format!("{}:{}", *id, *secret));
            SecretText::new(&format!("Basic {}", STANDARD.encode(login.as_bytes())))
        })
    }

    /// The form that asks for a token.
    #[must_use]
    pub fn form(&self) -> Zeroizing<String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if self.client_authentication == ClientAuthentication::Body {
            form.append_pair("client_id", &self.client_id);
            form.append_pair("client_secret", self.client_secret.expose());
        }
        for (name, value) in [("scope", &self.scope), ("audience", &self.audience)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        Zeroizing::new(form.finish())
    }

    pub(super) fn to_json(&self, secret: &str) -> Value {
        let way = match self.client_authentication {
            ClientAuthentication::Basic => WAYS[0],
            ClientAuthentication::Body => WAYS[1],
        };
        let mut shown = json!({
            "type": TYPE, "token_url": self.token_url.as_str(), "client_id": self.client_id, "client_secret": secret,
            "client_authentication": way,
        });
        for (name, value) in [("scope", &self.scope), ("audience", &self.audience)] {
            if let Some(value) = value {
                shown[name] = value.as_str().into();
            }
        }
        shown
    }

    pub(super) fn secret(&self) -> &SecretText {
        &self.client_secret
    }

    /// Reads the fields; `stored` is what `"set"` stands for.
    pub(super) fn read(fields: &mut Fields<'_>, stored: Option<&SecretText>) -> Option<Self> {
        fields.refuse_others(&[
            "type",
            "token_url",
            "client_id",
            "client_secret",
            "client_authentication",
            "scope",
            "audience",
        ]);
        let token_url = read_url(fields);
        let client_id = fields.text(
            "client_id",
            |text| (1..=ID_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control),
            &format!("must be 1 to {ID_CHARS} characters, without control characters"),
        );
        let client_secret = fields.secret(
            "client_secret",
            stored,
            |text| (1..=SECRET_BYTES).contains(&text.len()) && !text.chars().any(char::is_control),
            &format!("must be 1 to {SECRET_BYTES} bytes, without control characters"),
        );
        let client_authentication = match fields.get("client_authentication").map(Value::as_str) {
            None => Some(ClientAuthentication::Basic),
            Some(Some(way)) if way == WAYS[0] => Some(ClientAuthentication::Basic),
            Some(Some(way)) if way == WAYS[1] => Some(ClientAuthentication::Body),
            Some(_) => {
                fields.refuse("client_authentication", "must be \"basic\" or \"body\"");
                None
            }
        };
        let wanted = format!("must be 1 to {SCOPE_BYTES} printable ASCII characters, without quotes and backslashes");
        let scope = fields.optional_text("scope", is_scope, &wanted);
        let wanted = format!("must be 1 to {SCOPE_BYTES} bytes, without control characters");
        let audience = fields.optional_text(
            "audience",
            |text| (1..=SCOPE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control),
            &wanted,
        );
        Some(Self {
            token_url: token_url?,
            client_id: client_id?,
            client_secret: client_secret?,
            client_authentication: client_authentication?,
            scope,
            audience,
        })
    }
}

fn read_url(fields: &mut Fields<'_>) -> Option<Endpoint> {
    let text =
        fields.text("token_url", |_| true, "must be a URL such as \"https://login.example.com/oauth2/token\"")?;
    match Endpoint::read(&text) {
        Ok(url) => Some(url),
        Err(error) => {
            fields.refuse("token_url", error.to_string());
            None
        }
    }
}

fn is_scope(text: &str) -> bool {
    (1..=SCOPE_BYTES).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

/// The text as token servers read it in `Authorization`: some decode it as a form, some not at all, and most decode what is
/// written with a percent sign. So what all of them would take for something else is written that way, and nothing else.
fn encoded(text: &str, is_special: fn(u8) -> bool) -> Zeroizing<String> {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if matches!(byte, b'%' | b'+') || !matches!(byte, b' '..=b'~') || is_special(byte) {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        } else {
            encoded.push(char::from(byte));
        }
    }
    Zeroizing::new(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::options::auth::Auth;

    fn credentials(change: &Value) -> ClientCredentials {
        let mut given = json!({
            "type": TYPE, "token_url": "https://login.example/token", "client_id": "a:b", "client_secret": "s%+/= \u{e9}",
        });
        given.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        match Auth::read(&given, None).unwrap() {
            Auth::OAuth2(credentials) => credentials,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_token_servers_read_differently_is_encoded_in_the_header() {
        let header = credentials(&json!({})).authorization().unwrap();
        let login = STANDARD.decode(header.expose().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(login).unwrap(), "a%3Ab:s%25%2B/= %C3%A9");
    }

    #[test]
    fn a_client_is_named_in_the_header_or_in_the_form_and_never_in_both() {
        let basic = credentials(&json!({"scope": "events:write a/b", "audience": "https://api.example"}));
        let form = "grant_type=client_credentials&scope=events%3Awrite+a%2Fb&audience=https%3A%2F%2Fapi.example";
        assert_eq!(*basic.form(), form);
        let body = credentials(&json!({"client_authentication": "body"}));
        assert!(body.authorization().is_none());
        let form = "grant_type=client_credentials&client_id=a%3Ab&client_secret=s%25%2B%2F%3D+%C3%A9";
        assert_eq!(*body.form(), form);
    }
}
