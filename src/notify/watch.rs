//! What goes wrong by itself, without a commit that could tell of it: a backup that was missed, a certificate that ends, a
//! feed whose reader is behind. Looked at by the notifier's thread.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::domain::alert::AlertKind;
use crate::domain::timestamp::span_in_words;
use crate::domain::{SubscriptionId, Timestamp};
use crate::storage::read::reader::ReadView;

/// How often it is looked at, and besides whenever something becomes due that was seen to come.
const EVERY: Duration = Duration::from_mins(1);
const SOONEST: Duration = Duration::from_millis(100);
/// The writer knows what was told; it is asked again after this time.
const ASKED_AGAIN: Duration = Duration::from_hours(1);
/// How many dates ahead of the clock are known.
const AHEAD_MAX: usize = 1000;
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
    /// What is dated ahead of the clock, because that was ahead once: when it was seen first.
    ahead: BTreeMap<Timestamp, Instant>,
    next: Instant,
}

impl Watch {
    /// With these limits. `failed_at`: when the store failed, if nobody was told.
    #[must_use]
    pub fn new(limits: Limits, failed_at: Option<String>, certificates: Certificates) -> Self {
        let (asked, ahead) = (BTreeMap::new(), BTreeMap::new());
        Self { limits, failed_at, certificates, asked, behind: None, ahead, next: Instant::now() }
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
        // What begins behind this look becomes due after a limit at the earliest, and a look before that sees it come.
        let Limits { backup_missed_after, feed_behind_after } = self.limits;
        let limits = [backup_missed_after, feed_behind_after].into_iter().filter(|limit| !limit.is_zero());
        self.next = now + limits.fold(EVERY, Duration::min).max(SOONEST);
        true
    }

    /// Whether something is due that waits for longer than a limit since then. If not yet, it is looked at when it will be.
    fn is_over(&mut self, since: Timestamp, limit: Duration, wall: Timestamp, now: Instant) -> bool {
        let left = self.seen_since(since, wall, now).plus(limit).since(wall);
        if limit.is_zero() || left.is_zero() {
            return !limit.is_zero();
        }
        self.next = self.next.min(now + left);
        false
    }

    /// Since when it waits by this clock. What seems to begin later has waited for as long as it was seen here.
    fn seen_since(&mut self, since: Timestamp, wall: Timestamp, now: Instant) -> Timestamp {
        if since <= wall {
            return since;
        }
        if self.ahead.len() >= AHEAD_MAX && !self.ahead.contains_key(&since) {
            return since;
        }
        let first = *self.ahead.entry(since).or_insert(now);
        wall.minus(now.duration_since(first))
    }

    /// What is to be told.
    pub fn look(&mut self, view: &ReadView, wall: Timestamp, now: Instant) -> Vec<Noticed> {
        self.asked.retain(|_, at| now.duration_since(*at) < ASKED_AGAIN);
        self.ahead.retain(|begun, _| *begun > wall);
        let failed = self.failed_at.take().map(|at| Noticed {
            kind: AlertKind::StoreFailed,
            message: format!("the store failed at {at}, and the server exited; it has been restarted"),
            of: at,
        });
        let backup = self.backup(view, wall, now);
        let all: Vec<Noticed> = failed.into_iter().chain(backup).chain(self.ending(wall)).collect();
        all.into_iter().filter(|found| self.asked.insert(found.message.clone(), now).is_none()).collect()
    }

    /// Certificates whose time comes before they are looked at again: they are told of a little early, and never late.
    fn ending(&self, wall: Timestamp) -> Vec<Noticed> {
        let noticed = |message: String| Noticed { kind: AlertKind::CertificateEnds, of: message.clone(), message };
        (self.certificates)(wall.plus(EVERY)).into_iter().map(noticed).collect()
    }

