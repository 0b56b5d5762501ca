//! `jobs list|show|stop`, and waiting for a job that a command has made.

use std::time::Duration;

use serde_json::Value;

use crate::cli::JobsCommand;
use crate::command::client::control_api::{ControlApi, with_api};
use crate::command::client::query::path_part;
use crate::command::client::reply::ApiReply;
use crate::command::console::output::{
    counted, note_message, note_rest, put_answer, put_fields, put_table, rows, text, time,
};
use crate::command::console::progress::bar;
use crate::command::{Exit, Failure, Outcome};

/// How often a job is looked at: the first times soon, as most are short.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

pub fn run(command: JobsCommand) -> Outcome {
    match command {
        JobsCommand::List { account, limit } => with_api(&account, |api| {
            let answer = api.list("/jobs", &[], limit)?;
            if account.json { put_answer(&answer) } else { put_list(&answer) }
        }),
        JobsCommand::Show { account, id } => with_api(&account, |api| {
            let answer = api.get(&path(&id), &[])?;
            if account.json { put_answer(&answer) } else { put_one(&answer["data"]) }
        }),
        JobsCommand::Stop { account, id } => with_api(&account, |api| {
            let answer = api.change("DELETE", &path(&id), None)?;
            if account.json {
                return put_answer(&answer);
            }
            note_message(&answer);
            put_one(&answer["data"])
        }),
    }
}

fn path(id: &str) -> String {
    format!("/jobs/{}", path_part(id))
}

fn progress(job: &Value) -> String {
    match job["of"].as_u64() {
        Some(of) => format!("{} of {of}", job["done"]),
        None => job["done"].to_string(),
    }
}

fn put_list(answer: &Value) -> Outcome {
    let row = |job: &Value| {
        let (id, kind, state) = (text(job, "id"), text(job, "kind"), text(job, "state"));
        vec![id, kind, state, progress(job), time(job, "started_at"), time(job, "finished_at"), text(job, "error")]
    };
    let names = ["ID", "KIND", "STATUS", "DONE", "STARTED", "ENDED", "ERROR"];
    put_table(&names, &rows(answer).iter().map(row).collect::<Vec<_>>())?;
    note_rest(answer, "jobs");
    Ok(())
}

fn put_one(job: &Value) -> Outcome {
    put_fields(&[
        ("id", text(job, "id")),
        ("kind", text(job, "kind")),
        ("status", text(job, "state")),
        ("done", progress(job)),
        ("started", time(job, "started_at")),
        ("ended", time(job, "finished_at")),
        ("error", text(job, "error")),
    ])
}

/// Waits for the end of a job that was made, with a progress bar. One that did not finish is a failure.
pub fn wait_for(api: &ControlApi, created: &Value) -> Result<ApiReply, Failure> {
    let job = &created["data"]["job"];
    let path = path(job["id"].as_str().unwrap_or_default());
    let is_erasure = job["kind"] == "erasure";
    let template = match job["of"].as_u64() {
        Some(_) => "{bar:30} {pos}/{len} deliveries, {per_sec}, {eta} left",
        None if is_erasure => "{spinner} {pos} events, {per_sec}",
        None => "{spinner} {pos} deliveries, {per_sec}",
    };
    let (one, many) = if is_erasure {
        ("event was erased", "events were erased")
    } else {
        ("delivery was made due", "deliveries were made due")
    };
    let bar = bar(job["of"].as_u64().unwrap_or(0), template);
    let mut wait = FIRST_WAIT;
    loop {
        let answer = api.get(&path, &[])?;
        let job = &answer["data"];
        let done = job["done"].as_u64().unwrap_or_default();
        bar.set_position(done);
        let ended = |why: String| {
            bar.finish_and_clear();
            Err((Exit::Failed, format!("{why}; {} before", counted(done, one, many))))
        };
        match job["state"].as_str() {
            Some("finished") => {
                bar.finish_and_clear();
                return Ok(answer);
            }
            Some("stopped") => return ended(format!("the job {} was stopped", text(job, "id"))),
            Some("failed") => return ended(format!("the job {} failed: {}", text(job, "id"), text(job, "error"))),
            _ => std::thread::sleep(wait),
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
