//! `init`: makes the database and a first key. Run again, it changes nothing and says so.

use super::keys::{finish, perform, print_json, text};
use super::{Exit, Outcome, config};
use crate::cli::ConfigArgs;
use crate::control::Request;

pub fn run(args: &ConfigArgs, json: bool) -> Outcome {
    let config = config::load(args, Vec::new())?.config;
    let keys = finish(perform(&config, Request::ListKeys { account: None })?)?;
    if keys.as_array().is_some_and(|keys| !keys.is_empty()) {
        return Err((
            Exit::Failed,
            format!(
                "{} is set up already and was not changed; make further keys with: tempclock-webhooks keys create",
                config.storage.data_dir.display()
            ),
        ));
    }
    let request = Request::CreateKey {
        account: "default".to_owned(),
        name: "first".to_owned(),
        scopes: vec!["*".to_owned()],
        expires_in_s: None,
        networks: Vec::new(),
    };
    let key = finish(perform(&config, request)?)?;
    if json {
        print_json(&key);
    } else {
        println!("{}", text(&key, "key"));
        eprintln!(
            "The database is in {}. The line above is the first API key; it may do everything and is not shown again.\n\
             Next: tempclock-webhooks serve, then {}/api/v1/event-types with it.",
            config.storage.data_dir.display(),
            format_args!(
                "{}://{}",
                if config.server.tls_key.is_some() { "https" } else { "http" },
                config.server.listen
            )
        );
    }
    Ok(())
}