    /// The feeds that the writer has to look at: their readers are behind with other events than before, or are not any more.
    /// All of them after a start, as it is not known which were told of, and now and then, as the same is not told again at
    /// once.
    pub fn changed_feeds(&mut self, view: &ReadView, wall: Timestamp, now: Instant) -> Vec<SubscriptionId> {
        let limit = self.limits.feed_behind_after;
        let feeds = || view.registry().subscriptions().filter(|found| found.is_pull());
        let mut behind = BTreeSet::new();
        for feed in feeds().filter(|feed| feed.state.is_active()) {
            let since = view.unacknowledged_since(feed).inspect_err(|error| log::error!("{error}"));
            if let Ok(Some(since)) = since
                && self.is_over(since, limit, wall, now)
            {
                behind.insert((feed.id, since));
            }
        }
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

    fn backup(&mut self, view: &ReadView, wall: Timestamp, now: Instant) -> Option<Noticed> {
        let last = view.last_backup().inspect_err(|error| log::error!("{error}")).ok()?;
        // Without any, there was none since somebody began to use the store.
        let begun = view.registry().keys().map(|key| key.created_at).min();
        let limit = self.limits.backup_missed_after;
        self.is_over(last.or(begun)?, limit, wall, now).then(|| Noticed {
            kind: AlertKind::BackupMissed,
            of: SERVER.to_owned(),
            message: match last {
                Some(at) => format!(
                    "the last backup was made at {at}, and alerts.backup_missed_after is {}; check the timer that makes backups",
                    span_in_words(limit)
                ),
                None => "there is no backup yet; make one with: tempclock-webhooks backup --output FILE".to_owned(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(1_772_438_400_000 + ms)
    }

    proptest! {
        #[test]
        fn what_begins_at_any_time_is_looked_at_when_its_limit_is_over(
            limits in [100..200_000_u64, 100..200_000],
            begun in prop::collection::vec((0..2_usize, 0..400_000_u64), 1..8),
        ) {
            let [backup_missed_after, feed_behind_after] = limits.map(Duration::from_millis);
            let mut watch =
                Watch::new(Limits { backup_missed_after, feed_behind_after }, None, Box::new(|_| Vec::new()));
            let start = watch.next_look();
            let mut told = vec![None; begun.len()];
            while told.contains(&None) {
                let now = watch.next_look();
                let ms = u64::try_from(now.duration_since(start).as_millis()).unwrap();
                prop_assert!(watch.is_due(now) && watch.next_look() > now);
                for ((which, since), told) in begun.iter().zip(&mut told) {
                    let limit = Duration::from_millis(limits[*which]);
                    if *since <= ms && told.is_none() && watch.is_over(at(*since), limit, at(ms), now) {
                        *told = Some(ms);
                    }
                }
            }
            for ((which, since), told) in begun.iter().zip(told) {
                prop_assert_eq!(told, Some(since + limits[*which]), "of {} after {}", since, limits[*which]);
            }
        }
    }

    #[test]
    fn what_is_dated_ahead_of_the_clock_is_over_when_it_was_seen_for_as_long_as_the_limit() {
        let limits = Limits { backup_missed_after: Duration::from_secs(90), feed_behind_after: Duration::ZERO };
        let mut watch = Watch::new(limits, None, Box::new(|_| Vec::new()));
        let begun = watch.next_look();
        let (mut now, mut over_at) = (begun, None);
        while over_at.is_none() {
            assert!(watch.is_due(now));
            let ms = u64::try_from(now.duration_since(begun).as_millis()).unwrap();
            if watch.is_over(at(5_184_000_000), limits.backup_missed_after, at(ms), now) {
                over_at = Some(ms);
            }
            now = watch.next_look();
        }
        assert_eq!(over_at, Some(90_000));
    }

    #[test]
    fn without_a_limit_nothing_is_told_or_waited_for() {
        let limits = Limits { backup_missed_after: Duration::ZERO, feed_behind_after: Duration::ZERO };
        let mut watch = Watch::new(limits, None, Box::new(|_| Vec::new()));
        let now = watch.next_look();
        assert!(watch.is_due(now) && !watch.is_over(at(0), Duration::ZERO, at(1), now));
        assert_eq!(watch.next_look(), now + EVERY);
    }

    #[test]
    fn a_certificate_is_told_of_by_the_last_look_before_its_time() {
        let limits = Limits { backup_missed_after: Duration::ZERO, feed_behind_after: Duration::ZERO };
        let ends = |wall| if wall >= at(90_000) { vec!["it ends".to_owned()] } else { Vec::new() };
        let watch = Watch::new(limits, None, Box::new(ends));
        let told: Vec<_> = (0..3).map(|look| watch.ending(at(look * 60_000)).len()).collect();
        assert_eq!(told, [0, 1, 1]);
    }
}
