//! `clock confirm`.

use std::time::Duration;

use crate::cli::ClockCommand;
use crate::command::Outcome;
use crate::command::client::control_api::{ask, with_existing_store};
use crate::command::console::output::{put, put_answer, text};
use crate::domain::timestamp::span_in_words;

pub fn run(command: &ClockCommand) -> Outcome {
    let ClockCommand::Confirm { config, json } = command;
    let path = "/control/clock/confirm";
    let answer = with_existing_store(config, |client| ask(client, "POST", path, &[], None))?;
    if *json {
        return put_answer(&answer);
    }
    let confirmed = &answer["data"];
    let counted = Duration::from_secs(confirmed["counted_s"].as_u64().unwrap_or_default());
    let change = if counted.is_zero() {
        "All time counted for retention already.".to_owned()
    } else {
        format!(
            "{} that had been left out now counts for retention; what is too old for it is deleted.",
            span_in_words(counted)
        )
    };
    let (now, event_time) = (text(confirmed, "now"), text(confirmed, "event_time"));
    put(&format!("Clock confirmed: it is {now}. {change}\n"))?;
    // Times in this form sort as text.
    if now < event_time {
        put(&format!(
            "New events are dated {event_time} until the clock has reached that, because dates never go back.\n"
        ))?;
    }
    Ok(())
}
