//! Publishers and operators: what they ask for, and what they make of the answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempclock_webhooks::domain::endpoint::{Endpoint, EndpointPolicy};
use tempclock_webhooks::domain::event::event_type::EventType;
use tempclock_webhooks::domain::event::event_types::EventTypes;
use tempclock_webhooks::domain::event::{IdempotencyEntry, IdempotencyKey, KeySource, NewEvent};
use tempclock_webhooks::domain::job::{DeliverySelection, Job, JobTask, Replay, ReplayOnly};
use tempclock_webhooks::domain::options::order::OrderKey;
use tempclock_webhooks::domain::options::{Options, OptionsChange};
use tempclock_webhooks::domain::signing::SigningSecret;
use tempclock_webhooks::domain::signing_keys::SigningKeys;
use tempclock_webhooks::domain::subscription::{NewSubscription, Subscription, SubscriptionChange};
use tempclock_webhooks::domain::{AccountId, DeliveryId, JobId, SubscriptionId};
use tempclock_webhooks::storage::command::{Command, Published, ReplySender};
use tempclock_webhooks::storage::error::Rejection;
use tokio::sync::oneshot::{self, Receiver};

use super::endpoints::Mood;
use super::model::{Wanted, Wish};
use super::world::World;

type Answered<T> = Receiver<Result<T, Rejection>>;

/// What is queued for the writer, in its order.
pub enum Asked {
    Publish(AccountId, Vec<Wanted>, Answered<Vec<Published>>),
    Create(Answered<Subscription>),
    Change(SubscriptionId, Answered<Subscription>),
    Delete(SubscriptionId, Answered<()>),
    Redeliver(DeliveryId, Answered<()>),
    Job(AccountId, JobTask, Answered<Job>),
    Stop(JobId, Answered<Job>),
}

fn endpoint(number: usize) -> Endpoint {
    Endpoint::parse(&format!("https://crm{number}.example.com/hook"), &EndpointPolicy::default()).unwrap()
}

fn now<T>(mut answer: Answered<T>) -> Result<Result<T, Rejection>, String> {
    answer.try_recv().map_err(|_| "a commit without an answer".to_owned())
}

impl World {
    fn ask<T>(&mut self, command: impl FnOnce(ReplySender<T>) -> Command) -> Answered<T> {
        let (reply, answer) = oneshot::channel();
        self.process.writer.try_send(command(reply)).unwrap();
        answer
    }

    fn account(&mut self) -> AccountId {
        AccountId(self.dice.pick(&[1, 1, 1, 2]))
    }

