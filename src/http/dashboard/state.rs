//! The dashboard's part of the state of all handlers.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::access::SessionId;
use crate::http::dashboard::activity::Activity;
use crate::http::dashboard::links::SignInLinks;
use crate::http::dashboard::looks::Looks;
use crate::http::dashboard::settings::DashboardSettings;
use crate::http::request::rate_limit::RateLimit;
use crate::http::request::shares::Shares;

/// Pages a minute of one session.
const PAGES_PER_MINUTE: u32 = 300;

/// Live views at a time, and those of one account.
const STREAMS: usize = 50;
const STREAMS_OF_ONE: usize = 20;
/// How long a browser waits for one.
const STREAM_WAIT: Duration = Duration::from_millis(200);

/// State of the dashboard.
pub struct DashboardState {
    /// Its settings.
    pub settings: DashboardSettings,
    /// The links that sign the operator in.
    pub links: SignInLinks,
    /// Pages of each session within a minute.
    pub pages: RateLimit<SessionId>,
    /// Live views.
    pub streams: Shares,
    /// What they show.
    pub looks: Arc<Looks>,
    /// What the charts show.
    pub activity: Arc<Activity>,
}

impl DashboardState {
    /// With nobody there.
    #[must_use]
    pub fn new(settings: DashboardSettings, activity: Arc<Activity>) -> Self {
        Self {
            settings,
            links: SignInLinks::default(),
            pages: RateLimit::new(PAGES_PER_MINUTE),
            streams: Shares::new(STREAMS, STREAMS_OF_ONE, STREAM_WAIT),
            looks: Arc::default(),
            activity,
        }
    }
}
