//! Checks the queue of pending deliveries: over the API while the server runs, otherwise from the file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use crate::command::client::http_api::{HttpApi, HttpApiError};
use crate::command::doctor::context::DoctorContext;
use crate::command::doctor::finding::Finding;
use crate::config::StorageEngine;
use crate::control::client::Client;
use crate::domain::Timestamp;
use crate::domain::escape::escape_controls;
use crate::domain::subscription::SubscriptionState;
use crate::storage::error::OpenError;
use crate::storage::maintenance::{InspectError, Inspection, Maintenance};

const QUEUE: &str = "queue";
const FEEDS: &str = "feeds";
/// A delivery overdue by this long is stuck.
const STUCK: Duration = Duration::from_mins(5);
/// Maximum number of subscriptions named in a finding.
const SHOWN: usize = 10;
/// Maximum page size.
const PAGE: u64 = 100;
/// The greatest offset that a list takes.
const MAX_OFFSET: u64 = 10_000;

/// The state of the queue.
#[derive(Debug, Default)]
pub struct QueueReport {
    /// When the newest event was stored, if known.
    pub newest_event: Option<Timestamp>,
    /// How much of the time until now does not count for retention, as far as it could be seen.
    pub left_out: Duration,
    pending: u64,
    /// The earliest due time of deliveries that are not held.
    oldest_due: Option<Timestamp>,
    /// The endpoints of all subscriptions, by their numbers.
    urls: BTreeMap<u64, String>,
    /// Subscriptions by number, with a description.
    disabled: BTreeMap<u64, String>,
    failing: BTreeMap<u64, String>,
    /// Feeds by number, with what is not acknowledged, if there is something.
    feeds: BTreeMap<u64, Option<Unacknowledged>>,
}

/// The oldest event of a feed that its reader has not acknowledged.
#[derive(Debug)]
struct Unacknowledged {
    since: Timestamp,
    /// Whose feed it is.
    whose: String,
}

/// Reads the queue's state by whichever way is available.
pub fn look(context: &DoctorContext, is_up: bool) -> Result<QueueReport, Finding> {
    match (is_up, &context.url, &context.key) {
        (true, Some(url), Some(key)) => {
            let api = HttpApi::new(url.clone(), key.clone(), context.agent.clone());
            let mut queue = QueueReport::default();
            let asked = queue.ask("", |path| api.call("GET", path, None));
            asked.map(|()| queue).map_err(|error| match error {
                HttpApiError::ErrorStatus { status: 401 | 403, .. } => {
                    Finding::problem(QUEUE, error.to_string(), "Use a key with the scope webhooks:read")
                }
                _ => Finding::problem(QUEUE, error.to_string(), "Check the server's log"),
            })
        }
        _ => match (&context.control, is_up) {
            (Some(client), _) => over_control(client).map_err(|error| {
                Finding::problem(
                    QUEUE,
                    format!("the control socket does not respond: {error}"),
                    "Check the server's log",
                )
            }),
            (None, true) => Err(Finding::warning(
                QUEUE,
                "not checked: the server runs, but this user cannot use its control socket",
                "Run doctor as the user that the server runs as, or pass --api-key-file with a key that has the scope webhooks:read",
            )),
            (None, false) => in_file(context),
        },
    }
}

fn in_file(context: &DoctorContext) -> Result<QueueReport, Finding> {
    if context.config.storage.engine == StorageEngine::Postgres {
        let message = "not checked: no server runs here, and the queue is in PostgreSQL";
        return Err(Finding::warning(QUEUE, message, "Start the server, or run doctor where it runs"));
    }
    match Maintenance::of(&context.config.storage.data_dir).inspect(context.now) {
        Ok(seen) => Ok(seen.map(of_file).unwrap_or_default()),
        Err(error @ InspectError::Denied(_)) => Err(Finding::warning(
            QUEUE,
            format!("not checked: {error}"),
            "Run doctor as the user that the server runs as",
        )),
        Err(error @ InspectError::InUse(_)) => Err(Finding::warning(
            QUEUE,
            format!("not checked: {error}"),
            "If that is the server, pass its address with --api-url and a key with --api-key-file",
        )),
        Err(error @ (InspectError::Unclean | InspectError::Older(_))) => {
            Err(Finding::warning(QUEUE, error.to_string(), "Start the server; nothing that was acknowledged is lost"))
        }
        Err(InspectError::Open(error @ OpenError::Full { .. })) => {
            Err(Finding::problem(QUEUE, error.to_string(), "Free some space on its disk, or raise the quota"))
        }
        Err(error @ InspectError::Open(_)) => Err(Finding::problem(
            QUEUE,
            error.to_string(),
            "Run: tempclock-webhooks verify FILE; if it is damaged, restore a backup",
        )),
    }
}

