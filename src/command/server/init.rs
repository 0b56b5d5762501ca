//! `init`: creates the database and a first key. A second run changes nothing and says so.

use crate::app;
use crate::cli::ConfigArgs;
use crate::command::client::control_api::with_store;
use crate::command::console::output::{put, put_answer, rows, say, text};
use crate::command::manage::keys;
use crate::command::{Exit, Outcome, config};
use crate::control::client;

pub fn run(args: &ConfigArgs, data_dir: Option<String>, if_missing: bool, json: bool) -> Outcome {
    let flags = data_dir.map(|folder| ("storage.data_dir", folder));
    let config = config::load(args, flags.into_iter().collect())?.config;
    let is_running = client::connect(&app::control_socket(&config)).is_some();
    let made = with_store(&config, |client| {
        let existing = keys::list(client)?;
        if rows(&existing).is_empty() { keys::create_first(client, "default", "first").map(Some) } else { Ok(None) }
    })?;
    let Some(answer) = made else {
        let message = format!(
            "{} already has a database, which was not changed; create further keys with: tempclock-webhooks keys create",
            app::place_of_data(&config)
        );
        if if_missing {
            say(&message);
            return Ok(());
        }
        return Err((Exit::Failed, message));
    };
    if json {
        put_answer(&answer)?;
    } else {
        put(&format!("{}\n", text(&answer["data"], "key")))?;
        let next = if is_running {
            "Next: send"
        } else {
            "Next: start the server (systemctl start tempclock-webhooks, or tempclock-webhooks serve), and send"
        };
        say(&format!(
            "The database is in {}. The line above is the first API key; it is not shown again. It has every scope but events:erase and never expires: create keys with fewer scopes for programs (tempclock-webhooks keys create), then revoke it.\n\
             {next} the key as \"Authorization: Bearer …\" to {}/api/v1/event-types.",
            app::place_of_data(&config),
            format_args!(
                "{}://{}",
                if config.server.tls_key.is_some() { "https" } else { "http" },
                config.server.listen
            )
        ));
    }
    Ok(())
}
