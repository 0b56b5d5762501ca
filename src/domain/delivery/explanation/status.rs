//! What to do about an HTTP status. It names what sends that status most often. Pure; any thread.

use std::borrow::Cow;

use crate::domain::delivery::attempt::Attempt;

/// The status, with its name if that is well known.
pub fn named(status: u16) -> Cow<'static, str> {
    Cow::Borrowed(match status {
        410 => "410 Gone, which disables the subscription",
        413 => "413, too large",
        429 => "429, too many requests",
        503 => "503, unavailable",
        _ => return Cow::Owned(status.to_string()),
    })
}

impl Attempt {
    /// What to do about a status that is neither a success nor a redirect.
    pub(super) fn for_status(&self, status: u16) -> &'static str {
        match status {
            101 => "it switched protocols instead of responding: check the subscription's URL",
            400 if self.was_for_https() => "the port serves TLS: the subscription's URL must begin with https",
            400 => {
                "its log has the reason: a field that it does not accept, or a body that is too large for it (Django: \
                 2.5 MB)"
            }
            401 => "compare the signing secret that it verifies with, and require no login in front of it",
            403 => {
                "compare the signing secret that it verifies with, exempt its path from CSRF protection (Django: csrf_exempt), and remove any login or firewall in front of it"
            }
            404 | 405 => "check the subscription's URL",
            407 | 511 => {
                "a proxy or portal between this server and the endpoint requires a login: check this machine's network"
            }
            408 | 504 => "a proxy timed out waiting for the receiver: respond first, do the work afterwards",
            410 => "when it is back, enable it with PUT {\"active\": true}",
            413 => "raise the limit for request bodies in the receiver and in a proxy in front of it",
            415 => "configure the receiver to accept application/json",
            419 => "exempt the receiver's path from CSRF protection (Laravel: validateCsrfTokens except)",
            421 => {
                "the server does not serve this host name: check the URL, and the host names in the receiver's configuration"
            }
            426 => "it requires a protocol other than HTTP/1.1: check the subscription's URL, and what listens there",
            429 => {
                "let the receiver accept more if too much is pending: the server sends no faster than it accepts, and its Retry-After delays the next attempt"
            }
            431 => "raise the limit for request headers in the receiver and in a proxy in front of it",
            502 => {
                "a proxy got no valid response from the receiver behind it: check that the receiver runs, and that it \
                 responds in time"
            }
            503 => {
                "it is overloaded or under maintenance, or a proxy (HAProxy, Apache) in front cannot reach it: if that persists, check the receiver"
            }
            520 => {
                "Cloudflare got no valid response from the server behind it: check the receiver, whose log may show nothing"
            }
            521 | 523 => {
                "Cloudflare did not reach the server behind it: check that it runs and allows connections from Cloudflare"
            }
            522 | 524 => {
                "Cloudflare timed out waiting for the server behind it: check that it runs, and respond first, work afterwards"
            }
            525 | 526 => "Cloudflare did not trust the server behind it: check the certificate and TLS of that server",
            530 => "Cloudflare did not find the server behind it: check the domain's records, or the tunnel",
            _ => "check the receiver's log",
        }
    }

    /// Whether a TLS server said that it got plain HTTP, as nginx, Apache and Go do.
    pub(in crate::domain::delivery) fn was_for_https(&self) -> bool {
        let body = self.response.as_ref().map(|response| String::from_utf8_lossy(&response.body));
        self.url.starts_with("http:")
            && body.is_some_and(|body| {
                ["HTTPS port", "HTTPS server", "SSL-enabled server port"].iter().any(|words| body.contains(words))
            })
    }
}
