//! What all pages have around them: navigation, who has signed in, what forms send along; and the response with a page.
//! Runs on the HTTP workers.

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use askama::Template;

use crate::domain::access::Scope;
use crate::http::dashboard::assets;
use crate::http::dashboard::theme::Theme;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;

/// What a page shows around its own part.
pub struct Frame {
    /// The page's title.
    pub title: String,
    /// What a form of the page sends along.
    pub form_token: String,
    /// Who has signed in.
    pub who: Option<Who>,
    /// A sentence about what was done just now.
    pub note: &'static str,
    /// Which colours it has.
    pub theme: Theme,
    /// Paths of the icon, the style and the script.
    pub icon: &'static str,
    pub style: &'static str,
    pub script: &'static str,
}

/// A visitor, for the navigation.
pub struct Who {
    pub name: String,
    pub account: String,
    pub links: Vec<Link>,
    /// What they may do.
    pub may: May,
}

/// An entry of the navigation.
pub struct Link {
    pub path: &'static str,
    pub name: &'static str,
    pub is_here: bool,
}

/// What a visitor may do, so that a page shows no button that is refused.
#[derive(Clone, Copy)]
pub struct May {
    /// Change subscriptions, retry deliveries.
    pub write: bool,
    pub read_events: bool,
    pub read_deliveries: bool,
}

/// Every section with the scope that it needs.
const SECTIONS: [(&str, &str, Option<Scope>); 9] = [
    ("/", "Overview", None),
    ("/deliveries", "Deliveries", Some(Scope::WebhooksRead)),
    ("/subscriptions", "Subscriptions", Some(Scope::WebhooksRead)),
    ("/events", "Events", Some(Scope::EventsRead)),
    ("/event-types", "Event types", None),
    ("/jobs", "Jobs", Some(Scope::WebhooksRead)),
    ("/keys", "API keys", Some(Scope::KeysAdmin)),
    ("/audit", "Audit", Some(Scope::AuditRead)),
    ("/system", "System", None),
];

impl Frame {
    /// Around a page of that section, a path.
    #[must_use]
    pub fn of(visitor: &Visitor, title: impl Into<String>, section: &str) -> Self {
        let links = SECTIONS.iter().filter(|(.., scope)| scope.is_none_or(|scope| visitor.may(scope)));
        let links = links.map(|(path, name, _)| Link { path, name, is_here: *path == section });
        let who = Who {
            name: visitor.name.clone(),
            account: visitor.account_name.clone(),
            links: links.collect(),
            may: May {
                write: visitor.may(Scope::WebhooksWrite),
                read_events: visitor.may(Scope::EventsRead),
                read_deliveries: visitor.may(Scope::WebhooksRead),
            },
        };
        Self { who: Some(who), theme: visitor.theme, ..Self::outside(title, visitor.form_token.text()) }
    }

    /// Around a page for somebody who has not signed in.
    #[must_use]
    pub fn outside(title: impl Into<String>, form_token: &str) -> Self {
        Self {
            title: title.into(),
            form_token: form_token.to_owned(),
            who: None,
            note: "",
            theme: Theme::default(),
            icon: assets::ICON.path(),
            style: assets::STYLE.path(),
            script: assets::SCRIPT.path(),
        }
    }

    /// In other colours.
    #[must_use]
    pub fn with_theme(self, theme: Theme) -> Self {
        Self { theme, ..self }
    }

    /// With a sentence about what was done just now.
    #[must_use]
    pub fn with_note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    /// What the visitor may do.
    #[must_use]
    pub fn may(&self) -> May {
        let nothing = May { write: false, read_events: false, read_deliveries: false };
        self.who.as_ref().map_or(nothing, |who| who.may)
    }
}

/// The response with a page.
pub fn page(template: &impl Template) -> Result<HttpResponse, ApiError> {
    page_with(HttpResponse::Ok(), template)
}

/// A response with a page and another status.
pub fn page_with(mut response: HttpResponseBuilder, template: &impl Template) -> Result<HttpResponse, ApiError> {
    let html = template.render().map_err(|error| ApiError::internal(&error))?;
    Ok(response.insert_header((CONTENT_TYPE, "text/html; charset=utf-8")).body(html))
}

/// The response that sends the browser to another page of ours with a GET.
#[must_use]
pub fn go_to(path_and_query: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header(("Location", path_and_query)).finish()
}

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Adds what every response of the dashboard tells the browser.
pub fn protect(headers: &mut HeaderMap) {
    let rules = [
        ("content-security-policy", POLICY),
        ("x-frame-options", "DENY"),
        // With `no-referrer` a form's own Origin would be `null`.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in rules {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let cache = HeaderName::from_static("cache-control");
    if !headers.contains_key(&cache) {
        headers.insert(cache, HeaderValue::from_static("no-store"));
    }
}
