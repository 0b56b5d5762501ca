//! The audit: who changed what, when, from where. Pure; any thread. Secrets are in no record: what a record compares is
//! what the API shows.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::domain::access::ApiKey;
use crate::domain::job::{Job, JobTask};
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, AuditId, KeyId};

/// Who asked for a change, and by which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who.
    pub actor: Actor,
    /// The request's id, which the log has too.
    pub request_id: String,
    /// The caller's address; none on the control socket.
    pub source: Option<IpAddr>,
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The holder of an API key.
    Key {
        /// Its number.
        id: KeyId,
        /// The visible prefix of its text.
        prefix: String,
    },
    /// A user of the server's machine, by a command.
    Operator {
        /// The user's name there.
        user: String,
    },
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The account that it concerns.
    pub account: AccountId,
    /// What was done, such as `subscription.updated`.
    pub action: String,
    /// The id of what was changed, as text.
    pub object: String,
    /// The fields that differ, as they were; none of what was created.
    pub before: Option<Map<String, Value>>,
    /// The fields that differ, as they are; none of what was deleted.
    pub after: Option<Map<String, Value>>,
}

/// A change with who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its id, which has its time.
    pub id: AuditId,
    /// Who made it.
    pub origin: Origin,
    /// What it was.
    pub change: Change,
}

impl Change {
    /// A change without fields.
    #[must_use]
    pub fn of(account: AccountId, action: &str, object: String) -> Self {
        Self { account, action: action.to_owned(), object, before: None, after: None }
    }

    /// A subscription that was created, changed or deleted. One of both is there.
    #[must_use]
    pub fn of_subscription(before: Option<&Subscription>, after: Option<&Subscription>) -> Option<Self> {
        let one = after.or(before)?;
        let action = match (before, after) {
            (None, _) => "subscription.created",
            (Some(_), None) => "subscription.deleted",
            _ => "subscription.updated",
        };
        let (before, after) = differing(before.map(subscription_fields), after.map(subscription_fields));
        Some(Self { before, after, ..Self::of(one.account, action, one.id.to_string()) })
    }

    /// A job that was created or stopped.
    #[must_use]
    pub fn of_job(action: &str, job: &Job) -> Self {
        let mut after = fields(json!({"kind": job.task.kind(), "subscription": job.task.subscription()}));
        if let JobTask::Erase(erasure) = &job.task {
            after.insert("worker_id".to_owned(), erasure.worker.text.as_ref().into());
            after.insert("deliver_pending".to_owned(), erasure.deliver_pending.into());
        }
        Self { after: Some(after), ..Self::of(job.account, action, job.id.to_string()) }
    }

    /// A key that was created, or changed by that action.
    #[must_use]
    pub fn of_key(action: &str, before: Option<&ApiKey>, after: &ApiKey) -> Self {
        let (before, fields) = differing(before.map(key_fields), Some(key_fields(after)));
        Self { before, after: fields, ..Self::of(after.account, action, after.id.to_string()) }
    }
}

type Fields = Option<Map<String, Value>>;

/// What differs, where there are both.
fn differing(before: Fields, after: Fields) -> (Fields, Fields) {
    let (Some(mut before), Some(mut after)) = (before.clone(), after.clone()) else { return (before, after) };
    before.retain(|name, value| {
        let differs = after.get(name) != Some(value);
        if !differs {
            after.remove(name);
        }
        differs
    });
    (Some(before), Some(after))
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn subscription_fields(subscription: &Subscription) -> Map<String, Value> {
    let mut shown = fields(json!({
        "url": subscription.endpoint.as_str(),
        "events": subscription.events.names(),
        "description": subscription.description,
        "active": subscription.state.is_active(),
    }));
    shown.extend(subscription.options.to_json(false));
    shown
}

fn key_fields(key: &ApiKey) -> Map<String, Value> {
    fields(json!({
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes.names(),
        "expires_at": key.expires_at,
        "networks": key.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "subscriptions": key.subscriptions,
        "revoked_at": key.revoked_at,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_kept_of_a_change() {
        let before = fields(json!({"url": "a", "active": true, "old": 1}));
        let after = fields(json!({"url": "a", "active": false, "new": 2}));
        let (left, right) = differing(Some(before.clone()), Some(after));
        assert_eq!(Value::from(left.unwrap()), json!({"active": true, "old": 1}));
        assert_eq!(Value::from(right.unwrap()), json!({"active": false, "new": 2}));
        assert_eq!(differing(None, Some(before.clone())), (None, Some(before.clone())));
        assert_eq!(differing(Some(before.clone()), None), (Some(before), None));
    }
}
