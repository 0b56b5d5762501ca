//! `nodes list`.

use serde_json::Value;

use crate::cli::NodesCommand;
use crate::command::Outcome;
use crate::command::client::control_api::{ask, with_existing_store};
use crate::command::console::output::{note_rest, put_answer, put_table, rows, text};

pub fn run(command: &NodesCommand) -> Outcome {
    let NodesCommand::List { config, json } = command;
    let answer = with_existing_store(config, |client| ask(client, "GET", "/control/nodes", &[], None))?;
    if *json {
        return put_answer(&answer);
    }
    let seconds = |node: &Value, field: &str| node[field].as_f64().map(|span| format!("{span} s")).unwrap_or_default();
    let row = |node: &Value| {
        let [lease, lag, seen] = ["lease_s", "lag_s", "seen_s"].map(|field| seconds(node, field));
        vec![text(node, "node"), text(node, "state"), lease, lag, seen, text(node, "version")]
    };
    let names = ["NODE", "STATUS", "LEASE", "LAG", "SEEN AGO", "VERSION"];
    put_table(&names, &rows(&answer).iter().map(row).collect::<Vec<_>>())?;
    note_rest(&answer, "servers");
    Ok(())
}