fn of_file(seen: Inspection) -> QueueReport {
    let mut queue = QueueReport {
        newest_event: seen.newest_event,
        left_out: seen.left_out,
        pending: seen.pending,
        ..QueueReport::default()
    };
    for waiting in seen.subscriptions {
        let whose = of_account(&waiting.account);
        if waiting.is_pull {
            let since = waiting.unacknowledged_since.filter(|_| waiting.state.is_active());
            let oldest = since.map(|since| Unacknowledged { since, whose: whose.clone() });
            queue.feeds.insert(waiting.id.0.into(), oldest);
        } else {
            queue.urls.insert(waiting.id.0.into(), waiting.endpoint.as_str().to_owned());
        }
        match waiting.state {
            SubscriptionState::Active => {
                queue.oldest_due = queue.oldest_due.into_iter().chain(waiting.oldest_due).min();
                if let Some(since) = waiting.failing_since {
                    queue.failing.insert(waiting.id.0.into(), format!("{whose} since {since}"));
                }
            }
            SubscriptionState::Disabled { reason, since } => {
                queue.disabled.insert(waiting.id.0.into(), format!("{whose} since {since} ({})", reason.words()));
            }
        }
    }
    queue
}

/// All accounts: each has or had a key.
fn over_control(client: &Client) -> std::io::Result<QueueReport> {
    let get = |path: &str| {
        let answer = client.send("GET", path, &[], None)?;
        let refused =
            || std::io::Error::other(escape_controls(answer.json["message"].as_str().unwrap_or("no reason given")));
        if answer.status == 200 { Ok(answer.json) } else { Err(refused()) }
    };
    let keys = get("/control/keys")?;
    let accounts: BTreeSet<&str> = rows(&keys).iter().filter_map(|key| key["account"].as_str()).collect();
    let left_out = get("/control/clock")?["data"]["left_out_s"].as_u64().unwrap_or_default();
    let mut queue = QueueReport { left_out: Duration::from_secs(left_out), ..QueueReport::default() };
    for account in accounts {
        let named: String = byte_serialize(account.as_bytes()).collect();
        queue.ask(&of_account(account), |path| get(&format!("/api/v1{path}&account={named}")))?;
    }
    Ok(queue)
}

fn of_account(name: &str) -> String {
    format!(" of account {}", escape_controls(name))
}

fn rows(answer: &Value) -> &[Value] {
    answer["data"].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::parse(value.as_str()?)
}

