//! `deliveries tail`: asks the running server every second what has been attempted since, and prints it. Runs until
//! Ctrl-C. It holds what it has seen of the last minutes and no more.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use super::access::{Api, running};
use super::output::{put, put_json, rows, say, text, time};
use super::serve::{self, End};
use super::{Failure, Outcome};
use crate::cli::AccountArgs;
use crate::clock::Clock;

const PAUSE: Duration = Duration::from_secs(1);
/// Deliveries of events of so long ago are asked for as a list. An attempt of an older one is found among its
/// subscription's last attempts.
const WINDOW: Duration = Duration::from_mins(5);
/// How many of them at most.
const LIST: u64 = 1000;
const SUBSCRIPTIONS: u64 = 1000;

pub fn run(account: &AccountArgs, subscription: Option<u32>) -> Outcome {
    let api = running(account)?;
    let (ends, end) = channel();
    serve::watch_signals(ends, || {});
    let tail = Tail { api, subscription: subscription.map(|id| id.to_string()), json: account.json };
    tail.follow(&end)
}

struct Tail {
    api: Api,
    subscription: Option<String>,
    json: bool,
}

/// Deliveries with how many attempts of each are known.
type Seen = HashMap<String, u64>;

impl Tail {
    fn follow(&self, end: &Receiver<End>) -> Outcome {
        let (mut seen, _) = self.look(None)?;
        say("Following deliveries; Ctrl-C ends it.");
        loop {
            match end.recv_timeout(PAUSE) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let (now, news) = self.look(Some(&seen))?;
            for delivery in news {
                self.put(&delivery)?;
            }
            seen = now;
        }
    }

    /// What is to be seen now, and the deliveries that have been attempted since the last look.
    fn look(&self, seen: Option<&Seen>) -> Result<(Seen, Vec<Value>), Failure> {
        let since = Clock::start().wall().minus(WINDOW).to_string();
        let mut filter = vec![("since", since.as_str())];
        filter.extend(self.subscription.as_deref().map(|id| ("subscription", id)));
        let listed = self.api.list("/deliveries", &filter, LIST)?;
        let (mut now, mut news) = (Seen::new(), Vec::new());
        for delivery in rows(&listed).iter().rev() {
            let (id, count) = (text(delivery, "id"), delivery["attempt_count"].as_u64().unwrap_or(0));
            if seen.is_some_and(|seen| count > seen.get(&id).copied().unwrap_or(0)) {
                news.push(delivery.clone());
            }
            now.insert(id, count);
        }
        for subscription in self.subscriptions()? {
            let found = self.api.get(&format!("/webhooks/{subscription}"), &[])?;
            let recent = found["data"]["recent_deliveries"].as_array().map_or(&[][..], Vec::as_slice);
            for attempt in recent.iter().rev() {
                let (id, number) = (text(attempt, "delivery_id"), attempt["attempt"].as_u64().unwrap_or(0));
                let known = now.get(&id).or_else(|| seen?.get(&id)).copied().unwrap_or(0);
                if number > known && seen.is_some() {
                    news.extend(self.short(&id)?);
                }
                now.insert(id, number.max(known));
            }
        }
        Ok((now, news))
    }

    fn subscriptions(&self) -> Result<Vec<String>, Failure> {
        if let Some(id) = &self.subscription {
            return Ok(vec![id.clone()]);
        }
        let all = self.api.list("/webhooks", &[], SUBSCRIPTIONS)?;
        Ok(rows(&all).iter().map(|found| text(found, "id")).collect())
    }

    /// One delivery as lists show it; none if it was deleted meanwhile.
    fn short(&self, id: &str) -> Result<Option<Value>, Failure> {
        let answer = self.api.send("GET", &format!("/deliveries/{id}"), &[], None)?;
        let mut delivery = answer.json["data"].clone();
        if let Some(fields) = delivery.as_object_mut() {
            fields.retain(|name, _| name != "attempts" && name != "body");
        }
        Ok(Some(delivery).filter(|_| answer.status == 200))
    }

    fn put(&self, delivery: &Value) -> Outcome {
        if self.json {
            return put_json(delivery);
        }
        let (status, event, id) = (text(delivery, "status"), text(delivery, "event"), text(delivery, "id"));
        let mut line = format!(
            "{status:9} {event:16} for {} attempt {} {id}",
            delivery["subscription_id"], delivery["attempt_count"]
        );
        let error = text(delivery, "error");
        if !error.is_empty() {
            line = format!("{line}\n          {error}");
        }
        let next = time(delivery, "next_attempt_at");
        if !next.is_empty() {
            line = format!("{line}\n          next attempt at {next}");
        }
        put(&format!("{line}\n"))
    }
}
