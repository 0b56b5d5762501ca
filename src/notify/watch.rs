//! What goes wrong by itself, without a commit that could tell of it: a backup that was missed, a certificate that ends, a
//! feed whose reader is behind. Looked at by the notifier's thread.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::domain::alert::AlertKind;
use crate::domain::subscription::Subscription;
use crate::domain::timestamp::span_in_words;
use crate::domain::{SubscriptionId, Timestamp};
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

/// From when on something is told of; no time: never.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A backup is missed when the last one is older.
    pub backup_missed_after: Duration,
    /// A feed is behind when its oldest event has waited for longer.
    pub feed_behind_after: Duration,
}

/// What is looked at.
pub struct Watch {
    limits: Limits,
    failed_at: Option<String>,
    certificates: Certificates,
    asked: BTreeMap<String, Instant>,
    /// When the writer looked at all feeds last, and which of them are behind, with their oldest events since then.
    behind: Option<(Instant, BTreeSet<(SubscriptionId, Timestamp)>)>,
    next: Instant,
}

impl Watch {
    /// With these limits. `failed_at`: when the store failed, if nobody was told.
    #[must_use]
    pub fn new(limits: Limits, failed_at: Option<String>, certificates: Certificates) -> Self {
        Self { limits, failed_at, certificates, asked: BTreeMap::new(), behind: None, next: Instant::now() }
    }

    /// When it is to be looked at next.
    #[must_use]
    pub fn next_look(&self) -> Instant {
        self.next
    }

    /// Whether it is time to look. If it is, the next time is later.
    pub fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let Limits { backup_missed_after, feed_behind_after } = self.limits;
        let limits = [backup_missed_after, feed_behind_after].into_iter().filter(|limit| !limit.is_zero());
        self.next = now + limits.fold(EVERY, Duration::min).max(SOONEST);
        true
    }

    /// What is to be told.
    pub fn look(&mut self, view: &ReadView, wall: Timestamp, now: Instant) -> Vec<Noticed> {
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

    /// The feeds that the writer has to look at: their readers are behind with other events than before, or are not any more.
    /// All of them after a start, as it is not known which were told of, and now and then, as the same is not told again at
    /// once.
    pub fn changed_feeds(&mut self, view: &ReadView, wall: Timestamp, now: Instant) -> Vec<SubscriptionId> {
        let limit = self.limits.feed_behind_after;
        let feeds = || view.registry().subscriptions().filter(|found| found.is_pull());
        let behind_since = |feed: &Subscription| {
            let since = view.unacknowledged_since(feed).inspect_err(|error| log::error!("{error}")).ok()??;
            let is_behind = feed.state.is_active() && !limit.is_zero() && wall.since(since) >= limit;
            is_behind.then_some((feed.id, since))
        };
        let behind: BTreeSet<_> = feeds().filter_map(|feed| behind_since(feed)).collect();
        let known = self.behind.take().filter(|(at, _)| now.duration_since(*at) < ASKED_AGAIN);
        let (at, changed) = match known {
            Some((at, before)) => (at, before.symmetric_difference(&behind).map(|(id, _)| *id).collect()),
            None => (now, feeds().map(|feed| feed.id).collect()),
        };
        self.behind = Some((at, behind));
        changed
    }

    /// The writer could not look at them.
    pub fn forget_feeds(&mut self) {
        self.behind = None;
    }

    fn backup(&self, view: &ReadView, wall: Timestamp) -> Option<Noticed> {
        let last = view.last_backup().inspect_err(|error| log::error!("{error}")).ok()?;
        // Without any, there was none since somebody began to use the store.
        let begun = view.registry().keys().map(|key| key.created_at).min();
        let limit = self.limits.backup_missed_after;
        let is_missed = wall.since(last.or(begun)?) >= limit;
        (is_missed && !limit.is_zero()).then(|| Noticed {
            kind: AlertKind::BackupMissed,
            of: SERVER.to_owned(),
            message: match last {
                Some(at) => format!(
                    "the last backup was made at {at}, and alerts.backup_missed_after is {}; look at what makes them",
                    span_in_words(limit)
                ),
                None => "no backup was ever made; make one with: tempclock-webhooks backup --output FILE".to_owned(),
            },
        })
    }
}
