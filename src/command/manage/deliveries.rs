//! `deliveries list|show|retry`. Following them is in `tail`.

use serde_json::{Value, json};

use crate::cli::{DeliveriesCommand, DeliveryFilter};
use crate::command::client::control_api::{ControlApi, with_api};
use crate::command::client::query::{path_part, time_parameter};
use crate::command::console::confirm::{can_ask, confirm};
use crate::command::console::output::{
    counted, note_message, note_rest, put, put_answer, put_fields, put_json, put_table, rows, say, text, time,
};
use crate::command::console::progress::bar;
use crate::command::manage::tail;
use crate::command::{Exit, Failure, Outcome};
use crate::domain::escape::escape_controls;

/// Default status filter of `retry`.
const GIVEN_UP: &str = "exhausted";
/// The event type of test pings.
const PING: &str = "ping";
/// The API's list of deliveries, also below a subscription.
const ALL: &str = "/deliveries";
const PAGE: &str = "100";

pub fn run(command: DeliveriesCommand) -> Outcome {
    match command {
        DeliveriesCommand::List { account, filter, response_code, limit } => {
            let (path, mut filter) = question(filter);
            filter.extend(response_code.map(|code| ("response_code", code.to_string())));
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
            let (path, mut filter) = question(filter);
            if filter.is_empty() && path == ALL {
                let wanted = "say which: an id, or a filter such as --subscription 1 or --since 1d";
                return Err((Exit::Usage, wanted.to_owned()));
            }
            if !filter.iter().any(|(name, _)| *name == "status") {
                filter.push(("status", GIVEN_UP.to_owned()));
            }
            if !dry_run {
                can_ask(yes)?;
            }
            with_api(&account, |api| retry_all(api, (&path, &borrowed(&filter)), dry_run, yes, account.json))
        }
    }
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

fn retry_all(api: &ControlApi, which: (&str, &[(&str, &str)]), dry_run: bool, yes: bool, json: bool) -> Outcome {
    let Matching { total, pings } = matching(api, which)?;
    if pings > 0 && !json {
        say(&format!("{} left out: a test is never redelivered.", counted(pings, "test ping", "test pings")));
    }
    if total == 0 && !json {
        return put(&none_matches(which.1));
    }
    let deliveries = counted(total, "delivery", "deliveries");
    if dry_run {
        return if json {
            put_json(&json!({"data": {"matching": total, "retried": 0}}))
        } else {
            put(&format!("{deliveries} would be redelivered.\n"))
        };
    }
    if total > 0 {
        confirm(&format!("Redeliver {deliveries}?"), yes)?;
    }
    let bar = bar(total, "{bar:30} {pos}/{len} deliveries, {per_sec}, {eta} left");
    let mut done = 0;
    let result = each(api, which, &mut |delivery| {
        if delivery["event"] == PING {
            return Ok(());
        }
        let id = path_part(delivery["id"].as_str().unwrap_or_default());
        match api.change("POST", &format!("/deliveries/{id}/retry"), None) {
            Ok(_) => {
                done += 1;
                bar.inc(1);
            }
            // Its subscription was deleted after the page was read.
            Err((Exit::NotFound, _)) => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    });
    bar.finish_and_clear();
    let printed = if json {
        put_json(&json!({"data": {"matching": total, "retried": done}}))
    } else {
        put(&format!("{} due now, with the whole retry schedule.\n", counted(done, "delivery is", "deliveries are")))
    };
    result.and(printed)
}

/// What to say when there is nothing to redeliver: most often another status was meant.
fn none_matches(filter: &[(&str, &str)]) -> String {
    let status = filter.iter().find(|(name, _)| *name == "status").map_or(GIVEN_UP, |(_, status)| status);
    format!("No delivery matches with status {status}; choose another one with --status.\n")
}

/// How many deliveries match.
struct Matching {
    total: u64,
    /// Test pings, which are not counted in the total.
    pings: u64,
}

/// How many match. A list with a filter is counted by going through it.
fn matching(api: &ControlApi, which: (&str, &[(&str, &str)])) -> Result<Matching, Failure> {
    let mut found = Matching { total: 0, pings: 0 };
    each(api, which, &mut |delivery| {
        if delivery["event"] == PING {
            found.pings += 1;
        } else {
            found.total += 1;
        }
        Ok(())
    })?;
    Ok(found)
}

/// Visits all matching deliveries page by page. The cursor moves back in time, so new deliveries are not visited.
fn each(
    api: &ControlApi,
    (path, filter): (&str, &[(&str, &str)]),
    work: &mut impl FnMut(&Value) -> Outcome,
) -> Outcome {
    let mut cursor: Option<String> = None;
    loop {
        let mut query = [filter, &[("limit", PAGE)]].concat();
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = api.get(path, &query)?;
        for delivery in rows(&page) {
            work(delivery)?;
        }
        cursor = page["pagination"]["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok(());
        }
    }
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
    let names = ["ID", "STATUS", "EVENT", "FOR", "TRIES", "ANSWER", "NEXT ATTEMPT", "ERROR"];
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
            ("answer's body", text(&attempt["response"], "body")),
        ])?;
    }
    Ok(())
}

fn next_attempt(delivery: &Value) -> String {
    match delivery["status"].as_str() {
        Some("pending") if delivery["held"] == true => "none until the subscription is resumed".to_owned(),
        Some(GIVEN_UP) if delivery["event"] == PING => "none; send another one with: subscriptions test".to_owned(),
        Some(GIVEN_UP | "expired" | "cancelled") => "none; redeliver it with: deliveries retry".to_owned(),
        _ => time(delivery, "next_attempt_at"),
    }
}
