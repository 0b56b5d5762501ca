//! Light or dark, as a visitor has chosen it; otherwise as their system has it. The browser keeps the choice in a cookie, which
//! says nothing else and opens nothing. Runs on the HTTP workers.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderValue;

use crate::http::dashboard::cookie::value_in;
use crate::http::dashboard::settings::DashboardSettings;
use crate::http::request::error::ApiError;

const COOKIE: &str = "tempclock_theme";
/// The longest that browsers keep one.
const KEPT_S: u32 = 400 * 24 * 60 * 60;

/// Which colours pages have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the visitor's system has it.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// All of them, with words.
    pub const ALL: [(Self, &str); 3] =
        [(Self::System, "As in my system"), (Self::Light, "Light"), (Self::Dark, "Dark")];

    /// How forms, the cookie and the page's style name it; anything else is the system's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// What the browser is told before the style has come.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        if self == Self::System { "light dark" } else { self.name() }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().map(|(theme, _)| theme).find(|theme| theme.name() == name).unwrap_or_default()
    }

    /// The one that the request's cookie names.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        value_in(request, COOKIE, |_| true).map(Self::from_name).unwrap_or_default()
    }

    /// The header that gives the choice to the browser.
    pub fn to_header(self, settings: &DashboardSettings) -> Result<HeaderValue, ApiError> {
        let secure = if settings.is_secure() { "; Secure" } else { "" };
        let name = self.name();
        let text = format!("{COOKIE}={name}; Path=/; Max-Age={KEPT_S}; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::from_str(&text).map_err(|error| ApiError::internal(&error))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_a_known_name_is_a_choice() {
        let of =
            |cookie: &str| Theme::of(&TestRequest::default().insert_header((header::COOKIE, cookie)).to_http_request());
        assert_eq!(of("a=b; tempclock_theme=dark"), Theme::Dark);
        for other in ["", "tempclock_theme=", "tempclock_theme=\"><script>", "theme=dark", "tempclock_theme=DARK"] {
            assert_eq!(of(other), Theme::System, "{other}");
        }
    }
}