    pub fn publish(&mut self, events: usize) {
        let account = self.account();
        let wanted: Vec<_> = (0..events)
            .map(|_| Wanted {
                event_type: self.dice.pick(&EventType::BASE),
                key: self.dice.one_in(4).then(|| IdempotencyKey(self.dice.below(30) as u128)),
                fingerprint: [self.dice.pick(&[1, 1, 1, 2]); 16],
                worker: self.dice.pick(&[0, 1, 2, 2]),
            })
            // The fingerprint is of the whole event, so it tells types apart.
            .map(|one| {
                let kind = one.event_type.number().unwrap_or_default();
                let print = one.fingerprint[0] + 10 * kind + 80 * one.worker;
                Wanted { fingerprint: [print; 16], ..one }
            })
            .collect();
        let length = self.dice.below(300);
        let new = wanted.iter().map(|one| NewEvent {
            tags: Vec::new(),
            event_type: one.event_type,
            is_opt_in: false,
            data: match one.worker {
                0 => format!(r#"{{"note":"{}"}}"#, "x".repeat(length)).into(),
                worker => format!(r#"{{"worker_id":{worker},"note":"{}"}}"#, "x".repeat(length)).into(),
            },
            occurred_at: None,
            worker: (one.worker != 0).then(|| OrderKey::of_worker(&one.worker.to_string())),
            unfit: Vec::new(),
            idempotency: one
                .key
                .map(|key| IdempotencyEntry { key, source: KeySource::Header, fingerprint: one.fingerprint })
                .into_iter()
                .collect(),
        });
        let events = new.collect();
        let answer = self.ask(|reply| Command::Publish { account, events, reply });
        self.asked.push_back(Asked::Publish(account, wanted, answer));
    }

    pub fn create(&mut self) {
        let account = self.account();
        let number = self.dice.below(9);
        let events =
            EventTypes::from_stored(if self.dice.one_in(2) { vec!["*"] } else { vec!["clock_in", "ping"] }).unwrap();
        let active = !self.dice.one_in(8);
        let new = NewSubscription {
            endpoint: endpoint(number),
            events,
            description: String::new(),
            active,
            options: self.draw_options(),
        };
        let keys = SigningKeys::of(SigningSecret::from_random(&[1; 32]));
        let answer = self.ask(|reply| Command::CreateSubscription { account, new, keys, reply });
        self.asked.push_back(Asked::Create(answer));
    }

    /// Most subscriptions have no options.
    fn draw_options(&mut self) -> Arc<Options> {
        let mut change = OptionsChange::default();
        let order = if self.dice.one_in(2) { self.dice.pick(&["worker", "worker", "subscription"]) } else { "none" };
        change.push("order", order.into());
        if order != "worker" && self.dice.one_in(3) {
            let (max, wait) = (self.dice.pick(&[1, 2, 3, 7]), self.dice.pick(&["1ms", "2s", "40s"]));
            change.push("batch", json!({"max": max, "wait": wait}));
        }
        if self.dice.one_in(4) {
            change.push("rate_limit", self.dice.pick(&["1/s", "3/s", "30/m"]).into());
        }
        if self.dice.one_in(6) {
            let (from, to) = self.dice.pick(&[("08:00", "20:00"), ("22:00", "21:00")]);
            let window = json!({"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": from, "to": to, "time_zone": "UTC"});
            change.push("delivery_window", window);
        }
        Options::shared(change.apply(&Options::default()).unwrap())
    }

    fn change(&mut self, id: SubscriptionId, change: SubscriptionChange) {
        let account = self.model.wishes[&id].account;
        let answer = self.ask(|reply| Command::ChangeSubscription { account, id, change, reply });
        self.asked.push_back(Asked::Change(id, answer));
    }

    /// An operator does something to a subscription or a delivery.
    pub fn operate(&mut self) {
        let ids: Vec<_> = self.model.wishes.keys().copied().collect();
        if ids.is_empty() || self.dice.one_in(8) {
            return self.create();
        }
        let id = self.dice.pick(&ids);
        if self.has_jobs && self.dice.one_in(6) {
            return self.ask_for_job(id);
        }
        match self.dice.below(12) {
            0 | 1 => self.change(id, SubscriptionChange { active: Some(false), ..SubscriptionChange::default() }),
            2..=4 => self.change(id, SubscriptionChange { active: Some(true), ..SubscriptionChange::default() }),
            5 => {
                let other = Some(endpoint(self.dice.below(9)));
                self.change(id, SubscriptionChange { endpoint: other, ..SubscriptionChange::default() });
            }
            6 if self.dice.one_in(2) => {
                let account = self.model.wishes[&id].account;
                let answer = self.ask(|reply| Command::DeleteSubscription { account, id, reply });
                self.asked.push_back(Asked::Delete(id, answer));
            }
            _ => self.redeliver(),
        }
    }

    fn redeliver(&mut self) {
        let of: Vec<_> = self.model.last.keys().copied().collect();
        // Those whose attempt has just ended are of interest.
        let mut ids: Vec<_> =
            self.reported.iter().flatten().flat_map(|reported| reported.deliveries().to_vec()).collect();
        if ids.is_empty() || self.dice.one_in(2) {
            ids = of;
        }
        if ids.is_empty() {
            return;
        }
        let id = self.dice.pick(&ids);
        let Some(account) = self.model.wishes.get(&id.subscription).map(|wish| wish.account) else { return };
        let answer = self.ask(|reply| Command::Redeliver { account, id, reply });
        self.asked.push_back(Asked::Redeliver(id, answer));
    }

    /// An operator asks for a job that has to do with this subscription, or stops one.
    fn ask_for_job(&mut self, id: SubscriptionId) {
        let under_way: Vec<_> = self.jobs.active().map(|job| (job.account, job.id)).collect();
        if !under_way.is_empty() && self.dice.one_in(4) {
            let (account, id) = self.dice.pick(&under_way);
            self.jobs.asked_to_stop(id);
            let answer = self.ask(|reply| Command::StopJob { account, id, reply });
            return self.asked.push_back(Asked::Stop(id, answer));
        }
        let account = self.model.wishes[&id].account;
        let times: Vec<_> = self.model.events.keys().map(|event| event.time()).collect();
        let Some(last) = times.last() else { return };
        let (since, until) = (self.dice.pick(&times), last.plus(Duration::from_millis(1)));
        let task = if self.dice.one_in(2) {
            JobTask::Retry(DeliverySelection {
                subscription: (!self.dice.one_in(4)).then_some(id),
                status: self.dice.pick(&["exhausted", "exhausted", "expired", "delivered"]),
                event_type: None,
                since: self.dice.one_in(2).then_some(since),
                until: self.dice.one_in(2).then_some(until),
            })
        } else {
            let events = self.dice.one_in(2).then(|| self.model.wishes[&id].types.clone());
            JobTask::Replay(Replay { subscription: id, events, only: self.dice.pick(&ReplayOnly::ALL), since, until })
        };
        self.jobs.asked(&task);
        self.turns.asked_for_job(task.subscription());
        let wanted = task.clone();
        let answer = self.ask(|reply| Command::CreateJob { account, task: wanted, of: None, reply });
        self.asked.push_back(Asked::Job(account, task, answer));
    }

    /// Switches everything on.
    pub fn activate_all(&mut self) {
        for id in self.model.wishes.keys().copied().collect::<Vec<_>>() {
            self.change(id, SubscriptionChange { active: Some(true), ..SubscriptionChange::default() });
        }
    }

    /// What follows from an answer that came with a commit.
    pub fn settle(&mut self, asked: Asked) -> Result<(), String> {
        match asked {
            Asked::Publish(account, wanted, answer) => {
                let is_accepted = self.model.published(account, &wanted, now(answer)?)?;
                self.note(if is_accepted { "publish" } else { "conflict" });
            }
            Asked::Create(answer) => match now(answer)? {
                Ok(made) => {
                    let url = made.endpoint.as_str().to_owned();
                    let wish = Wish { account: made.account, types: made.events, url };
                    self.model.wishes.insert(made.id, wish);
                    if !self.is_calm {
                        self.moods.insert(made.id, Mood::draw(&mut self.dice));
                    }
                }
                Err(Rejection::TooManySubscriptions(_)) => {}
                Err(refusal) => return Err(format!("a subscription was refused: {refusal}")),
            },
            Asked::Change(id, answer) => match (now(answer)?, self.model.wishes.get_mut(&id)) {
                (Ok(changed), Some(wish)) => changed.endpoint.as_str().clone_into(&mut wish.url),
                (Err(Rejection::NotFound), None) => {}
                (answer, wish) => return Err(format!("a change of {wish:?} was answered {answer:?}")),
            },
            Asked::Delete(id, answer) => match (now(answer)?, self.model.wishes.remove(&id)) {
                (Ok(()), Some(_)) => self.note("deletion"),
                (Err(Rejection::NotFound), None) => {}
                (answer, wish) => return Err(format!("the deletion of {wish:?} was answered {answer:?}")),
            },
            Asked::Redeliver(id, answer) => {
                let is_known = self.model.wishes.contains_key(&id.subscription) && self.model.last.contains_key(&id);
                match now(answer)? {
                    Ok(()) => {
                        self.turns.redelivered(id);
                        self.note("redelivery");
                    }
                    Err(Rejection::NotFound) if !is_known => {}
                    Err(refusal) => return Err(format!("a redelivery was refused: {refusal}")),
                }
            }
            Asked::Job(account, task, answer) => {
                let view = self.process.reader.view();
                if self.jobs.answered(&view, &self.model, (account, task), now(answer)?)? {
                    self.note("job");
                }
            }
            Asked::Stop(id, answer) => self.jobs.stop_answered(id, now(answer)?)?,
        }
        Ok(())
    }
}