impl QueueReport {
    /// The endpoints, failing ones first.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let is_failing = |id: &u64| self.failing.contains_key(id);
        let (first, then): (Vec<_>, Vec<_>) = self.urls.iter().partition(|(id, _)| is_failing(id));
        first.into_iter().chain(then).map(|(_, url)| url.as_str())
    }

    /// Adds an account's data; `whose` describes the account. Every path has a query.
    fn ask<E>(&mut self, whose: &str, get: impl Fn(&str) -> Result<Value, E>) -> Result<(), E> {
        let mut offset = 0;
        loop {
            let page = get(&format!("/webhooks?limit={PAGE}&offset={offset}"))?;
            for subscription in rows(&page) {
                self.note(subscription, whose);
            }
            if page["pagination"]["has_more"] != true {
                break;
            }
            offset += PAGE;
        }
        let waiting = get(&format!("/deliveries?status=pending&limit={PAGE}"))?;
        let pending = waiting["pagination"]["total"].as_u64().unwrap_or_default();
        self.pending = self.pending.saturating_add(pending);
        self.take(&waiting);
        if pending > PAGE {
            // Lists are newest first, so the last page has the oldest, as far as an offset reaches.
            let offset = pending.saturating_sub(PAGE).min(MAX_OFFSET);
            self.take(&get(&format!("/deliveries?status=pending&limit={PAGE}&offset={offset}"))?);
        }
        // The key may lack the scope for events; the rest is still reported.
        if let Ok(newest) = get("/events?limit=1") {
            let newest = rows(&newest).first().and_then(|event| time(&event["created_at"]));
            self.newest_event = self.newest_event.max(newest);
        }
        Ok(())
    }

    fn note(&mut self, subscription: &Value, whose: &str) {
        let id = number(&subscription["id"]);
        self.urls.extend(subscription["url"].as_str().map(|url| (id, url.to_owned())));
        if subscription["mode"] == "pull" {
            let since = time(&subscription["unacknowledged_since"]).filter(|_| subscription["active"] == true);
            self.feeds.insert(id, since.map(|since| Unacknowledged { since, whose: whose.to_owned() }));
        }
        if subscription["active"] == false {
            let word = |field: &str| subscription[field].as_str().unwrap_or_default().to_owned();
            let (at, reason) = (word("disabled_at"), word("disabled_reason"));
            self.disabled.insert(id, format!("{whose} since {at} ({reason})"));
        } else if let Some(since) = subscription["failing_since"].as_str() {
            self.failing.insert(id, format!("{whose} since {since}"));
        }
    }

    fn take(&mut self, deliveries: &Value) {
        for delivery in rows(deliveries).iter().filter(|delivery| delivery["held"] == false) {
            self.oldest_due = self.oldest_due.into_iter().chain(time(&delivery["next_attempt_at"])).min();
        }
    }

    /// The findings. A feed is behind when its oldest event has waited for that long; after no time it never is.
    pub fn assess(&self, now: Timestamp, is_up: bool, behind_after: Duration) -> Vec<Finding> {
        let mut findings = Vec::new();
        let overdue = self.oldest_due.map(|due| (due, now.since(due))).filter(|(_, late)| *late > STUCK);
        let pending = self.pending;
        findings.push(match overdue {
            Some((due, _)) if is_up => Finding::problem(
                QUEUE,
                format!("{pending} pending deliveries, the oldest due since {due}"),
                "Check its last attempts (tempclock-webhooks deliveries list --status pending); raise delivery.threads if none failed",
            ),
            Some((due, _)) => Finding::warning(
                QUEUE,
                format!("{pending} pending deliveries, the oldest due since {due}"),
                "They are sent when the server runs",
            ),
            None => Finding::ok(QUEUE, format!("{pending} pending deliveries, none overdue")),
        });
        let total = self.urls.len() + self.feeds.len();
        if !self.disabled.is_empty() {
            findings.push(Finding::warning(
                "endpoints",
                format!("disabled: {} of {total}: {}", self.disabled.len(), listed(&self.disabled)),
                "Fix the endpoint, then enable it: tempclock-webhooks subscriptions resume N [--account NAME]",
            ));
        }
        if !self.failing.is_empty() {
            findings.push(Finding::warning(
                "endpoints",
                format!("failing: {} of {}: {}", self.failing.len(), self.urls.len(), listed(&self.failing)),
                "See why: tempclock-webhooks subscriptions show N [--account NAME]",
            ));
        }
        findings.extend(self.assess_feeds(now, behind_after));
        findings
    }

    fn assess_feeds(&self, now: Timestamp, behind_after: Duration) -> Option<Finding> {
        let is_behind = |since: Timestamp| !behind_after.is_zero() && now.since(since) >= behind_after;
        let behind = self.feeds.iter().filter_map(|(id, oldest)| {
            let Unacknowledged { since, whose } = oldest.as_ref().filter(|oldest| is_behind(oldest.since))?;
            Some((*id, format!("{whose} since {since}")))
        });
        let (behind, total): (BTreeMap<_, _>, _) = (behind.collect(), self.feeds.len());
        match behind.len() {
            _ if total == 0 => None,
            0 => Some(Finding::ok(FEEDS, format!("behind: none of {total}"))),
            count => Some(Finding::warning(
                FEEDS,
                format!("behind: {count} of {total}: {}", listed(&behind)),
                "Check that their readers run: events that they do not acknowledge expire after retention.held",
            )),
        }
    }
}

/// The first of them and the number of others.
fn listed(subscriptions: &BTreeMap<u64, String>) -> String {
    let first = subscriptions.iter().take(SHOWN).map(|(id, words)| format!("{id}{words}"));
    let rest = subscriptions.len().saturating_sub(SHOWN);
    first.chain((rest > 0).then(|| format!("and {rest} more"))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::finding::Level;

    fn level(late: Duration, is_up: bool) -> Level {
        let now = Timestamp::parse("2026-03-02T08:00:00Z").unwrap();
        let queue = QueueReport { pending: 1, oldest_due: Some(now.minus(late)), ..QueueReport::default() };
        queue.assess(now, is_up, Duration::ZERO)[0].level
    }

    #[test]
    fn what_is_long_overdue_is_a_problem_while_the_server_runs() {
        assert_eq!(level(Duration::from_mins(6), true), Level::Problem);
        assert_eq!(level(Duration::from_mins(4), true), Level::Ok);
        assert_eq!(level(Duration::from_mins(6), false), Level::Warning, "it goes out when the server runs");
    }
}
