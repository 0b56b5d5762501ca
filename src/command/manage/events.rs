//! `events list|show|erase|types`. Publishing is in `publish`.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::EventsCommand;
use crate::command::client::control_api::{ControlApi, with_api};
use crate::command::client::query::{path_part, time_parameter};
use crate::command::client::reply::ApiReply;
use crate::command::console::confirm::{can_ask, confirm};
use crate::command::console::output::{
    counted, note_message, note_rest, put, put_answer, put_fields, put_json, put_table, rows, say, text, time,
};
use crate::command::console::terminal::json_line;
use crate::command::failure::failed;
use crate::command::manage::{deliveries, jobs, publish};
use crate::command::{Failure, Outcome, config};
use crate::domain::escape::escape_controls;
use crate::domain::event::catalogue::Catalogue;
use crate::http::{EventTypeView, shown};

pub fn run(command: EventsCommand) -> Outcome {
    match command {
        EventsCommand::Publish(args) => publish::run(&args),
        EventsCommand::List { account, find, event, since, until, limit } => {
            let filter = [("event", event), ("since", since.map(time_parameter)), ("until", until.map(time_parameter))];
            let filter: Vec<_> = filter.into_iter().chain(find.parameters()).collect();
            let filter: Vec<_> = filter.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
            with_api(&account, |api| {
                let answer = api.list("/events", &filter, limit)?;
                if account.json { put_answer(&answer) } else { put_list(&answer) }
            })
        }
        EventsCommand::Show { account, id } => with_api(&account, |api| {
            let answer = api.get(&format!("/events/{}", path_part(&id)), &[])?;
            if account.json { put_answer(&answer) } else { put_one(&answer) }
        }),
        EventsCommand::Erase { account, worker, deliver_pending, yes } => {
            can_ask(yes)?;
            confirm(&format!("Erase all events of worker {}? This cannot be undone.", escape_controls(&worker)), yes)?;
            let body = json!({"worker_id": worker, "deliver_pending": deliver_pending});
            with_api(&account, |api| erase(api, &body, account.json))
        }
        EventsCommand::Types { config, json } => put_types(&config::load(&config, Vec::new())?.config.catalogue, json),
    }
}

/// Creates a job that erases, and waits for it unless that may take days.
fn erase(api: &ControlApi, body: &Value, json: bool) -> Outcome {
    let created = api.change("POST", "/erasures", Some(body))?;
    let waits = body["deliver_pending"] != true;
    let ended = if waits { Some(jobs::wait_for(api, &created)?) } else { None };
    if json {
        return put_answer(ended.as_ref().unwrap_or(&created));
    }
    if let Some(ended) = ended {
        let done = ended["data"]["done"].as_u64().unwrap_or_default();
        put(&format!("{} erased.\n", counted(done, "event", "events")))?;
    } else {
        note_message(&created);
        put(&format!("Follow it with: tempclock-webhooks jobs show {}\n", text(&created["data"]["job"], "id")))?;
    }
    match created["data"]["last_backup_at"].as_str() {
        Some(_) => say(&format!(
            "The last backup before the erasure is from {}; it and earlier ones still have the events.",
            time(&created["data"], "last_backup_at")
        )),
        None => say("No backup is known; backups made by other means still have the events."),
    }
    Ok(())
}

/// An event with its raw data: parsing would change numbers and the order of fields.
#[derive(Deserialize)]
struct PublishedEvent<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A response with one event or many.
#[derive(Deserialize)]
struct DataEnvelope<T> {
    data: T,
}

impl PublishedEvent<'_> {
    fn text(&self) -> String {
        self.data.map_or_else(String::new, |data| json_line(data.get()))
    }
}

fn put_list(answer: &ApiReply) -> Outcome {
    let published: DataEnvelope<Vec<PublishedEvent>> = serde_json::from_str(&answer.text).map_err(failed)?;
    let row = |(event, published): (&Value, &PublishedEvent)| {
        vec![text(event, "id"), text(event, "event"), time(event, "created_at"), published.text()]
    };
    let all = rows(answer).iter().zip(&published.data);
    put_table(&["ID", "EVENT", "STORED", "DATA"], &all.map(row).collect::<Vec<_>>())?;
    note_rest(answer, "events");
    Ok(())
}

fn put_one(answer: &ApiReply) -> Outcome {
    let published: DataEnvelope<PublishedEvent> = serde_json::from_str(&answer.text).map_err(failed)?;
    let event = &answer["data"];
    put_fields(&[
        ("id", text(event, "id")),
        ("event", text(event, "event")),
        ("happened", time(event, "timestamp")),
        ("stored", time(event, "created_at")),
        ("tags", text(event, "tags")),
        ("data", published.data.text()),
        ("erased", time(event, "erased_at")),
        ("sha256", text(event, "sha256")),
    ])?;
    let deliveries = event["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
    if deliveries.is_empty() {
        say("It matched no subscription.");
        return Ok(());
    }
    put("\n")?;
    deliveries::put_table_of(deliveries)
}

fn put_types(catalogue: &Catalogue, json: bool) -> Result<(), Failure> {
    let types = shown(catalogue);
    if json {
        let total = types.len();
        let pagination = json!({"total": total, "limit": total, "offset": 0, "has_more": false});
        return put_json(&json!({"data": types, "pagination": pagination}));
    }
    let row = |found: &EventTypeView<'_>| {
        let required = text(&found.schema, "required");
        vec![found.name.to_string(), found.description.to_owned(), required.replace(',', " ")]
    };
    put_table(&["NAME", "MEANING", "REQUIRED IN DATA"], &types.iter().map(row).collect::<Vec<_>>())
}
