//! `init`: creates the database and a first key. A second run changes nothing and says so.

use crate::cli::ConfigArgs;
use crate::command::client::control_api::with_store;
use crate::command::console::output::{put, put_answer, rows, say, text};
use crate::command::manage::keys;
use crate::command::{Exit, Outcome, config};

pub fn run(args: &ConfigArgs, json: bool) -> Outcome {
    let config = config::load(args, Vec::new())?.config;
    let made = with_store(&config, |client| {
        let existing = keys::list(client)?;
        if rows(&existing).is_empty() { keys::create_first(client, "default", "first").map(Some) } else { Ok(None) }
    })?;
    let Some(answer) = made else {
        return Err((
            Exit::Failed,
            format!(
                "{} is set up already and was not changed; make further keys with: tempclock-webhooks keys create",
                config.storage.data_dir.display()
            ),
        ));
    };
    if json {
        put_answer(&answer)?;
    } else {
        put(&format!("{}\n", text(&answer["data"], "key")))?;
        say(&format!(
            "The database is in {}. The line above is the first API key; it may do everything and is not shown again.\n\
             Next: start the server (systemctl start tempclock-webhooks, or tempclock-webhooks serve), and send the key as \"Authorization: Bearer …\" to {}/api/v1/event-types.",
            config.storage.data_dir.display(),
            format_args!(
                "{}://{}",
                if config.server.tls_key.is_some() { "https" } else { "http" },
                config.server.listen
            )
        ));
    }
    Ok(())
}
