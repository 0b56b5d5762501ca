//! The body of a form. Reading it checks the token that every form sends along, so no handler can take a form that another
//! site has sent. Runs on the HTTP workers.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};

use crate::http::dashboard::cookie::FormToken;
use crate::http::request::error::ApiError;
use crate::http::request::json_body;
use crate::http::request::state::HttpState;

/// The name of the field with the token.
pub const TOKEN_FIELD: &str = "form_token";
const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";
/// Maximum size of a form, in bytes.
const FORM_BYTES: u64 = 256 * 1024;

/// The fields of a form that a page of this visitor has sent.
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Of these names and values.
    #[cfg(test)]
    pub fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value of a field without the blanks around it; empty if there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value.trim())
    }

    /// Whether a box is ticked.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// Every value of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Every field but the token.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        pairs.filter(|(name, _)| *name != TOKEN_FIELD)
    }
}

impl FromRequest for Form {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        let state = HttpState::of(request).cloned();
        let expected = request.extensions().get::<FormToken>().cloned();
        let is_form = request.content_type() == MEDIA_TYPE;
        Box::pin(async move {
            let (state, expected) = (state?, expected.ok_or_else(|| ApiError::internal(&"a form without its guard"))?);
            if !is_form {
                return Err(ApiError::bad_request("a page sends its forms as application/x-www-form-urlencoded"));
            }
            let (bytes, _room) = json_body::read(&state, &mut payload, FORM_BYTES).await?;
            let pairs = url::form_urlencoded::parse(&bytes);
            // Browsers send line breaks as CR LF, whatever was typed.
            let pairs = pairs.map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n")));
            let form = Self(pairs.collect());
            if expected.matches(form.text(TOKEN_FIELD)) { Ok(form) } else { Err(ApiError::forged_form()) }
        })
    }
}
