//! What the dashboard has to know of the server: whether it is served, and under which address. Pure.

use std::time::Duration;

use url::Url;

/// Settings of the dashboard.
#[derive(Clone, Debug)]
pub struct DashboardSettings {
    /// Whether its pages are served.
    pub is_served: bool,
    /// Where people reach the server if not at its own address, as behind a proxy.
    pub public_url: Option<Url>,
    /// The address that the server itself listens on, as a URL.
    pub own_url: String,
    /// Whether the server itself speaks TLS.
    pub is_tls: bool,
    /// The port in the cookie's name: browsers send cookies to every port of a host, and there may be two servers.
    pub port: u16,
    /// A feed is shown as behind when its oldest event was not acknowledged for so long; 0: never.
    pub feed_behind_after: Duration,
}

impl DashboardSettings {
    /// Of a command that has no server.
    #[must_use]
    pub fn none() -> Self {
        Self {
            is_served: false,
            public_url: None,
            own_url: String::new(),
            is_tls: false,
            port: 0,
            feed_behind_after: Duration::ZERO,
        }
    }

    /// The URL of a page for people.
    #[must_use]
    pub fn link(&self, path_and_query: &str) -> String {
        let base = self.public_url.as_ref().map_or(self.own_url.as_str(), Url::as_str);
        format!("{}{path_and_query}", base.trim_end_matches('/'))
    }

    /// Whether browsers reach it by https, and must send the cookie by nothing else.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.public_url.as_ref().map_or(self.is_tls, |url| url.scheme() == "https")
    }

    /// Whether a page of this origin is one of ours: of the public URL, or of the address that the request names itself.
    #[must_use]
    pub fn is_own(&self, origin: &str, host: Option<&str>) -> bool {
        let is_public = self.public_url.as_ref().is_some_and(|url| url.origin().ascii_serialization() == origin);
        let scheme = if self.is_tls { "https" } else { "http" };
        is_public || host.is_some_and(|host| origin == format!("{scheme}://{host}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_origin_is_never_ours() {
        let direct =
            DashboardSettings { is_served: true, own_url: "http://127.0.0.1:8080".into(), ..DashboardSettings::none() };
        assert!(direct.is_own("http://clock.example:8080", Some("clock.example:8080")));
        for origin in ["null", "https://clock.example:8080", "http://clock.example", "http://evil.example:8080", ""] {
            assert!(!direct.is_own(origin, Some("clock.example:8080")), "{origin}");
        }
        assert!(!direct.is_own("http://clock.example", None));
        let public = Url::parse("https://clock.example").ok();
        let behind = DashboardSettings { public_url: public, ..direct };
        assert!(behind.is_own("https://clock.example", Some("127.0.0.1:8080")) && behind.is_secure());
        assert!(!behind.is_own("http://clock.example", Some("127.0.0.1:8080")));
        assert_eq!(behind.link("/sign-in"), "https://clock.example/sign-in");
    }
}
