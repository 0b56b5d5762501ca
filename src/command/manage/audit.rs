//! `audit list`.

use serde_json::Value;

use crate::cli::AuditCommand;
use crate::command::Outcome;
use crate::command::client::control_api::with_api;
use crate::command::client::query::time_parameter;
use crate::command::console::output::{note_rest, put_answer, put_table, rows, text, time};

pub fn run(command: AuditCommand) -> Outcome {
    let AuditCommand::List { account, since, until, limit } = command;
    let filter = [("since", since.map(time_parameter)), ("until", until.map(time_parameter))];
    let filter: Vec<_> = filter.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    with_api(&account, |api| {
        let answer = api.list("/audit", &filter, limit)?;
        if account.json { put_answer(&answer) } else { put_list(&answer) }
    })
}

fn put_list(answer: &Value) -> Outcome {
    let row = |record: &Value| {
        let actor = &record["actor"];
        let who = match actor["key_id"].as_u64() {
            Some(id) => format!("key {id} ({})", text(actor, "key_prefix")),
            None => text(actor, "user"),
        };
        let (action, object) = (text(record, "action"), text(record, "object"));
        let changed: Vec<String> = [&record["after"], &record["before"]]
            .into_iter()
            .find_map(Value::as_object)
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default();
        vec![time(record, "created_at"), who, action, object, changed.join(", "), text(record, "source_address")]
    };
    put_table(&["TIME", "WHO", "ACTION", "ID", "FIELDS", "FROM"], &rows(answer).iter().map(row).collect::<Vec<_>>())?;
    note_rest(answer, "changes");
    Ok(())
}
