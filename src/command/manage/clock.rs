//! `clock confirm`.

use std::time::Duration;

use crate::cli::ClockCommand;
use crate::command::Outcome;
use crate::command::client::control_api::{ask, with_existing_store};
use crate::command::console::confirm::confirm;
use crate::command::console::output::{put, put_answer, text};
use crate::domain::timestamp::span_in_words;

pub fn run(command: &ClockCommand) -> Outcome {
    let ClockCommand::Confirm { config, yes, json } = command;
    let answer = with_existing_store(config, |client| {
        let clock = ask(client, "GET", "/control/clock", &[], None)?;
        let left_out = Duration::from_secs(clock["data"]["left_out_s"].as_u64().unwrap_or_default());
        if !left_out.is_zero() {
            confirm(&question(&text(&clock["data"], "now"), left_out), *yes)?;
        }
        ask(client, "POST", "/control/clock/confirm", &[], None)
    })?;
    if *json {
        return put_answer(&answer);
    }
    let confirmed = &answer["data"];
    let counted = Duration::from_secs(confirmed["counted_s"].as_u64().unwrap_or_default());
    let change = if counted.is_zero() {
        "All time already counts for retention.".to_owned()
    } else {
        format!(
            "{} of excluded time now count for retention; events that are too old are deleted.",
            span_in_words(counted)
        )
    };
    let (now, event_time) = (text(confirmed, "now"), text(confirmed, "event_time"));
    put(&format!("Clock confirmed: it is {now}. {change}\n"))?;
    // Times in this form sort as text.
    if now < event_time {
        put(&format!(
            "New events get the time {event_time} until the clock has reached it, because event times never go back.\n"
        ))?;
    }
    Ok(())
}

fn question(now: &str, left_out: Duration) -> String {
    format!(
        "The clock says {now}. If you confirm it, {} more count for retention, and events that are then too old are deleted for good. Is the clock right?",
        span_in_words(left_out)
    )
}
