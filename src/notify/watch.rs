//! What goes wrong by itself, without a commit that could tell of it: a backup that was missed, a certificate that ends. Looked
//! at by the notifier's thread.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::domain::Timestamp;
use crate::domain::alert::AlertKind;
use crate::domain::timestamp::span_in_words;
use crate::storage::read::reader::ReadView;

/// How often it is looked at, unless something is to be told sooner.
const EVERY: Duration = Duration::from_mins(1);
const SOONEST: Duration = Duration::from_millis(100);
/// The writer knows what was told; it is asked again after this time.
const ASKED_AGAIN: Duration = Duration::from_hours(1);
/// As in `storage`: what concerns the whole server.
const SERVER: &str = "server";

/// Something that was noticed.
#[derive(Debug)]
pub struct Noticed {
    /// What it is.
    pub kind: AlertKind,
    /// What it is about.
    pub of: String,
    /// What happened, and what to do.
    pub message: String,
}

/// Tells of certificates that end soon.
pub type Certificates = Box<dyn Fn(Timestamp) -> Vec<String> + Send>;

/// What is looked at.
pub struct Watch {
    backup_missed_after: Duration,
    failed_at: Option<String>,
    certificates: Certificates,
    asked: BTreeMap<String, Instant>,
    next: Instant,
}

impl Watch {
    /// With these settings; a backup is never missed after no time. `failed_at`: when the store failed, if nobody was told.
    #[must_use]
    pub fn new(backup_missed_after: Duration, failed_at: Option<String>, certificates: Certificates) -> Self {
        Self { backup_missed_after, failed_at, certificates, asked: BTreeMap::new(), next: Instant::now() }
    }

    /// When it is to be looked at next.
    #[must_use]
    pub fn next_look(&self) -> Instant {
        self.next
    }

    /// What is to be told, if it is time to look.
    pub fn look(&mut self, view: &ReadView, wall: Timestamp, now: Instant) -> Vec<Noticed> {
        if now < self.next {
            return Vec::new();
        }
        let every = if self.backup_missed_after.is_zero() { EVERY } else { EVERY.min(self.backup_missed_after) };
        self.next = now + every.max(SOONEST);
        self.asked.retain(|_, at| now.duration_since(*at) < ASKED_AGAIN);
        let certificates = (self.certificates)(wall).into_iter().map(|message| Noticed {
            kind: AlertKind::CertificateEnds,
            of: message.clone(),
            message,
        });
        let failed = self.failed_at.take().map(|at| Noticed {
            kind: AlertKind::StoreFailed,
            message: format!("the store failed at {at}, and the server ended; it has been started again"),
            of: at,
        });
        let all: Vec<Noticed> = failed.into_iter().chain(self.backup(view, wall)).chain(certificates).collect();
        all.into_iter().filter(|found| self.asked.insert(found.message.clone(), now).is_none()).collect()
    }

    fn backup(&self, view: &ReadView, wall: Timestamp) -> Option<Noticed> {
        let last = view.last_backup().inspect_err(|error| log::error!("{error}")).ok()?;
        // Without any, there was none since somebody began to use the store.
        let begun = view.registry().keys().map(|key| key.created_at).min();
        let is_missed = wall.since(last.or(begun)?) >= self.backup_missed_after;
        (is_missed && !self.backup_missed_after.is_zero()).then(|| Noticed {
            kind: AlertKind::BackupMissed,
            of: SERVER.to_owned(),
            message: match last {
                Some(at) => format!(
                    "the last backup was made at {at}, and alerts.backup_missed_after is {}; look at what makes them",
                    span_in_words(self.backup_missed_after)
                ),
                None => "no backup was ever made; make one with: tempclock-webhooks backup --output FILE".to_owned(),
            },
        })
    }
}
