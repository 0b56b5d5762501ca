//! `deliveries list|show|retry`. Following them is in `tail`.

use serde_json::{Map, Value, json};

use crate::cli::{DeliveriesCommand, DeliveryFilter};
use crate::command::client::control_api::{ControlApi, with_api};
use crate::command::client::query::{path_part, time_parameter};
use crate::command::console::confirm::{can_ask, confirm};
use crate::command::console::output::{
    counted, note_message, note_rest, put, put_answer, put_fields, put_table, rows, say, text, time,
};
use crate::command::manage::{jobs, tail};
use crate::command::{Exit, Outcome};
use crate::domain::escape::escape_controls;

/// Default status filter of `retry`.
const GIVEN_UP: &str = "exhausted";
/// The event type of test pings.
const PING: &str = "ping";
/// The API's list of deliveries, also below a subscription.
const ALL: &str = "/deliveries";
/// Where many are redelivered.
const RETRY: &str = "/deliveries/retry";

pub fn run(command: DeliveriesCommand) -> Outcome {
    match command {
        DeliveriesCommand::List { account, filter, find, response_code, limit } => {
            let (path, mut filter) = question(filter);
            filter.extend(response_code.map(|code| ("response_code", code.to_string())));
            filter.extend(find.parameters().into_iter().filter_map(|(name, value)| Some((name, value?))));
            with_api(&account, |api| {
                let answer = api.list(&path, &borrowed(&filter), limit)?;
                if account.json { put_answer(&answer) } else { put_list(&answer) }
            })
        }
        DeliveriesCommand::Show { account, id } => with_api(&account, |api| {
            let answer = api.get(&format!("/deliveries/{}", path_part(&id)), &[])?;
            if account.json { put_answer(&answer) } else { put_one(&answer["data"]) }
        }),
        DeliveriesCommand::Tail { account, subscription } => tail::run(&account, subscription),
        DeliveriesCommand::Replay { account, subscription, since, until, events, only, dry_run } => {
            let body = json!({
                "since": time_parameter(since),
                "until": until.map(time_parameter),
                "events": events,
                "only": only,
                "dry_run": dry_run,
            });
            with_api(&account, |api| replay(api, subscription, &body, account.json))
        }
        DeliveriesCommand::Retry { account, id: Some(id), dry_run, .. } => with_api(&account, |api| {
            let path = format!("/deliveries/{}", path_part(&id));
            let answer =
                if dry_run { api.get(&path, &[]) } else { api.change("POST", &format!("{path}/retry"), None) }?;
            if account.json {
                return put_answer(&answer);
            }
            note_message(&answer);
            put_table_of(std::slice::from_ref(&answer["data"]))
        }),
        DeliveriesCommand::Retry { account, id: None, filter, dry_run, yes } => {
            if selection(&filter).is_empty() {
                let wanted = "specify an id, or a filter such as --subscription 1 or --since 1d";
                return Err((Exit::Usage, wanted.to_owned()));
            }
            if !dry_run {
                can_ask(yes)?;
            }
            with_api(&account, |api| retry_all(api, filter, dry_run, yes, account.json))
        }
    }
}

