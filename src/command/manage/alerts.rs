//! `alerts test`. Sends from this process, with the configuration that the server has; no server need run.

use serde_json::json;

use crate::app::alerts::{HandedOver, test_alerts};
use crate::cli::AlertsCommand;
use crate::command::console::output::{put_json, put_table};
use crate::command::failure::start_failure;
use crate::command::{Exit, Outcome, config};
use crate::domain::escape::escape_controls;
use crate::notify::way::HandOverError;

pub fn run(command: &AlertsCommand) -> Outcome {
    let AlertsCommand::Test { config: args, json } = command;
    let config = config::load(args, Vec::new())?.config;
    if !config.alerts.is_on() {
        let message = "no alerts are configured: set alerts.email_to, alerts.webhook_url or alerts.command";
        return Err((Exit::Usage, message.to_owned()));
    }
    let handed = test_alerts(&config).map_err(|error| start_failure(&error))?;
    let is_good = handed.iter().all(|(_, result)| matches!(result, Some(Ok(()))));
    let shown = if *json {
        let row = |(way, result): &HandedOver| json!({"way": way, "sent": matches!(result, Some(Ok(()))), "error": error(result.as_ref())});
        put_json(&json!({"data": handed.iter().map(row).collect::<Vec<_>>()}))
    } else {
        let row = |(way, result): &HandedOver| {
            vec![
                escape_controls(way),
                error(result.as_ref()).map_or("sent".to_owned(), |error| escape_controls(&error)),
            ]
        };
        put_table(&["CHANNEL", "RESULT"], &handed.iter().map(row).collect::<Vec<_>>())
    };
    // The result counts even if the output cannot be written.
    if is_good { shown } else { Err((Exit::Failed, String::new())) }
}

fn error(result: Option<&Result<(), HandOverError>>) -> Option<String> {
    match result {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(error.to_string()),
        None => Some("it did not finish within a minute".to_owned()),
    }
}
