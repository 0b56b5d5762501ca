//! `subscriptions`: lets the operator manage subscriptions.

use serde_json::{Value, json};

use crate::cli::SubscriptionsCommand;
use crate::command::client::control_api::{ControlApi, with_api};
use crate::command::client::reply::ApiReply;
use crate::command::console::confirm::{can_ask, confirm};
use crate::command::console::input;
use crate::command::console::output::{
    note_message, note_rest, put, put_answer, put_fields, put_table, rows, say, text, time,
};
use crate::command::manage::deliveries::parts_of;
use crate::command::manage::subscription_options;
use crate::command::{Exit, Outcome};
use crate::domain::escape::escape_controls;

pub fn run(command: SubscriptionsCommand) -> Outcome {
    match command {
        SubscriptionsCommand::Create { account, url, events, description, paused, secret, options } => {
            let mut body = subscription_options::fields(&options)?;
            body.extend([
                ("url".to_owned(), json!(url)),
                ("events".to_owned(), json!(events)),
                ("active".to_owned(), json!(!paused)),
            ]);
            let mut body = Value::from(body);
            if let Some(secret) = input::text(None, secret.secret_file.as_deref())? {
                body["secret"] = secret.as_str().into();
            }
            if let Some(description) = description {
                body["description"] = description.into();
            }
            with_api(&account, |api| {
                let answer = api.change("POST", "/webhooks", Some(&body))?;
                put_changed(&answer, account.json)
            })
        }
        SubscriptionsCommand::List { account, limit } => with_api(&account, |api| {
            let answer = api.list("/webhooks", &[], limit)?;
            if account.json { put_answer(&answer) } else { put_list(&answer) }
        }),
        SubscriptionsCommand::Show { account, id } => with_api(&account, |api| {
            let answer = api.get(&path(id), &[])?;
            if account.json { put_answer(&answer) } else { put_one(&answer["data"]) }
        }),
        SubscriptionsCommand::Update { account, id, url, events, description, options } => {
            let options = subscription_options::fields(&options)?;
            if url.is_none() && events.is_none() && description.is_none() && options.is_empty() {
                let message = "specify what to change: --url, --events or --description, or an option listed in --help";
                return Err((Exit::Usage, message.to_owned()));
            }
            let mut body = Value::from(options);
            if let Some(url) = url {
                body["url"] = url.into();
            }
            if let Some(events) = events {
                body["events"] = events.into();
            }
            if let Some(description) = description {
                body["description"] = description.into();
            }
            with_api(&account, |api| update(api, id, &body, account.json))
        }
        SubscriptionsCommand::RotateSecret { account, id, overlap, secret } => {
            let mut body = json!({"overlap": overlap});
            if let Some(secret) = input::text(None, secret.secret_file.as_deref())? {
                body["secret"] = secret.as_str().into();
            }
            with_api(&account, |api| rotate_secret(api, id, &body, account.json))
        }
        SubscriptionsCommand::Match { account, id, event, file } => {
            let data = input::body(file.as_deref())?;
            let data: Value = serde_json::from_slice(&data)
                .map_err(|error| (Exit::Usage, format!("the data of the event is not JSON: {error}")))?;
            with_api(&account, |api| match_event(api, id, &json!({"event": event, "data": data}), account.json))
        }
        SubscriptionsCommand::Pause { account, id } => {
            with_api(&account, |api| update(api, id, &json!({"active": false}), account.json))
        }
        SubscriptionsCommand::Resume { account, id } => {
            with_api(&account, |api| update(api, id, &json!({"active": true}), account.json))
        }
        SubscriptionsCommand::Test { account, id, verify } => {
            with_api(&account, |api| test(api, id, verify, account.json))
        }
        SubscriptionsCommand::Delete { account, id, yes } => {
            can_ask(yes)?;
            with_api(&account, |api| {
                let url = text(&api.get(&path(id), &[])?["data"], "url");
                confirm(&format!("Delete subscription {id} to {url} with its delivery history?"), yes)?;
                let answer = api.change("DELETE", &path(id), None)?;
                note_message(&answer);
                if account.json { put_answer(&answer) } else { Ok(()) }
            })
        }
    }
}

fn path(id: u32) -> String {
    format!("/webhooks/{id}")
}

fn update(api: &ControlApi, id: u32, body: &Value, json: bool) -> Outcome {
    put_changed(&api.change("PUT", &path(id), Some(body))?, json)
}

fn rotate_secret(api: &ControlApi, id: u32, body: &Value, json: bool) -> Outcome {
    let answer = api.change("POST", &format!("{}/secret", path(id)), Some(body))?;
    if json {
        return put_answer(&answer);
    }
    let rotated = &answer["data"];
    let until = ("earlier secret until", time(rotated, "previous_valid_until"));
    put_fields(&[("id", text(rotated, "id")), ("secret", text(rotated, "secret")), until])?;
    note_message(&answer);
    Ok(())
}