/// The body that selects deliveries for a job.
fn selection(filter: &DeliveryFilter) -> Map<String, Value> {
    let DeliveryFilter { subscription, status, event, since, until } = filter;
    let given = [
        ("subscription", subscription.map(Value::from)),
        ("status", status.clone().map(Value::from)),
        ("event", event.clone().map(Value::from)),
        ("since", since.clone().map(|point| time_parameter(point).into())),
        ("until", until.clone().map(|point| time_parameter(point).into())),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The list's path and query. An unknown subscription is a 404 there.
fn question(filter: DeliveryFilter) -> (String, Vec<(&'static str, String)>) {
    let DeliveryFilter { subscription, status, event, since, until } = filter;
    let path = subscription.map_or_else(|| ALL.to_owned(), |number| format!("/webhooks/{number}{ALL}"));
    let given = [
        ("status", status),
        ("event", event),
        ("since", since.map(time_parameter)),
        ("until", until.map(time_parameter)),
    ];
    (path, given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

fn borrowed<'a>(filter: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    filter.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Creates a job that replays events, and waits for it.
fn replay(api: &ControlApi, subscription: u32, body: &Value, json: bool) -> Outcome {
    let answer = api.change("POST", &format!("/webhooks/{subscription}/replay"), Some(body))?;
    let is_dry_run = body["dry_run"] == true;
    let answer = if is_dry_run { answer } else { jobs::wait_for(api, &answer)? };
    let found = &answer["data"];
    let least = if is_dry_run && found["is_exact"] != true { "at least " } else { "" };
    let events = |field: &str| counted(found[field].as_u64().unwrap_or_default(), "event", "events");
    match (json, is_dry_run) {
        (true, _) => put_answer(&answer),
        (_, true) => put(&format!("{least}{} would be replayed.\n", events("count"))),
        _ => put(&format!("{} replayed.\n", events("done"))),
    }
}

/// Creates a job that redelivers all that match, and waits for it.
fn retry_all(api: &ControlApi, filter: DeliveryFilter, dry_run: bool, yes: bool, json: bool) -> Outcome {
    let status = filter.status.clone().unwrap_or_else(|| GIVEN_UP.to_owned());
    let which = selection(&filter);
    let ask = |dry_run: bool| {
        let mut body = which.clone();
        body.insert("dry_run".to_owned(), dry_run.into());
        api.change("POST", RETRY, Some(&body.into()))
    };
    if dry_run || !yes {
        let answer = ask(true)?;
        let Some(count) = answer["data"]["count"].as_u64().filter(|count| *count > 0 || json) else {
            note_pings(api, filter)?;
            return put(&none_matches(&status));
        };
        let least = if answer["data"]["is_exact"] == true { "" } else { "at least " };
        let deliveries = format!("{least}{}", counted(count, "delivery", "deliveries"));
        if dry_run && json {
            return put_answer(&answer);
        }
        if !json {
            note_pings(api, filter)?;
        }
        if dry_run {
            return put(&format!("{deliveries} would be redelivered.\n"));
        }
        confirm(&format!("Redeliver {deliveries}?"), yes)?;
    }
    let created = ask(false)?;
    let ended = jobs::wait_for(api, &created)?;
    if json {
        return put_answer(&ended);
    }
    match ended["data"]["done"].as_u64().unwrap_or_default() {
        0 => put(&none_matches(&status)),
        done => {
            put(&format!("{} due now, with the full retry schedule.\n", counted(done, "delivery is", "deliveries are")))
        }
    }
}

/// What to say when there is nothing to redeliver: most often another status was meant.
fn none_matches(status: &str) -> String {
    format!("No delivery matches with status {status}; choose another one with --status.\n")
}

/// Says how many test pings match, which no job redelivers.
fn note_pings(api: &ControlApi, filter: DeliveryFilter) -> Outcome {
    let status = filter.status.or_else(|| Some(GIVEN_UP.to_owned()));
    let (path, query) = question(DeliveryFilter { status, event: Some(PING.to_owned()), ..filter });
    let answer = api.get(&path, &[&borrowed(&query)[..], &[("limit", "1")]].concat())?;
    let pings = answer["pagination"]["total"].as_u64().unwrap_or_default();
    if pings > 0 {
        say(&format!("{} skipped: test pings are not redelivered.", counted(pings, "test ping", "test pings")));
    }
    Ok(())
}

/// A failed test ping never had a schedule that it could have exhausted.
fn status(delivery: &Value) -> String {
    match delivery["status"].as_str() {
        _ if delivery["held"] == true => "held".to_owned(),
        Some(GIVEN_UP) if delivery["event"] == PING => "failed".to_owned(),
        _ => text(delivery, "status"),
    }
}

fn put_list(answer: &Value) -> Outcome {
    put_table_of(rows(answer))?;
    note_rest(answer, "deliveries");
    Ok(())
}

/// A table of deliveries.
pub fn put_table_of(deliveries: &[Value]) -> Outcome {
    let row = |found: &Value| {
        let (id, event, subscription) = (text(found, "id"), text(found, "event"), text(found, "subscription_id"));
        let (tries, code) = (text(found, "attempt_count"), text(found, "response_code"));
        let (error, next) = (text(found, "error"), time(found, "next_attempt_at"));
        vec![id, status(found), event, subscription, tries, code, next, parts_of(&error).0.to_owned()]
    };
    let names = ["ID", "STATUS", "EVENT", "SUBSCRIPTION", "ATTEMPTS", "RESPONSE", "NEXT ATTEMPT", "ERROR"];
    put_table(&names, &deliveries.iter().map(row).collect::<Vec<_>>())
}

/// Splits an error into what happened and what to do. Lists show only the first part.
pub fn parts_of(error: &str) -> (&str, &str) {
    error.split_once("; ").unwrap_or((error, ""))
}

fn put_one(delivery: &Value) -> Outcome {
    put_fields(&[
        ("id", text(delivery, "id")),
        ("status", status(delivery)),
        ("waiting for", text(delivery, "waiting_for")),
        ("event", format!("{} {}", text(delivery, "event"), text(delivery, "event_id"))),
        ("subscription", text(delivery, "subscription_id")),
        ("made", time(delivery, "created_at")),
        ("settled", time(delivery, "completed_at")),
        ("next attempt", next_attempt(delivery)),
        ("body", text(delivery, "body")),
    ])?;
    for attempt in delivery["attempts"].as_array().map_or(&[][..], Vec::as_slice) {
        let error = attempt["error"].as_str().unwrap_or_default();
        let (cause, advice) = parts_of(error);
        put("\n")?;
        put_fields(&[
            ("attempt", format!("{} {}", attempt["attempt"], text(attempt, "status"))),
            ("to", text(&attempt["request"], "url")),
            ("at", time(attempt, "created_at")),
            ("took", format!("{} ms", attempt["duration_ms"])),
            ("answer", text(attempt, "response_code")),
            ("cause", escape_controls(cause)),
            ("what to do", escape_controls(advice)),
            ("response body", text(&attempt["response"], "body")),
        ])?;
    }
    Ok(())
}

fn next_attempt(delivery: &Value) -> String {
    match delivery["status"].as_str() {
        Some("pending") if delivery["held"] == true => "none until the subscription is resumed".to_owned(),
        Some(GIVEN_UP) if delivery["event"] == PING => "none; send another ping with: subscriptions test".to_owned(),
        Some(GIVEN_UP | "expired" | "cancelled") => "none; redeliver it with: deliveries retry".to_owned(),
        _ => time(delivery, "next_attempt_at"),
    }
}
