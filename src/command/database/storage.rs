//! `storage copy`: moves a store from one engine to the other. Runs on the main thread.

use std::path::Path;

use crate::app;
use crate::cli::{ConfigArgs, StorageCommand};
use crate::clock::Clock;
use crate::command::console::output::{counted, put, put_table};
use crate::command::console::progress::bar;
use crate::command::failure::{failed, start_failure};
use crate::command::{Exit, Outcome, config};
use crate::control::client;
use crate::storage::copy::{CopyError, copy};

const ROWS: &str = "{bar:30} {pos}/{len} rows copied and compared, {per_sec}, {eta} left";

pub fn run(command: &StorageCommand) -> Outcome {
    match command {
        StorageCommand::Copy { config, to } => copy_to(config, to),
    }
}

fn copy_to(args: &ConfigArgs, to: &Path) -> Outcome {
    let from = config::load(args, Vec::new())?.config;
    let target = config::load_file(to)?.config;
    if client::connect(&app::control_socket(&from)).is_some() {
        return Err(failed("the server is running; stop it first, for example: systemctl stop tempclock-webhooks"));
    }
    app::check_user(&from).map_err(|error| start_failure(&error))?;
    let bar = bar(0, ROWS);
    let copied = copy(&app::store_settings(&from), &app::store_settings(&target), Clock::start(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let counts = copied.map_err(|error| failure(&error))?;
    let rows = counted(counts.values().sum(), "row", "rows");
    let (from, into) = (app::place_of_data(&from), app::place_of_data(&target));
    put(&format!("Copied {from} to {into}: {rows}, each compared after it was copied.\n"))?;
    put_table(
        &["TABLE", "ROWS"],
        &counts.iter().map(|(table, rows)| vec![(*table).to_owned(), rows.to_string()]).collect::<Vec<_>>(),
    )?;
    put(&format!(
        "Not copied: dashboard sessions, so everybody has to sign in again; the index of worker ids and tags, which the server rebuilds; and which alerts were sent, so one whose state lasts may be sent again.\n\
         Now start the server with --config {}, and never again with the old configuration: two servers on two copies would deliver everything twice.\n",
        to.display()
    ))
}

fn failure(error: &CopyError) -> (Exit, String) {
    let exit = match error {
        CopyError::NoSource(_) => Exit::NotFound,
        CopyError::SameEngine(_) => Exit::Usage,
        _ if error.is_of_the_configuration() => Exit::Configuration,
        _ if error.is_of_the_database_server() => Exit::StoreFailed,
        _ => Exit::Failed,
    };
    (exit, error.to_string())
}
