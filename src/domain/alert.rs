//! Alerts: what those who run the server are told. Pure; any thread. No data of an event is in one.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::domain::{EventId, SubscriptionId, Timestamp};

/// The same is told of the same once in this time at most.
const SELDOM: Duration = Duration::from_hours(1);
/// Longest title, in characters: mail servers refuse long lines.
const TITLE_CHARS: usize = 200;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertKind {
    /// An endpoint has failed for a while.
    EndpointFailing,
    /// A subscription was disabled, as its endpoint failed or is gone.
    EndpointOff,
    /// An endpoint that had been told of takes deliveries again.
    EndpointRecovered,
    /// A delivery was given up after its last retry.
    DeliveryExhausted,
    /// A delivery was held for too long.
    DeliveryExpired,
    /// Too little space is left to publish.
    DiskLow,
    /// The last backup is too old.
    BackupMissed,
    /// A certificate ends soon.
    CertificateEnds,
    /// A receiver that pulls its events does not keep up.
    FeedBehind,
    /// The store has failed, and the server ended.
    StoreFailed,
    /// None: somebody tries how alerts arrive.
    Test,
}

impl AlertKind {
    /// All that are stored.
    pub const ALL: [Self; 10] = [
        Self::EndpointFailing,
        Self::EndpointOff,
        Self::EndpointRecovered,
        Self::DeliveryExhausted,
        Self::DeliveryExpired,
        Self::DiskLow,
        Self::BackupMissed,
        Self::CertificateEnds,
        Self::FeedBehind,
        Self::StoreFailed,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EndpointFailing => "endpoint_failing",
            Self::EndpointOff => "endpoint_off",
            Self::EndpointRecovered => "endpoint_recovered",
            Self::DeliveryExhausted => "delivery_exhausted",
            Self::DeliveryExpired => "delivery_expired",
            Self::DiskLow => "disk_low",
            Self::BackupMissed => "backup_missed",
            Self::CertificateEnds => "certificate_ends",
            Self::FeedBehind => "feed_behind",
            Self::StoreFailed => "store_failed",
            Self::Test => "test",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is a state that lasts, and is told of only when it begins.
    #[must_use]
    pub fn is_state(self) -> bool {
        matches!(
            self,
            Self::EndpointFailing
                | Self::EndpointOff
                | Self::DiskLow
                | Self::BackupMissed
                | Self::CertificateEnds
                | Self::FeedBehind
        )
    }

    /// Whether it waits for no summary.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        matches!(self, Self::DiskLow | Self::StoreFailed)
    }

    fn words(self) -> &'static str {
        match self {
            Self::EndpointFailing => "Endpoint failing",
            Self::EndpointOff => "Endpoint disabled",
            Self::EndpointRecovered => "Endpoint recovered",
            Self::DeliveryExhausted => "Delivery exhausted",
            Self::DeliveryExpired => "Held deliveries expired",
            Self::DiskLow => "Disk nearly full",
            Self::BackupMissed => "Backup missed",
            Self::CertificateEnds => "Certificate expires",
            Self::FeedBehind => "Feed behind",
            Self::StoreFailed => "Store failed",
            Self::Test => "Test",
        }
    }
}

/// When the same was told of the same last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// Whether that state still lasts.
    pub is_open: bool,
}

impl Told {
    /// Whether the same may be told again now.
    #[must_use]
    pub fn allows_more(self, now: Timestamp) -> bool {
        !self.is_open && now.since(self.at) >= SELDOM
    }
}

/// Which endpoint an alert is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertEndpoint {
    /// The name of the account.
    pub account: String,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The endpoint's host, empty of a feed. The rest of its URL may be secret.
    pub host: String,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its id, which has its time.
    pub id: EventId,
    /// What it is about.
    pub kind: AlertKind,
    /// The endpoint, if it is about one.
    pub endpoint: Option<AlertEndpoint>,
    /// What happened, and what to do.
    pub message: String,
}

/// An alert that waits until it was handed over everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The alert.
    pub alert: Alert,
    /// The ways by which it was handed over already.
    pub done: Vec<String>,
}

impl Alert {
    /// One line, without control characters.
    #[must_use]
    pub fn title(&self) -> String {
        let of = self.endpoint.as_ref().map_or_else(String::new, |AlertEndpoint { account, subscription, host }| {
            let at = if host.is_empty() { String::new() } else { format!(" ({host})") };
            format!(": subscription {subscription} of account {account}{at}")
        });
        plain(&format!("{}{of}", self.kind.words())).chars().take(TITLE_CHARS).collect()
    }

    /// What a mail says of it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n{}\n\n", self.title(), plain(&self.message));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Time: {}\nKind: {}\nAlert: {}", self.id.time(), self.kind.name(), self.id);
        text
    }

    /// The body of a webhook: an envelope as that of events.
    #[must_use]
    pub fn envelope(&self) -> String {
        let endpoint = self.endpoint.as_ref();
        json!({
            "id": self.id,
            "event": format!("alert.{}", self.kind.name()),
            "timestamp": self.id.time(),
            "data": {
                "message": self.message,
                "account": endpoint.map(|endpoint| &endpoint.account),
                "subscription_id": endpoint.map(|endpoint| endpoint.subscription),
                "host": endpoint.map(|endpoint| &endpoint.host).filter(|host| !host.is_empty()),
            },
        })
        .to_string()
    }
}

/// Texts of others are in it: nothing of them ends a line or acts on a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in AlertKind::ALL {
            assert_eq!(AlertKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(AlertKind::from_name("none"), None);
    }

    #[test]
    fn a_title_is_one_short_line_whatever_an_account_is_called() {
        let account = format!("a\r\nBcc: all@example.com\u{7f}{}", "x".repeat(300));
        let endpoint = AlertEndpoint { account, subscription: SubscriptionId(3), host: "h\n".to_owned() };
        let id = EventId::first_at(Timestamp::from_ms(5));
        let message = "down\r\n.\r\nQUIT".to_owned();
        let alert = Alert { id, kind: AlertKind::EndpointFailing, endpoint: Some(endpoint), message };
        assert!(alert.title().starts_with("Endpoint failing: subscription 3 of account a  Bcc"), "{}", alert.title());
        assert!(alert.title().chars().count() <= TITLE_CHARS && !alert.title().contains(char::is_control));
        assert!(!alert.text().contains('\r') && alert.text().contains("down  .  QUIT"), "{}", alert.text());
        let envelope: serde_json::Value = serde_json::from_str(&alert.envelope()).unwrap();
        assert_eq!(
            (&envelope["event"], &envelope["data"]["subscription_id"]),
            (&json!("alert.endpoint_failing"), &json!(3))
        );
    }

    #[test]
    fn the_same_is_told_again_when_it_has_ended_and_an_hour_is_over() {
        let at = Timestamp::from_ms(1_000_000);
        let (open, ended) = (Told { at, is_open: true }, Told { at, is_open: false });
        assert!(!open.allows_more(at.plus(SELDOM * 2)) && !ended.allows_more(at.plus(SELDOM / 2)));
        assert!(ended.allows_more(at.plus(SELDOM)));
    }
}