/// An event that does not match fails the command, so that scripts notice.
fn match_event(api: &ControlApi, id: u32, event: &Value, json: bool) -> Outcome {
    let answer = api.change("POST", &format!("{}/match", path(id)), Some(event))?;
    let result = &answer["data"];
    let matches = result["matches"] == true;
    if json {
        put_answer(&answer)?;
    } else {
        let because = result["because"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let verdict = if matches { "matches" } else { "does not match" }.to_owned();
        let sentences = because.map(|sentence| format!("  {}", escape_controls(sentence)));
        let lines: Vec<_> = std::iter::once(verdict).chain(sentences).collect();
        put(&format!("{}\n", lines.join("\n")))?;
    }
    if matches { Ok(()) } else { Err((Exit::Failed, String::new())) }
}

fn put_changed(answer: &ApiReply, json: bool) -> Outcome {
    if json {
        return put_answer(answer);
    }
    put_one(&answer["data"])?;
    note_message(answer);
    if answer["data"]["secret"].is_string() {
        say("The next line is the signing secret. Save it in a file that nobody else can read (mode 0600):");
        put(&format!("{}\n", text(&answer["data"], "secret")))?;
    }
    Ok(())
}

/// A failed ping fails the command, so that scripts notice, and so does a receiver that does not verify signatures.
fn test(api: &ControlApi, id: u32, verify: bool, json: bool) -> Outcome {
    let body = verify.then(|| json!({"verify": true}));
    let answer = api.change("POST", &format!("/webhooks/{id}/test"), body.as_ref())?;
    let result = &answer["data"];
    if json {
        put_answer(&answer)?;
    } else {
        put_fields(&[
            ("delivery", text(result, "delivery_id")),
            ("status", if result["success"] == true { "delivered" } else { "failed" }.to_owned()),
            ("answer", text(result, "response_code")),
            ("content type", text(result, "response_content_type")),
            ("body", text(result, "response_start")),
            ("took", format!("{} ms", result["duration_ms"])),
        ])?;
    }
    if let Some(remark) = result["remark"].as_str() {
        say(&format!("Note: {remark}."));
    }
    if result["success"] == true {
        if verify && result["verifies_signatures"] != true {
            return Err((Exit::Failed, text(&answer, "message")));
        }
        note_message(&answer);
        return Ok(());
    }
    Err((Exit::Failed, format!("the ping failed: {}", text(result, "error"))))
}

/// How it is doing, in the API's words.
fn status(subscription: &Value) -> &'static str {
    match subscription["active"] == true {
        true if subscription["failing_since"].is_string() => "failing",
        true => "active",
        false => "disabled",
    }
}

fn put_list(answer: &Value) -> Outcome {
    let row = |found: &Value| {
        let (id, status) = (text(found, "id"), status(found).to_owned());
        vec![id, status, text(found, "events"), text(found, "url"), text(found, "description")]
    };
    put_table(&["ID", "STATUS", "EVENTS", "URL", "DESCRIPTION"], &rows(answer).iter().map(row).collect::<Vec<_>>())?;
    note_rest(answer, "subscriptions");
    Ok(())
}

fn put_one(found: &Value) -> Outcome {
    // Newest first.
    let last = &found["recent_deliveries"][0];
    let error = text(last, "error");
    let (cause, advice) = parts_of(&error);
    let next = if error.is_empty() { String::new() } else { time(last, "next_attempt_at") };
    let options = subscription_options::shown(found);
    let mut fields = vec![
        ("id", text(found, "id")),
        ("status", status(found).to_owned()),
        ("url", text(found, "url")),
        ("events", text(found, "events")),
        ("description", text(found, "description")),
        ("public key", text(found, "public_key")),
        ("filtered", Some(text(found, "filtered")).filter(|count| count != "0").unwrap_or_default()),
        ("disabled reason", text(found, "disabled_reason")),
        ("disabled at", time(found, "disabled_at")),
        ("failing since", time(found, "failing_since")),
        ("unacknowledged since", time(found, "unacknowledged_since")),
        ("last failure", cause.to_owned()),
        ("what to do", advice.to_owned()),
        ("next attempt", next),
        ("created", time(found, "created_at")),
        ("updated", time(found, "updated_at")),
    ];
    let before = fields.iter().position(|(name, _)| *name == "filtered").unwrap_or(fields.len());
    fields.splice(before..before, options.iter().map(|(name, value)| (name.as_str(), value.clone())));
    put_fields(&fields)?;
    let Some(recent) = found["recent_deliveries"].as_array().filter(|recent| !recent.is_empty()) else {
        return Ok(());
    };
    let row = |attempt: &Value| {
        let (id, status, event) = (text(attempt, "delivery_id"), text(attempt, "status"), text(attempt, "event"));
        let (number, code, at) =
            (text(attempt, "attempt"), text(attempt, "response_code"), time(attempt, "created_at"));
        vec![id, status, event, number, code, at, parts_of(&text(attempt, "error")).0.to_owned()]
    };
    put("\n")?;
    let names = ["ID", "STATUS", "EVENT", "ATTEMPT", "RESPONSE", "AT", "ERROR"];
    put_table(&names, &recent.iter().map(row).collect::<Vec<_>>())
}
