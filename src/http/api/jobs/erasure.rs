//! Makes the job that erases the events of a worker. Runs on the HTTP workers; the writer does the work.

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::access::Scope;
use crate::domain::event::field;
use crate::domain::event::find::{FindKey, FindKind};
use crate::domain::job::{Erasure, JobTask};
use crate::domain::{EventId, FieldError, FieldErrors, Timestamp};
use crate::http::api::fields::ObjectFields;
use crate::http::api::jobs::{JobView, until_now};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, JsonText};
use crate::http::request::respond;
use crate::http::request::state::HttpState;
use crate::storage::command::Command;
use crate::storage::read::reader::ReadView;

/// Message after an erasure was created.
pub const CREATED: &str =
    "The erasure runs in the background, and continues after a restart. Earlier backups still contain the events.";

const FIELDS: [&str; 2] = ["worker_id", "deliver_pending"];

/// The response to a request for an erasure.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedErasure")]
pub struct CreatedErasure {
    /// The job. `GET /jobs/{id}` shows its progress.
    job: JobView,
    /// When the last backup before the erasure was made, which still has the events; null if none is known.
    last_backup_at: Option<Timestamp>,
}

/// `POST /erasures`.
pub async fn create(state: web::Data<HttpState>, caller: Caller, body: JsonText) -> Result<HttpResponse, ApiError> {
    let account = caller.require(Scope::EventsErase)?;
    if !caller.sees_all() {
        return Err(ApiError::limited_to_subscriptions());
    }
    let (worker, deliver_pending) = read(&body.text)?;
    let until = EventId(EventId::first_at(until_now(&state, None)).0.saturating_sub(1));
    let task = JobTask::Erase(Erasure { worker, until, deliver_pending, has_left: false });
    let job = state.change(caller.origin(), |reply| Command::CreateJob { account, task, of: None, reply }).await?;
    log::info!("job {} ({}) created", job.id, job.task.kind());
    let last_backup_at = state.read(caller.counted_account(), ReadView::last_backup).await?;
    let view = CreatedErasure { job: job.into(), last_backup_at };
    Ok(respond::single_with_message(HttpResponse::Accepted(), &view, CREATED))
}

/// The worker, and whether pending deliveries are awaited.
fn read(text: &str) -> Result<(FindKey, bool), ApiError> {
    let fields = ObjectFields::parse(text)?;
    let mut errors = FieldErrors::default();
    let (mut worker, mut deliver_pending) = (Err("is missing".to_owned()), Ok(false));
    for (name, value) in fields.once_each(&mut errors).iter().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "worker_id" => worker = worker_id(value),
            "deliver_pending" => deliver_pending = value.as_bool().ok_or("must be true or false"),
            _ => errors.add(|| FieldError::unknown(name, &FIELDS)),
        }
    }
    if let Err(message) = &worker {
        errors.add(|| FieldError::new("worker_id", message));
    }
    if let Err(message) = deliver_pending {
        errors.add(|| FieldError::new("deliver_pending", message));
    }
    match (worker, deliver_pending) {
        (Ok(worker), Ok(deliver_pending)) if errors.is_empty() => Ok((worker, deliver_pending)),
        _ => Err(ApiError::invalid(errors)),
    }
}

fn worker_id(value: &Value) -> Result<FindKey, String> {
    let text = value.to_string();
    let id = field::id(&text).map_err(|fault| format!("must be an integer or a text; {fault}"))?;
    FindKey::wanted(FindKind::Worker, &id)
}

/// JSON Schema of the body.
#[must_use]
pub fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["worker_id"],
        "properties": {
            "worker_id": {
                "description": "The worker, as `worker_id` in the data of events: 52 and \"52\" are the same worker.",
                "type": ["integer", "string"],
                "minLength": 1,
            },
            "deliver_pending": {
                "description": "Whether to keep an event until its pending deliveries are settled. Otherwise they are cancelled.",
                "type": ["boolean", "null"],
            },
        },
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_named_as_events_name_it_and_every_wrong_field_is_refused() {
        for text in
            [r#"{"worker_id": 52}"#, r#"{"worker_id": "52"}"#, r#"{"worker_id": 52.0, "deliver_pending": null}"#]
        {
            let (worker, deliver_pending) = read(text).unwrap();
            assert_eq!((&*worker.text, deliver_pending), ("52", false), "{text}");
        }
        assert!(read(r#"{"worker_id": "a b", "deliver_pending": true}"#).unwrap().1);
        for (text, wrong) in [
            ("{}", 1),
            (r#"{"worker_id": null}"#, 1),
            (r#"{"worker_id": "", "deliver_pending": 1, "worker": 2}"#, 3),
            (r#"{"worker_id": [52]}"#, 1),
            (r#"{"worker_id": 5.5}"#, 1),
            (r#"{"worker_id": 5, "worker_id": 6}"#, 1),
        ] {
            let refused = read(text).unwrap_err();
            assert_eq!(
                serde_json::to_value(refused.body("")).unwrap()["errors"].as_array().map(Vec::len),
                Some(wrong),
                "{text}"
            );
        }
    }
}
