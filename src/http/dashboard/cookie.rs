//! The cookie with a visitor's token, and what is derived from the token. A visitor who has not signed in has one too, so
//! that the form to sign in is protected as every other. Pure; runs on the HTTP workers.

use actix_web::HttpRequest;
use actix_web::http::header::{COOKIE, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::domain::access::SessionId;
use crate::http::dashboard::settings::DashboardSettings;
use crate::http::request::error::ApiError;

const DIGITS: usize = 64;
/// Length of a form's token.
const FORM_DIGITS: usize = 40;

/// A visitor's token: 256 random bits. The browser keeps it in a cookie, the store only its digest.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new one.
    pub fn random() -> Result<Self, ApiError> {
        let mut bytes = Zeroizing::new([0_u8; DIGITS / 2]);
        getrandom::fill(bytes.as_mut()).map_err(|error| ApiError::internal(&error))?;
        Ok(Self(Zeroizing::new(hex::encode(bytes.as_ref()))))
    }

    /// The one that the request's cookie has.
    #[must_use]
    pub fn of(request: &HttpRequest, settings: &DashboardSettings) -> Option<Self> {
        let value = value_in(request, &name(settings), is_token)?;
        Some(Self(Zeroizing::new(value.to_owned())))
    }

    /// The text, for a link that is shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The digest by which the store knows it.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId::of(&self.0)
    }

    /// What every form of this visitor has to send along. It gives away nothing of the token.
    #[must_use]
    pub fn form_token(&self) -> FormToken {
        let digest = Sha256::new().chain_update("form:").chain_update(self.0.as_bytes()).finalize();
        let mut text = hex::encode(digest);
        text.truncate(FORM_DIGITS);
        FormToken(text)
    }

    /// The header that gives it to the browser.
    pub fn to_header(&self, settings: &DashboardSettings) -> Result<HeaderValue, ApiError> {
        header(settings, &self.0, "")
    }
}

/// The first value of a cookie that is one.
pub fn value_in<'a>(request: &'a HttpRequest, name: &str, is_value: impl Fn(&str) -> bool) -> Option<&'a str> {
    let headers = request.headers().get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let mut pairs = headers.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, value)| *given == name && is_value(value)).map(|(_, value)| value)
}

/// The header that takes the token from the browser.
pub fn removal(settings: &DashboardSettings) -> Result<HeaderValue, ApiError> {
    header(settings, "", "; Max-Age=0")
}

fn header(settings: &DashboardSettings, value: &str, further: &str) -> Result<HeaderValue, ApiError> {
    let secure = if settings.is_secure() { "; Secure" } else { "" };
    let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{further}", name(settings));
    HeaderValue::from_str(&text).map_err(|error| ApiError::internal(&error))
}

/// With the prefix browsers take it from no other host and over nothing but https.
fn name(settings: &DashboardSettings) -> String {
    let prefix = if settings.is_secure() { "__Host-" } else { "" };
    format!("{prefix}tempclock_{}", settings.port)
}

/// Whether the text has the form of a token.
#[must_use]
pub fn is_token(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a form sends along, so that no page of another site can send it.
#[derive(Clone)]
pub struct FormToken(String);

impl FormToken {
    /// The text for the form.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether the form sent this. Takes the same time wherever they differ.
    #[must_use]
    pub fn matches(&self, sent: &str) -> bool {
        self.0.as_bytes().ct_eq(sent.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_given_and_only_in_its_own_cookie() {
        let settings = DashboardSettings { port: 80, ..DashboardSettings::none() };
        let token = Token::random().unwrap();
        let given = token.to_header(&settings).unwrap();
        let given = given.to_str().unwrap();
        assert!(given.contains("; HttpOnly; SameSite=Strict") && !given.contains("Secure"), "{given}");
        let pair = given.split(';').next().unwrap();
        let read = |cookie: &str, settings| {
            let request = TestRequest::default().insert_header((COOKIE, cookie)).to_http_request();
            Token::of(&request, settings).map(|token| token.id())
        };
        assert_eq!(read(&format!("a=b; {pair}; c=d"), &settings), Some(token.id()));
        let secure = DashboardSettings { is_tls: true, ..settings.clone() };
        assert_eq!(read(pair, &secure), None, "a cookie that came without TLS is none");
        assert!(token.to_header(&secure).unwrap().to_str().unwrap().ends_with("; Secure"));
        assert_eq!(read("tempclock_80=abc", &settings), None);
        assert!(token.form_token().matches(token.form_token().text()) && !token.form_token().matches(""));
        assert!(!token.expose().contains(token.form_token().text()));
    }
}
