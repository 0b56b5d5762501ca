//! The dashboard's part of the state of all handlers.

use crate::domain::access::SessionId;
use crate::http::dashboard::links::SignInLinks;
use crate::http::dashboard::settings::DashboardSettings;
use crate::http::request::rate_limit::RateLimit;

/// Pages a minute of one session.
const PAGES_PER_MINUTE: u32 = 300;

/// State of the dashboard.
pub struct DashboardState {
    /// Its settings.
    pub settings: DashboardSettings,
    /// The links that sign the operator in.
    pub links: SignInLinks,
    /// Pages of each session within a minute.
    pub pages: RateLimit<SessionId>,
}

impl DashboardState {
    /// With nobody there.
    #[must_use]
    pub fn new(settings: DashboardSettings) -> Self {
        Self { settings, links: SignInLinks::default(), pages: RateLimit::new(PAGES_PER_MINUTE) }
    }
}
